"""One ASGI call: a whole request goes in, its response comes out."""

import asyncio
from collections.abc import Awaitable, Generator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from booking.http.asgi import App, Message, Scope
from booking.http.headers import CLOSE, CONTINUE, Header, header_lines, status_line
from booking.http.request import Request

if TYPE_CHECKING:
    from booking.http.protocol import HttpProtocol

EXTENSION = "booking.response"
"""The ASGI extension of this server, in `scope["extensions"]`. An application that does not find it does without.

- A message `http.response.start` may hold the whole body under `body`. No other message follows, and Content-Length is
  for the server to add: the fields must not have it. Middleware that changes fields of a start need not know of it. One
  message costs less than two.
- `fields` are the request's fields by name; None if a name is there twice.
- `write(piece: bytes) -> int` writes some of a response that has begun with `more_body`, without a turn of a task, and
  returns the bytes that the client has left unread. A response that was written to like this is ended as by `end` when
  the server stops, and its `receive` tells `http.disconnect` as soon as the client sends no more.
- `end()` ends such a response as a whole one; `receive` tells `http.disconnect` then.
- `abort()` ends the connection at once."""

BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
"""The statuses whose responses have no body and no length (RFC 9112, section 6.3)."""

log = structlog.get_logger()


class _Done:
    """An awaitable that is done already, without the cost of a coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        return iter(())  # type: ignore[return-value]  # an iterator is all that await needs


DONE = _Done()


class AsgiCall:
    """Its `receive` and `send` are those of ASGI. Lives from the start of a request to the end of its response."""

    # A call is made for each booking. Slots are faster to read than values that only the class has.
    __slots__ = (
        "_body", "_chunked", "_closes", "_connection", "_head", "_left", "_status", "_waiting",
        "_writes_directly", "gone", "has_slot", "is_complete", "request", "task",
    )  # fmt: skip

    def __init__(self, connection: "HttpProtocol", request: Request) -> None:
        self.request = request
        self.task: asyncio.Task[None] | None = None
        """What runs it, once it has started."""
        self.has_slot = False
        """Whether it counts for the load shedder."""
        self.gone = False
        """Whether the client has left."""
        self.is_complete = False
        """Whether the response is written."""
        self._connection = connection
        self._body: bytes | None = request.body
        self._waiting: asyncio.Future[None] | None = None
        """What `receive` waits for once the body was delivered."""
        self._status = 0
        self._head = b""
        """The head's lines until the first piece of the body is there."""
        self._left: int | None = None
        """Bytes of the body that are still to come; None if its length is not known."""
        self._chunked = self._closes = self._writes_directly = False

    @property
    def has_begun(self) -> bool:
        """Whether some of the response is written."""
        return self._status != 0 and not self._head

    async def run(self, app: App, scope: Scope) -> None:
        """Calls the application. What goes wrong in it ends in a response, or ends the connection."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            log.exception("the application failed")
        finally:
            self._connection.tasks.discard(self.task)
            if not self.is_complete:
                self._end_incomplete()

    async def receive(self) -> Message:
        """The whole request in one message; then, once the client has left, `http.disconnect`."""
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        if not self.gone and not self.is_complete:
            self._waiting = asyncio.get_running_loop().create_future()
            self.probe()
            await self._waiting
        return {"type": "http.disconnect"}

    def send(self, message: Message) -> Awaitable[None]:
        """Takes the head, the body or both; to be awaited, while the client reads too slowly.

        Raises RuntimeError for a field that would end its line, and for a body longer than its Content-Length.
        """
        if message["type"] == "http.response.start":
            if "body" in message and self._send_whole(message["status"], message["headers"], message["body"]):
                return DONE
            self._begin(message["status"], message["headers"])
            if "body" not in message:
                return DONE
        if self._connection.drained is not None:
            return self._send_when_drained(message)
        self._send_body(message)
        return DONE

    def _send_whole(self, status: int, headers: Sequence[Header], body: bytes) -> bool:
        """Sends nearly every response: one that is whole, on a connection that stays. Returns False for any other."""
        connection, request = self._connection, self.request
        if (
            self._status
            or self.gone
            or request.is_last
            or connection.drained is not None
            or connection.is_stopping
            or request.method == "HEAD"
            or status in BODILESS
            or CLOSE in headers
        ):
            return False
        common, lines = connection.common_lines(), header_lines(headers)
        connection.write(b"%b%b%bcontent-length: %d\r\n\r\n%b" % (status_line(status), common, lines, len(body), body))
        self._status, self.is_complete = status, True
        connection.end_turn(request, closes=False)
        return True

    async def _send_when_drained(self, message: Message) -> None:
        while self._connection.drained is not None:
            await self._connection.drained
        self._send_body(message)

    def _send_body(self, message: Message) -> None:
        connection = self._connection
        if self.gone or self.is_complete:
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._head:
            connection.write(self._framed(self._head, body, more=more))
            self._head = b""
        elif body or (self._chunked and not more):
            connection.write(self._piece(body, more=more))
        if self._left is not None and more is False and self._left > 0:
            self._end_incomplete()
        elif not more:
            self.is_complete = True
            connection.end_turn(self.request, closes=self._closes)

    def write(self, piece: bytes) -> int:
        """Writes some of a response that goes on; returns the bytes that the client has left unread."""
        if self.gone or self.is_complete:
            return 0
        self._writes_directly = True
        self._connection.write(self._piece(piece, more=True))
        return self._connection.unread_bytes()

    def end(self) -> None:
        """Ends a response that goes on, as a whole one."""
        if self._writes_directly and not self.is_complete and not self.gone:
            if self._chunked:
                self._connection.write(b"0\r\n\r\n")
            self.is_complete = True
            self._wake()
            self._connection.end_turn(self.request, closes=self._closes or self._connection.is_stopping)

    def abort(self) -> None:
        """Ends the connection at once."""
        self._connection.abort()

    def client_left(self) -> None:
        """The connection is lost."""
        self.gone = True
        self._wake()

    def client_sends_no_more(self) -> None:
        """The client has closed its half. It gets its response, unless that goes on without an end."""
        if self._writes_directly:
            self.client_left()
            self.abort()
        self.probe()

    def probe(self) -> None:
        """Finds out whether a client that sends no more has gone, if the application waits to be told so.

        To have closed a half or the whole connection looks the same from here. A client that has closed the whole
        answers these bytes with a reset, which the next ones meet; any other skips them (RFC 9110, section 15.2).
        """
        waits = self._waiting is not None and not (self._waiting.done() or self.has_begun)
        if waits and self._connection.sends_no_more and self.request.version != "1.0":
            self._connection.write(CONTINUE)

    def start(self) -> None:
        """Called when it has got a slot."""
        self.has_slot = True
        self._connection.run(self)

    def turn_away(self) -> None:
        """Called when it has waited for a slot for too long."""
        self._connection.reject("overloaded", self.request)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _begin(self, status: int, headers: Sequence[Header]) -> None:
        if self.has_begun:
            raise RuntimeError("The response has begun already.")
        self._head = status_line(status) + self._connection.common_lines() + header_lines(headers)
        self._status = status
        fields = dict(headers)
        length = fields.get(b"content-length")
        self._left = None if length is None else int(length)
        self._closes = self.request.is_last or fields.get(b"connection") == b"close"

    def _framed(self, head: bytes, body: bytes, *, more: bool) -> bytes:
        """The head with the fields that tell the body's end, and what there is of the body."""
        request, without_body = self.request, self._status in BODILESS
        if self._left is None and not without_body:
            if not more:
                self._left = len(body)
                head += b"content-length: %d\r\n" % len(body)
            elif request.version == "1.0":  # it knows no chunks: the end of the connection is the end of the body
                self._closes = True
            else:
                self._chunked = True
                head += b"transfer-encoding: chunked\r\n"
        if without_body or request.method == "HEAD":
            self._left, self._chunked, body = None, False, b""
        if (self._closes or self._connection.is_stopping) and b"\r\nconnection: close\r\n" not in head.lower():
            self._closes = True
            head += b"connection: close\r\n"
        return head + b"\r\n" + (self._piece(body, more=more) if body or self._chunked else b"")

    def _piece(self, body: bytes, *, more: bool) -> bytes:
        """Some of the body as it is written."""
        if self._chunked:
            piece = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return piece if more else piece + b"0\r\n\r\n"
        if self.request.method == "HEAD" or self._status in BODILESS:
            return b""
        if self._left is not None:
            if len(body) > self._left:
                raise RuntimeError("The response is longer than its Content-Length.")
            self._left -= len(body)
        return body

    def _end_incomplete(self) -> None:
        """The application has returned without a whole response."""
        self.is_complete = True
        connection = self._connection
        if self.gone:
            return
        if self.has_begun:
            connection.end_turn(self.request, closes=True)
        else:
            connection.reject("internal_error", self.request)
