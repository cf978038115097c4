"""Request bytes put together beforehand, and answers taken apart with as little work as HTTP/1.1 allows."""

from typing import NamedTuple

from booking.loadtest.plan import Plan, address_of

ANSWER_BYTES_MAX = 1 << 20
"""A longer answer is none of this service's."""


class UnreadableAnswerError(Exception):
    """Bytes that are no HTTP/1.1 answer with a Content-Length, which is all that this service sends here."""


class Answer(NamedTuple):
    """One answer: status code, the head in lower case, and the body. A tuple, being made for every request."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The value of a header (name in lower case), or None."""
        start = self.head.find(b"\r\n" + name + b":")
        if start < 0:
            return None
        start += len(name) + 3
        end = self.head.find(b"\r\n", start)
        return self.head[start : end if end >= 0 else None].strip()


def split_answer(data: bytes) -> Answer | None:
    """The answer that `data` holds, or None while it is not all there. Raises UnreadableAnswerError."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > ANSWER_BYTES_MAX:
            raise UnreadableAnswerError("a head without an end")
        return None
    head = data[:end].lower()
    start = head.find(b"\r\ncontent-length:")
    if start < 0 or head[:7] != b"http/1.":
        raise UnreadableAnswerError("an answer without a Content-Length")
    stop = head.find(b"\r\n", start + 2)
    try:
        length = int(head[start + 17 : stop if stop >= 0 else None])
        status = int(head[9:12])
    except ValueError:
        raise UnreadableAnswerError("an answer whose head is no HTTP") from None
    if not 0 <= length <= ANSWER_BYTES_MAX:
        raise UnreadableAnswerError("an answer of more than a mebibyte")
    body = data[end + 4 :]
    if len(body) < length:
        return None
    if len(body) > length:
        raise UnreadableAnswerError("bytes after the end of an answer")
    return Answer(status, head, body)


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
