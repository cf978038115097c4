"""One client's connection: uvicorn's, but for how its answers go out and how long it may keep the service waiting."""

import asyncio
from collections.abc import Iterable
from typing import Any, cast
from weakref import ref

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from booking.web.admission import CROWD, Admission, is_quick
from booking.web.anteroom import Anteroom
from booking.web.cycle import CYCLE, Cycle

REQUEST_SECONDS_MAX = 10.0
"""A request whose head and body have not arrived within this is cut off (contract of the fault suite)."""

UNSEEN_BYTES_MAX = 65_536
"""Bytes that are kept of a client that sends on and on while its request waits to be looked at."""

LOOK_SECONDS = 1.0
"""How often connections are looked at."""


class CorkedTransport:
    """A transport that writes when everything that is ready has run.

    The answers of a turn then go out one right behind the other, and clients that share a processor are woken once:
    where each write wakes a client that has gone to sleep again, it costs three times as much.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        # Asked once or more a request: not by way of __getattr__.
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Queues `data` behind what is waiting; all of it goes out before the loop waits for anything else."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        """As `write`, for several pieces."""
        for part in parts:
            self.write(part)

    def close(self) -> None:
        """Closes once everything is out."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._transport.write(b"".join(waiting))


class WorkerState(ServerState):
    """What uvicorn's connections share, and how many requests may be under way on all of them."""

    def __init__(self, admission: Admission) -> None:
        super().__init__()
        self.admission = admission
        self.anteroom = Anteroom(admission)
        self.ending = False
        """Whether every answer is its connection's last."""


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol with our own cycle on a corked transport, a bound on what is under way, and without its timer.

    Uvicorn sets and clears a timer for each request, which costs as much as checking a token, and has none for a
    client that is slow to send; here one look at all connections serves instead.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop with a client's transport."""
        self._quiet_since = self.loop.time()
        self._sending_since: float | None = None
        state = cast("WorkerState", self.server_state)
        self._admission, self._anteroom = state.admission, state.anteroom
        self._unseen = b""
        """What has come of a request that waits to be looked at."""
        self._too_late = False
        self._place = 0
        """Which of the requests under way ours is; 0: none that counts."""
        self._admitted_at = 0.0
        self._turned_away = False
        corked = CorkedTransport(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", corked))

    def data_received(self, data: bytes) -> None:
        """Called by the loop with bytes from the client."""
        admission = self._admission
        if self._unseen:
            self._unseen += data
            if len(self._unseen) > UNSEEN_BYTES_MAX:
                self.flow.pause_reading()
        elif admission.in_flight >= admission.limit and data.startswith(CROWD) and self._is_between_requests():
            self._unseen = data
            self._anteroom.wait(self)
        else:
            super().data_received(data)

    def look_at_request(self, *, too_late: bool) -> None:
        """Called in the turn of a request that had to wait to be looked at."""
        data, self._unseen = self._unseen, b""
        self._too_late = too_late
        if self.parser is not None:  # else the client has gone
            self.flow.resume_reading()
            super().data_received(data)
        self._too_late = False

    def on_message_begin(self) -> None:
        """Called by the parser at a request's first byte."""
        self._sending_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called by the parser when a request's head is whole."""
        before = self.cycle
        if (before is None or before.response_complete) and is_quick(self.url):
            admission = self._admission
            if (self._too_late or admission.in_flight >= admission.limit) and self._may_be_turned_away():
                self._turned_away = True
                return
            admission.in_flight += 1
            self._place, self._admitted_at = admission.in_flight, self._sending_since or self.loop.time()
        super().on_headers_complete()
        if self.cycle is not before:
            # Uvicorn names the class of its cycles nowhere but in the middle of this; the task it has made for this
            # one begins in a later turn of the loop.
            self.cycle.__class__ = Cycle
            # Weakly: a cycle that names itself would wait for the collector, at several kilobytes a request.
            self.scope[CYCLE] = ref(self.cycle)  # type: ignore[literal-required]  # a key of our own

    def on_body(self, body: bytes) -> None:
        """Called by the parser with some of a body."""
        if not self._turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser when a request is whole."""
        self._sending_since = None
        if self._turned_away:
            self._turn_away()
        else:
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the connection has ended."""
        super().connection_lost(exc)
        if self._place:
            self._place = 0
            self._admission.gone()

    def on_response_complete(self) -> None:
        """As uvicorn's, but that no timer is set."""
        self.server_state.total_requests += 1
        self._quiet_since = self.loop.time()
        if self._place:
            self._admission.answered(self._place, self._admitted_at, self._quiet_since)
            self._place = 0
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, application = self.pipeline.pop()
            self._start_asgi_task(cycle, application)

    def end_stream(self) -> None:
        """Ends an answer that would go on for ever; does nothing to another."""
        if isinstance(self.cycle, Cycle):
            self.cycle.end_stream()

    def _is_between_requests(self) -> bool:
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self._sending_since is None

    def _may_be_turned_away(self) -> bool:
        """Not an organizer's change, nor what needs another answer than the one that is ready."""
        state = cast("WorkerState", self.server_state)
        return self.parser.get_method() in (b"GET", b"POST") and not self.expect_100_continue and not state.ending

    def _turn_away(self) -> None:
        self._turned_away = False
        self._admission.sheds += 1
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        beside = self.server_state.default_headers
        self.transport.write(self._admission.refusal.answer(self.headers, beside, keep_alive=keep_alive))
        self._quiet_since = self.loop.time()
        if not keep_alive:
            self.transport.close()

    def look(self, now: float) -> None:
        """Closes the connection if its client has taken too long over a request, or been quiet for too long."""
        if self._sending_since is not None:
            overdue = now - self._sending_since > REQUEST_SECONDS_MAX
        else:
            idle = self._is_between_requests() and not self._unseen
            overdue = idle and now - self._quiet_since > self.timeout_keep_alive
        if overdue:
            self.transport.close()


async def look_after(connections: Iterable[object]) -> None:
    """Looks at uvicorn's set of connections until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = loop.time()
        for connection in list(connections):
            if isinstance(connection, Connection):
                connection.look(now)
