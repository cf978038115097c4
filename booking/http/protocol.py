"""One client's connection: its requests are answered one after the other, each by one ASGI call."""

import asyncio
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, cast

from booking.http.asgi import App, Scope
from booking.http.call import EXTENSION, AsgiCall
from booking.http.headers import CONTINUE
from booking.http.request import Request, RequestReader
from booking.http.worker import HttpWorker

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.server import ServerState

REQUEST_SECONDS_MAX = 10.0
"""A request that has not arrived within this time ends its connection. So long, too, a client that is still sending is
listened to behind the last response: a close would be answered with a reset, which may overtake the response (RFC 9112,
section 9.6)."""

UNREAD_SECONDS_MAX = 60.0
"""A client that leaves what is written to it unread for this long is cut off."""

LAST_REQUEST_SECONDS = 0.3
"""How long, when the server stops, an idle connection may still bring a request that was on its way."""

ASGI = {"version": "3.0", "spec_version": "2.4"}

PIPELINED_MAX = 128
"""Whole requests that may wait on one connection behind another; a client that sends more is cut off."""

PIPELINED_BYTES_MAX = 1_048_576
"""Bytes of these requests."""


class HttpProtocol(asyncio.Protocol):
    """Made by uvicorn for each connection (its setting `http`), with what uvicorn's own protocols are made with."""

    def __init__(
        self,
        worker: HttpWorker,
        config: "uvicorn.Config",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._worker = worker
        self._made_with = config, server_state, app_state
        self._server = server_state
        self.tasks = server_state.tasks
        """The ASGI calls that are running, of all connections; a stop waits for them."""
        self._app = cast("App", config.loaded_app)
        self._root_path, self._app_state = config.root_path, app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._reader = RequestReader(self._take, worker.body_bytes_max, worker.larger_bodies)
        self._queue: deque[Request] = deque()
        """Whole requests behind the one that is being answered."""
        self._queued_bytes = 0
        self._call: AsgiCall | None = None
        """The request that is being answered."""
        self._unsent: list[bytes] = []
        self._deadline = inf
        """When the connection ends, unless the client sends the rest of its request, or its next one, before."""
        self._unread_deadline = inf
        """When it ends, unless the client reads what is written to it."""
        self.sends_no_more = False
        """Whether the client has closed its half."""
        self._is_ending = False
        """Whether the last response is written; what the client still sends is dropped."""
        self.drained: asyncio.Future[None] | None = None
        """Done when the client has read most of what is written to it; None while it keeps up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The event loop has accepted the client."""
        self._transport = cast("asyncio.Transport", transport)
        self._client = _address(transport.get_extra_info("peername"))
        self._address = _address(transport.get_extra_info("sockname"))
        connections = cast("set[HttpProtocol]", self._server.connections)
        connections.add(self)
        self._deadline = self._loop.time() + self._worker.keep_alive_seconds
        self._worker.sweep_from_now_on(connections)
        self._worker.accept_more(self._another)
        if self._worker.is_stopping:
            self.shutdown()

    def data_received(self, data: bytes) -> None:
        """The client has sent bytes."""
        if self._is_ending:
            return
        reader = self._reader
        was_receiving = reader.is_receiving
        reader.feed(data)
        if self._call is None and reader.is_receiving:
            self._await_rest(is_new=not was_receiving)

    def eof_received(self) -> bool:
        """The client sends no more. What it has asked for is done in any case, so it is answered."""
        self.sends_no_more = True
        self._reader.close()
        self.flush()  # the transport closes without asking
        if self._call is None or self._is_ending:
            return False
        self._call.client_sends_no_more()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # as asyncio has it
        """The connection has ended, at whichever end."""
        cast("set[HttpProtocol]", self._server.connections).discard(self)
        self._reader.close()
        self._queue.clear()
        self._unsent.clear()
        self._is_ending = True
        self._deadline = self._unread_deadline = inf
        call, self._call = self._call, None
        if call is not None:
            self._release_slot(call)
            call.client_left()
        self._wake()

    def pause_writing(self) -> None:
        """The client leaves much unread. It holds no slot of those who read."""
        self.drained = self._loop.create_future()
        self._unread_deadline = self._loop.time() + UNREAD_SECONDS_MAX
        if self._call is not None:
            self._release_slot(self._call)

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self._unread_deadline = inf
        self._wake()

    def expire(self, now: float) -> None:
        """Ends the connection if a deadline has passed. Called once a second."""
        if now > self._unread_deadline or (now > self._deadline and self._is_ending):
            self._transport.abort()
        elif now > self._deadline:
            self._close()
        elif self.sends_no_more and self._call is not None:
            self._call.probe()

    def shutdown(self) -> None:
        """Called by uvicorn when the server stops: the next response is the last one."""
        self._worker.is_stopping = True
        if self._call is not None:
            self._call.end()  # ends only a stream; any other response is completed
        if not self._is_ending:
            self._loop.call_later(LAST_REQUEST_SECONDS, self._stop)

    @property
    def is_stopping(self) -> bool:
        """Whether every response is the last one of its connection."""
        return self._worker.is_stopping

    def common_lines(self) -> bytes:
        """The lines of the fields that every response has."""
        return self._worker.common_lines(self._server.default_headers)

    def write(self, data: bytes) -> None:
        """Queues bytes; they are written before the event loop waits for anything."""
        if not self._unsent:
            self._worker.flush_soon(self)
        self._unsent.append(data)

    def flush(self) -> None:
        """Writes what is queued, now."""
        unsent, self._unsent = self._unsent, []
        if unsent and not self._transport.is_closing():
            self._transport.write(b"".join(unsent) if len(unsent) > 1 else unsent[0])

    def unread_bytes(self) -> int:
        """Bytes that the client has left unread."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._unsent))

    def abort(self) -> None:
        """Ends the connection at once; what is queued is lost."""
        self._reader.close()
        self._transport.abort()

    def run(self, call: AsgiCall) -> None:
        """Starts the ASGI call."""
        request = call.request
        scope: Scope = {
            "type": "http",
            "asgi": ASGI,
            "http_version": request.version,
            "server": self._address,
            "client": self._client,
            "scheme": "http",
            "method": request.method,
            "root_path": self._root_path,
            "path": request.path,
            "raw_path": request.raw_path,
            "query_string": request.query,
            "headers": request.headers,
            "extensions": {
                EXTENSION: {"fields": request.fields, "write": call.write, "end": call.end, "abort": call.abort}
            },
        }
        if self._app_state:
            scope["state"] = self._app_state.copy()
        # `create_task` takes half as long again: it gives each task a name of its own.
        call.task = asyncio.Task(call.run(self._app, scope), loop=self._loop, name="request")
        self.tasks.add(call.task)

    def reject(self, code: str, request: Request) -> None:
        """Answers the request whose turn it is without the application."""
        closes = request.is_last or self.is_stopping
        self.write(self._worker.rejection(code, request.headers, self.common_lines(), closes=closes))
        self.end_turn(request, closes=closes)

    def end_turn(self, request: Request, *, closes: bool) -> None:
        """The response to a request is written."""
        call, self._call = self._call, None
        if call is not None and call.has_slot:
            self._release_slot(call)
        if closes or (self.sends_no_more and not self._queue):
            self._end(is_heard_out=not request.is_whole)
        elif self._queue:
            self._start(self._queue.popleft())
        elif self._reader.is_receiving:
            self._await_rest(is_new=True)
        else:
            self._deadline = self._loop.time() + self._worker.keep_alive_seconds

    def _take(self, request: Request) -> None:
        """The reader has a whole request, or a rejection."""
        if self._call is None:
            self._start(request)
            return
        self._queue.append(request)
        self._queued_bytes += request.size()
        if len(self._queue) > PIPELINED_MAX or self._queued_bytes > PIPELINED_BYTES_MAX:
            self.abort()

    def _start(self, request: Request) -> None:
        """Begins with the next request. Only here, with the request whole, is it counted among those under way."""
        if not self._queue:
            self._queued_bytes = 0
        if request.rejection is not None:
            self.reject(request.rejection, request)
            return
        self._deadline = inf
        call = self._call = AsgiCall(self, request)
        worker = self._worker
        if self.drained is None and worker.is_sheddable(request.method, request.path):
            if not worker.shedder.admit(call):
                return
            call.has_slot = True
        self.run(call)

    def _await_rest(self, *, is_new: bool) -> None:
        """Nothing is being answered, and some of a request is here."""
        if is_new:
            self._deadline = self._loop.time() + REQUEST_SECONDS_MAX
        if self._reader.expects_continue:
            self._reader.expects_continue = False
            self.write(CONTINUE)

    def _end(self, *, is_heard_out: bool) -> None:
        """The last response is written: closes, or only our half if the client is still sending."""
        self._is_ending = True
        self._reader.close()
        self._queue.clear()
        self._deadline = self._loop.time() + REQUEST_SECONDS_MAX
        self.flush()
        if is_heard_out and not (self.sends_no_more or self.is_stopping or self._transport.is_closing()):
            try:
                self._transport.write_eof()
            except OSError:  # the client has reset the connection; its end is about to be told
                self._transport.abort()
        else:
            self._transport.close()

    def _close(self) -> None:
        self._is_ending = True
        self.flush()
        self._deadline = self._loop.time() + REQUEST_SECONDS_MAX
        self._transport.close()

    def _stop(self) -> None:
        """The time for a last request is over."""
        if self._call is None:
            self._close()
        else:
            self._call.end()

    def _release_slot(self, call: AsgiCall) -> None:
        if call.has_slot:
            call.has_slot = False
            self._worker.shedder.release()

    def _wake(self) -> None:
        drained, self.drained = self.drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def _another(self) -> asyncio.Protocol:
        config, server_state, app_state = self._made_with
        return HttpProtocol(self._worker, config, server_state, app_state, self._loop)


def _address(name: object) -> tuple[str, int] | None:
    """A socket's address as ASGI has it; None for a Unix socket's."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
