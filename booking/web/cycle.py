"""One request and its answer: uvicorn's, but for how the answer is put together and goes out."""

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from booking.web.heads import CLOSE, header_lines

CYCLE = "booking.cycle"
"""Where a request's scope has a weak reference to its cycle, for an endpoint whose answer goes on and on."""

BODILESS = (204, 304)
"""The statuses whose answers have no body, and none to frame (RFC 9112, section 6.3)."""


class Cycle(RequestResponseCycle):
    """Writes an answer whose length is known in one piece; every other goes uvicorn's way."""

    _head: bytes | None = None
    _streams = False
    _ends_by_closing = False
    """Whether the end of the connection is that of the answer, as where nobody knows of chunks (HTTP/1.0)."""

    async def send(self, message: Message) -> None:  # type: ignore[override]  # uvicorn names its own message types
        """ASGI's `send`. Raises RuntimeError for a header that would end its line, as uvicorn does."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self._head is not None:
            head, self._head = self._head, None
            body = message.get("body", b"")
            whole = len(body) == self.expected_content_length and not message.get("more_body")
            if whole and message["type"] == "http.response.body":
                self.transport.write(head + body)
                self._end_of_answer()
                return
            self.transport.write(head)
        elif not self.response_started and message["type"] == "http.response.start":
            self._head = self._head_of(message)
            if self._head is not None:
                self.response_started, self.waiting_for_100_continue = True, False
                return
        if self._ends_by_closing:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)  # type: ignore[arg-type]  # as above

    def _head_of(self, message: Message) -> bytes | None:
        """The head's bytes; None where uvicorn has to frame the answer."""
        status, headers = message["status"], [*self.default_headers, *message["headers"]]
        length, names_connection = None, False
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                names_connection = True
        if length is None and self.scope["http_version"] != "1.1":
            self._ends_by_closing, self.chunked_encoding = True, False
        if names_connection or length is None or status in BODILESS or self.scope["method"] == "HEAD":
            return None
        if not self.keep_alive:
            headers.append(CLOSE)
        head = STATUS_LINE[status] + header_lines(headers) + b"\r\n"
        self.expected_content_length, self.chunked_encoding = length, False
        return head

    def _end_of_answer(self) -> None:
        self.expected_content_length = 0
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def begin_stream(self) -> "Cycle":
        """Lets pieces be written past `send`, which takes a task's turn for each of thousands of listeners.

        The answer has begun, in chunks where the client knows of them (RFC 9112, section 7.1).
        """
        self._streams = True
        return self

    def write_piece(self, piece: bytes) -> int:
        """Writes some of a stream; returns the bytes that its reader has left unread."""
        if self.disconnected or self.response_complete:
            return 0
        self.transport.write(piece if self._ends_by_closing else b"%x\r\n%b\r\n" % (len(piece), piece))
        unread: int = self.transport.get_write_buffer_size()
        return unread

    def cut_off(self) -> None:
        """Ends a stream at once."""
        self.transport.abort()

    def end_stream(self) -> None:
        """Ends a stream as a whole answer ends; does nothing to another."""
        if self._streams and not self.response_complete and not self.disconnected:
            if not self._ends_by_closing:
                self.transport.write(b"0\r\n\r\n")
            self.keep_alive = False
            self._end_of_answer()
