"""Builds request bytes in advance, and parses HTTP/1.1 responses with as little work as possible."""

from booking.loadtest.plan import Plan, address_of

RESPONSE_BYTES_MAX = 1 << 20
"""The service sends no longer response."""


class UnreadableResponseError(Exception):
    """The bytes are not an HTTP/1.1 response with a Content-Length, which is all that the service sends here."""


class Response:
    """One response. Head and body are extracted only on demand, because there is one for every request."""

    __slots__ = ("_data", "_end", "status")

    def __init__(self, status: int, data: bytes, end: int) -> None:
        """`data` holds the response, whose head ends at `end`."""
        self.status = status
        self._data = data
        self._end = end

    @property
    def head(self) -> bytes:
        """Everything before the blank line, in lower case."""
        return self._data[: self._end].lower()

    @property
    def body(self) -> bytes:
        """Everything after the blank line."""
        return self._data[self._end + 4 :]

    @property
    def closes(self) -> bool:
        """Whether the service closes the connection after this response."""
        return self.header(b"connection") == b"close"

    def header(self, name: bytes) -> bytes | None:
        """The value of a header (name in lower case), or None."""
        data, prefix = self._data, b"\r\n" + name + b":"
        start = data.find(prefix, 0, self._end)
        if start < 0:
            data = self.head
            start = data.find(prefix)
            if start < 0:
                return None
        return data[start + len(prefix) : self._end].split(b"\r\n", 1)[0].strip()


def split_response(data: bytes) -> Response | None:
    """The response in `data`; None if it is not complete yet. Raises UnreadableResponseError."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > RESPONSE_BYTES_MAX:
            raise UnreadableResponseError("a head without an end")
        return None
    start = data.find(b"\r\ncontent-length: ", 0, end)  # as most servers write it
    if start < 0:
        start = data[:end].lower().find(b"\r\ncontent-length:")
    if start < 0 or data[:7] != b"HTTP/1.":
        raise UnreadableResponseError("a response without a Content-Length")
    try:
        length = int(data[start + 17 : end].split(b"\r\n", 1)[0])
        status = int(data[9:12])
    except ValueError:
        raise UnreadableResponseError("a response whose head is not HTTP") from None
    if not 0 <= length <= RESPONSE_BYTES_MAX:
        raise UnreadableResponseError("a response of more than a mebibyte")
    missing = end + 4 + length - len(data)
    if missing < 0:
        raise UnreadableResponseError("bytes after the end of a response")
    return None if missing else Response(status, data, end)


class Requests:
    """Builds the requests for one event. They differ only in token, quantity and Idempotency-Key."""

    __slots__ = ("_bearer", "_book", "_cancel", "_quantities", "_read", "_status")

    def __init__(self, plan: Plan) -> None:
        host, port, _ = address_of(plan.url)
        shown = f"[{host}]" if ":" in host else host
        common = f"Host: {shown}:{port}\r\n".encode()
        self._bearer = common + b"Authorization: Bearer "
        event = f'"event_id":{plan.event_id}'
        self._book = b"POST /book HTTP/1.1\r\n" + self._bearer
        self._quantities = [
            _body(f'{{{event},"quantity":{quantity}}}' if quantity > 1 else f"{{{event}}}")
            for quantity in range(plan.quantity_max + 1)
        ]
        self._cancel = b"POST /cancel HTTP/1.1\r\n" + self._bearer
        self._status = f"GET /status/{plan.event_id} HTTP/1.1\r\n".encode() + common + b"\r\n"
        self._read = f"GET /events/{plan.event_id}/booking HTTP/1.1\r\n".encode() + self._bearer

    def book(self, token: bytes, quantity: int, key: bytes | None) -> bytes:
        """`POST /book`; a quantity of 1 is left out, because it is the default."""
        return self._book + token + _idempotency_key(key) + self._quantities[quantity]

    def cancel(self, token: bytes, key: bytes | None) -> bytes:
        """`POST /cancel`."""
        return self._cancel + token + _idempotency_key(key) + self._quantities[0]

    def status(self) -> bytes:
        """`GET /status/{id}`, without a token."""
        return self._status

    def read(self, token: bytes) -> bytes:
        """`GET /events/{id}/booking`."""
        return self._read + token + b"\r\n\r\n"


def _body(text: str) -> bytes:
    return f"\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


def _idempotency_key(key: bytes | None) -> bytes:
    return b"" if key is None else b"\r\nIdempotency-Key: " + key
