"""Request bytes put together beforehand, and answers taken apart with as little work as HTTP/1.1 allows."""

from booking.loadtest.plan import Plan, address_of

ANSWER_BYTES_MAX = 1 << 20
"""A longer answer is none of this service's."""


class UnreadableAnswerError(Exception):
    """Bytes that are no HTTP/1.1 answer with a Content-Length, which is all that this service sends here."""


class Answer:
    """One answer. Head and body are cut out when they are asked for, because one is made for every request."""

    __slots__ = ("_data", "_end", "status")

    def __init__(self, status: int, data: bytes, end: int) -> None:
        """`data` holds the answer, whose head ends at `end`."""
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
        """Whether the service ends the connection after this answer."""
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


def split_answer(data: bytes) -> Answer | None:
    """The answer that `data` holds, or None while it is not all there. Raises UnreadableAnswerError."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > ANSWER_BYTES_MAX:
            raise UnreadableAnswerError("a head without an end")
        return None
    start = data.find(b"\r\ncontent-length: ", 0, end)  # as most servers write it
    if start < 0:
        start = data[:end].lower().find(b"\r\ncontent-length:")
    if start < 0 or data[:7] != b"HTTP/1.":
        raise UnreadableAnswerError("an answer without a Content-Length")
    try:
        length = int(data[start + 17 : end].split(b"\r\n", 1)[0])
        status = int(data[9:12])
    except ValueError:
        raise UnreadableAnswerError("an answer whose head is no HTTP") from None
    if not 0 <= length <= ANSWER_BYTES_MAX:
        raise UnreadableAnswerError("an answer of more than a mebibyte")
    missing = end + 4 + length - len(data)
    if missing < 0:
        raise UnreadableAnswerError("bytes after the end of an answer")
    return None if missing else Answer(status, data, end)


class Requests:
    """The bytes of every request of one event; a token and at most a key are all that differ."""

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
        """`POST /book`; a quantity of 1 is left out, being the default."""
        return self._book + token + _idempotency_key(key) + self._quantities[quantity]

    def cancel(self, token: bytes, key: bytes | None) -> bytes:
        """`POST /cancel`."""
        return self._cancel + token + _idempotency_key(key) + self._quantities[0]

    def status(self) -> bytes:
        """`GET /status/{id}`, which anyone may ask."""
        return self._status

    def read(self, token: bytes) -> bytes:
        """`GET /events/{id}/booking`."""
        return self._read + token + b"\r\n\r\n"


def _body(text: str) -> bytes:
    return f"\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


def _idempotency_key(key: bytes | None) -> bytes:
    return b"" if key is None else b"\r\nIdempotency-Key: " + key
