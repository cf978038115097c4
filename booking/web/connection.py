"""One client's connection: uvicorn's, but for how its answers go out and how long it may keep the service waiting."""

import asyncio
from typing import cast
from weakref import ref

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from booking.web.admission import CROWD, is_quick
from booking.web.corked import CorkedTransport
from booking.web.cycle import CYCLE, Cycle
from booking.web.refusal import Headers, Refusal
from booking.web.upgrades import head_without_upgrade
from booking.web.worker_state import WorkerState

REQUEST_SECONDS_MAX = 10.0
"""A request whose head and body have not arrived within this is cut off (contract of the fault suite)."""

UNSEEN_BYTES_MAX = 65_536
"""Bytes that are kept of a client that sends on and on while its request waits to be looked at."""

UNREAD_SECONDS_MAX = 60.0
"""A client that leaves what is written to it unread for this long is cut off; one of the crowd, which keeps a place of
the others', after REQUEST_SECONDS_MAX."""

PIPELINED_MAX = 128
"""Requests that may wait on one connection for the answer of another; a client that sends more is cut off."""


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol with our own cycle on a corked transport, a bound on what is under way, and without its timer.

    Uvicorn sets and clears a timer for each request, which costs as much as checking a token, and has none for a
    client that is slow to send; here one look at all connections serves instead.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop with a client's transport."""
        self._quiet_since = self.loop.time()
        self._sending_since: float | None = None
        self._unread_since: float | None = None
        self._closing_since: float | None = None
        self._state = state = cast("WorkerState", self.server_state)
        self._admission, self._anteroom = state.admission, state.anteroom
        self._answering: RequestResponseCycle | None = None
        """The request whose turn it is; uvicorn's `cycle` is the last one that came."""
        self._unseen = b""
        """What has come of a request that waits to be looked at."""
        self._too_late = False
        self._counts = False
        """Whether the request that is coming is to take a place, once it is whole."""
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
        elif admission.in_flight >= admission.limit and data.startswith(CROWD) and self._may_wait():
            self._unseen = data
            self._anteroom.wait(self)
        else:
            self._parse(data)

    def look_at_request(self, *, too_late: bool) -> None:
        """Called in the turn of a request that had to wait to be looked at."""
        data, self._unseen = self._unseen, b""
        self._too_late = too_late
        try:
            if self.parser is not None:  # else the client has gone
                self.flow.resume_reading()
                self._parse(data)
        finally:
            self._too_late = False

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._asks_for_another_protocol():
                version = self.parser.get_http_version()
                head = head_without_upgrade(self.parser.get_method(), self.url, version, self.headers)
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
                self._parse(head + data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _asks_for_another_protocol(self) -> bool:
        # CONNECT is one of its own, and there is no such method here.
        upgrade: bool = self.parser.should_upgrade()
        return upgrade and self.parser.get_method() != b"CONNECT"

    def on_message_begin(self) -> None:
        """Called by the parser at a request's first byte."""
        self._sending_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called by the parser when a request's head is whole."""
        self._counts = False
        if self._asks_for_another_protocol():
            return
        before = self.cycle
        is_next = before is None or before.response_complete
        if is_next and is_quick(self.url):
            if (self._too_late or self._admission.is_full) and self._may_be_turned_away():
                self._turned_away = True
                return
            self._counts = True
        super().on_headers_complete()
        if self.cycle is before:
            return
        # Uvicorn names the class of its cycles nowhere but in the middle of this; the task it has made for this one
        # begins in a later turn of the loop.
        self.cycle.__class__ = Cycle
        # Weakly: a cycle that names itself would wait for the collector, at several kilobytes a request.
        self.scope[CYCLE] = ref(self.cycle)  # type: ignore[literal-required]  # a key of our own
        if is_next:
            self._answering = self.cycle
        elif len(self.pipeline) > PIPELINED_MAX:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """Called by the parser with some of a body."""
        if not self._turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser when a request is whole. Only then does it take a place: a crowd that is slow over its
        bodies would keep the others out.
        """
        self._sending_since = None
        if self._asks_for_another_protocol():
            return
        if self._turned_away:
            self._turn_away()
            return
        if self._counts and not self.cycle.response_complete:
            self._admission.in_flight += 1
            self._place, self._admitted_at = self._admission.in_flight, self.loop.time()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Called by the loop when the client leaves much unread."""
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Called by the loop when it has read most of it."""
        self._unread_since = None
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the connection has ended."""
        super().connection_lost(exc)
        answering = self._answering
        if answering is not None and not answering.response_complete:
            answering.disconnected = True
            answering.message_event.set()
        if self._place:
            self._place = 0
            self._admission.gone()

    def send_400_response(self, msg: str) -> None:
        """Called when what came is no HTTP: after the answer to the request before it, if there is one to come."""
        self.logger.warning(msg)
        answering = self._answering
        if answering is None or answering.response_complete:
            self._refuse(self._state.nonsense, (), keep_alive=False)
        elif not answering.more_body:
            answering.keep_alive = False
            self.pipeline.clear()
            self.flow.pause_reading()
        elif answering.response_started:  # it is this one's own body; half an answer is out
            self.transport.close()
        else:
            self._refuse(self._state.nonsense, (), keep_alive=False)

    def on_response_complete(self) -> None:
        """As uvicorn's, but that no timer is set."""
        self.server_state.total_requests += 1
        self._quiet_since = self.loop.time()
        if self._place:
            self._admission.answered(self._place, self._admitted_at, self._quiet_since)
            self._place = 0
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._answering, application = self.pipeline.pop()
            self._start_asgi_task(self._answering, application)
        else:
            self.flow.resume_reading()

    def end_stream(self) -> None:
        """Ends an answer that would go on for ever; does nothing to another."""
        if isinstance(self._answering, Cycle):
            self._answering.end_stream()

    def _may_wait(self) -> bool:
        return self._is_between_requests() and not self._state.ending

    def _is_between_requests(self) -> bool:
        return (self.cycle is None or self.cycle.response_complete) and self._sending_since is None

    def _may_be_turned_away(self) -> bool:
        """Not an organizer's change, nor what needs another answer than the one that is ready."""
        return self.parser.get_method() in (b"GET", b"POST") and not self.expect_100_continue and not self._state.ending

    def _turn_away(self) -> None:
        self._turned_away = False
        self._admission.sheds += 1
        if self.flow.write_paused:  # it sends on and on, and reads no answer
            self.transport.abort()
            return
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        self._refuse(self._admission.refusal, self.headers, keep_alive=keep_alive)

    def _refuse(self, refusal: Refusal, headers: Headers, *, keep_alive: bool) -> None:
        self.transport.write(refusal.answer(headers, self.server_state.default_headers, keep_alive=keep_alive))
        self._quiet_since = self.loop.time()
        if not keep_alive:
            self.transport.close()

    def look(self, now: float) -> None:
        """Ends the connection if its client has taken too long over a request or an answer, or been quiet for long."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > REQUEST_SECONDS_MAX:
                self.transport.abort()
            return
        unread_max = REQUEST_SECONDS_MAX if self._place else UNREAD_SECONDS_MAX
        if self._unread_since is not None and now - self._unread_since > unread_max:
            self.transport.abort()
            return
        if self._sending_since is not None:
            overdue = now - self._sending_since > REQUEST_SECONDS_MAX
        else:
            idle = self._is_between_requests() and not self._unseen
            overdue = idle and now - self._quiet_since > self.timeout_keep_alive
        if overdue:
            self.transport.close()
