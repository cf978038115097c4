"""One client's connection: uvicorn's, but for how its answers go out and how long it may keep the service waiting."""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from booking.web.cycle import CYCLE, Cycle

REQUEST_SECONDS_MAX = 10.0
"""A request whose head and body have not arrived within this is cut off (contract of the fault suite)."""

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


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol with our own cycle on a corked transport, and without its timer.

    Uvicorn sets and clears a timer for each request, which costs as much as checking a token, and has none for a
    client that is slow to send; here one look at all connections serves instead.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop with a client's transport."""
        self._quiet_since = self.loop.time()
        self._sending_since: float | None = None
        corked = CorkedTransport(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", corked))

    def on_message_begin(self) -> None:
        """Called by the parser at a request's first byte."""
        self._sending_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called by the parser when a request's head is whole."""
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            # Uvicorn names the class of its cycles nowhere but in the middle of this; the task it has made for this
            # one begins in a later turn of the loop.
            self.cycle.__class__ = Cycle
            self.scope[CYCLE] = self.cycle  # type: ignore[literal-required]  # a key of our own

    def on_message_complete(self) -> None:
        """Called by the parser when a request is whole."""
        self._sending_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but that no timer is set."""
        self.server_state.total_requests += 1
        self._quiet_since = self.loop.time()
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

    def look(self, now: float) -> None:
        """Closes the connection if its client has taken too long over a request, or been quiet for too long."""
        if self._sending_since is not None:
            overdue = now - self._sending_since > REQUEST_SECONDS_MAX
        else:
            answered = self.cycle is None or self.cycle.response_complete
            overdue = answered and now - self._quiet_since > self.timeout_keep_alive
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
