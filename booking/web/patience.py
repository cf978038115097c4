"""How long a client may keep the service waiting: over a request, over an answer, and with neither."""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from booking.web.corked import CorkedTransport
from booking.web.worker_state import WorkerState

REQUEST_SECONDS_MAX = 10.0
"""A request whose head and body have not arrived within this is cut off (contract of the fault suite)."""

UNREAD_SECONDS_MAX = 60.0
"""A client that leaves what is written to it unread for this long is cut off."""


class PatientConnection(HttpToolsProtocol):
    """Uvicorn's protocol on a corked transport, without its timers.

    Uvicorn sets and clears a timer for each request, which costs as much as checking a token, and has none for a
    client that is slow to send; here one look at all connections serves instead.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop with a client's transport."""
        self.state = state = cast("WorkerState", self.server_state)
        self.admission = state.admission
        self.quiet_since = self.loop.time()
        self.sending_since: float | None = None
        self._unread_since: float | None = None
        self._closing_since: float | None = None
        self.kept_bytes = 0
        """What the parser may keep of the request that is coming."""
        self.hears_out = False
        """Whether all that still comes is a rest that nobody looks at."""
        self.sends_no_more = False
        """Whether the client has closed its half, and is to be answered still."""
        self.place = 0
        """Which of the requests under way its own is; 0: none that counts."""
        self.unseen = b""
        """What has come of a request that waits to be looked at."""
        self.corked = CorkedTransport(cast("asyncio.Transport", transport), state.cork)
        super().connection_made(cast("asyncio.Transport", self.corked))

    def pause_writing(self) -> None:
        """Called by the loop when the client leaves much unread. It keeps no place of those who read."""
        self._unread_since = self.loop.time()
        self.give_place_back()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Called by the loop when it has read most of it."""
        self._unread_since = None
        super().resume_writing()

    def give_place_back(self) -> None:
        """Has its request no longer count among those that are under way."""
        if self.place:
            self.place = 0
            self.admission.gone()

    def is_answered(self) -> bool:
        """Whether every request that was begun with has its answer."""
        return self.cycle is None or self.cycle.response_complete

    def is_between_requests(self) -> bool:
        """Whether every request that began has its answer."""
        return self.is_answered() and self.sending_since is None

    def look(self, now: float) -> None:
        """Ends the connection if its client has taken too long over a request or an answer, or been quiet for long."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > REQUEST_SECONDS_MAX:
                self.transport.abort()
            return
        if self._unread_since is not None and now - self._unread_since > UNREAD_SECONDS_MAX:
            self.transport.abort()
            return
        if self.sending_since is not None:
            overdue = now - self.sending_since > REQUEST_SECONDS_MAX
        else:
            idle = self.is_between_requests() and not self.unseen
            overdue = idle and now - self.quiet_since > self.timeout_keep_alive
        if overdue:
            self.corked.drop()
