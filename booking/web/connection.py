"""One client's connection: uvicorn's, but for how its answers go out and how long it may keep the service waiting."""

import asyncio
from collections.abc import Awaitable
from typing import cast
from weakref import ref

import structlog
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from booking.web.admission import CROWD, is_quick
from booking.web.cycle import CYCLE, Cycle
from booking.web.direct import DirectCycle
from booking.web.heads import CLOSE, head_of
from booking.web.refusing import PIPELINED_MAX, RefusingConnection
from booking.web.responses import Answer

log = structlog.get_logger()

UNSEEN_BYTES_MAX = 65_536
"""Bytes that are kept of a client that sends on and on while its request waits to be looked at."""


class Connection(RefusingConnection):
    """Uvicorn's protocol with our own cycles, a bound on what is under way, and a shorter way for what a crowd asks."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop with a client's transport."""
        super().connection_made(transport)
        self._anteroom = self.state.anteroom
        self._receiving: DirectCycle | None = None
        """The request that is coming, if it goes the shorter way."""
        self._too_late = False
        self._counts = False
        """Whether the request that is coming is to take a place, once it is whole."""
        self._admitted_at = 0.0

    def data_received(self, data: bytes) -> None:
        """Called by the loop with bytes from the client."""
        admission = self.admission
        if self.unseen:
            self.unseen += data
            if len(self.unseen) > UNSEEN_BYTES_MAX:
                self.flow.pause_reading()
        elif admission.in_flight >= admission.limit and data.startswith(CROWD) and self._may_wait():
            self.unseen = data
            self._anteroom.wait(self)
        else:
            self.parse(data)

    def look_at_request(self, *, too_late: bool) -> None:
        """Called in the turn of a request that had to wait to be looked at."""
        data, self.unseen = self.unseen, b""
        self._too_late = too_late
        try:
            if self.parser is not None:  # else the client has gone
                self.flow.resume_reading()
                self.parse(data)
        finally:
            self._too_late = False

    def on_headers_complete(self) -> None:
        """Called by the parser when a request's head is whole."""
        self.in_head = self._counts = False
        if self.asks_for_another_protocol():
            return
        before = self.cycle
        is_next = before is None or before.response_complete
        if is_next and is_quick(self.url):
            full = self._too_late or self.admission.is_full
            if full and self.may_be_turned_away(self.parser.get_method().decode()):
                self.turned_away = True
                if self.expect_100_continue:  # it need not send the rest
                    self.turn_away(self.headers, keep_alive=False)
                    raise ConnectionAbortedError
                return
            self._counts = True
            if self._goes_directly():
                return
        self.make_scope()
        super().on_headers_complete()
        # Uvicorn names the class of its cycles nowhere but in the middle of this; the task it has made for this one
        # begins in a later turn of the loop.
        self.cycle.__class__ = Cycle
        # Weakly: a cycle that names itself would wait for the collector, at several kilobytes a request.
        self.scope[CYCLE] = ref(self.cycle)  # type: ignore[literal-required]  # a key of our own
        if is_next:
            self.answering = self.cycle
        elif len(self.pipeline) > PIPELINED_MAX:
            self.cut_off()

    def _goes_directly(self) -> bool:
        """Takes a request to its endpoint, without ASGI's messages, where that can be."""
        frame = self.state.frame
        if frame is None or self.expect_100_continue:
            return False
        found = frame.direct(self.parser.get_method(), self.url, self.headers)
        if found is None:
            return False
        self.answering = self._receiving = cycle = DirectCycle(self.flow, keep_alive=self.keeps_alive())
        self.cycle = cast("RequestResponseCycle", cycle)  # it is all that uvicorn asks of one
        cycle.task = self.loop.create_task(self._answer(cycle, frame.answer(*found, cycle.receive)))
        self.tasks.add(cycle.task)
        return True

    async def _answer(self, cycle: DirectCycle, answering: Awaitable[Answer | None]) -> None:
        try:
            answer = await answering
            if self.flow.write_paused and not cycle.disconnected:
                await self.flow.drain()
            if answer is not None and not cycle.disconnected:
                self._send(answer, cycle)
        except Exception:  # whoever waits for it learns so that none will come
            log.exception("an answer could not be sent")
            self.transport.abort()
        finally:
            self.tasks.remove(cycle.task)

    def _send(self, answer: Answer, cycle: DirectCycle) -> None:
        closes = self.state.ending or CLOSE in answer.headers  # and says so
        if not (closes or cycle.keep_alive):
            answer.headers.append(CLOSE)
            closes = True
        self.transport.write(head_of(answer, self.state.default_lines()) + answer.body)
        cycle.response_complete = True
        if closes:
            self.transport.close()
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:
        """Called by the parser with some of a body."""
        self.kept_bytes -= len(body)
        if self._receiving is not None:
            self._receiving.feed(body)
        elif not self.turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser when a request is whole. Only then does it take a place: a crowd that is slow over its
        bodies would keep the others out.
        """
        self.sending_since = None
        if self._receiving is None and self.asks_for_another_protocol():
            return
        if self.turned_away:
            self.turned_away = False
            if self.flow.write_paused or self.corked.held > PIPELINED_MAX:  # it sends on and on, and reads no answer
                self.cut_off()
            self.turn_away(self.headers, keep_alive=self.keeps_alive() and not self.sends_no_more)
            return
        if self._counts and not self.cycle.response_complete:
            self._take_place()
        if self._receiving is None:
            super().on_message_complete()
        else:
            self._receiving.feed_end()
            self._receiving = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the connection has ended."""
        super().connection_lost(exc)
        self.pipeline.clear()  # what waits in it knows this connection, and would wait for the collector
        answering = self.answering
        if answering is not None and not answering.response_complete:
            answering.disconnected = True
            answering.message_event.set()
        self.answering = self.cycle = None  # type: ignore[assignment]  # so does one that never began
        self.give_place_back()

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it; uvicorn says None
        """Called by the loop when no more will come: what a crowd asks is answered still, since it is done in any case.
        Anybody else who sends no more has left.
        """
        self.corked.flush()  # the transport closes without asking
        answering = self.answering
        waits = isinstance(answering, DirectCycle) and not (answering.more_body or answering.response_complete)
        self.sends_no_more = bool(self.unseen) or (waits and answering is self.cycle)
        return self.sends_no_more

    def on_response_complete(self) -> None:
        """As uvicorn's, but that no timer is set."""
        self.server_state.total_requests += 1
        self.quiet_since = self.loop.time()
        if self.place:
            self.admission.answered(self.place, self._admitted_at, self.quiet_since)
            self.place = 0
        if self.sends_no_more:
            self.transport.close()
        if self.transport.is_closing():
            return
        while self.pipeline and not self.transport.is_closing():
            self.answering, application = self.pipeline.pop()
            scope = self.answering.scope
            quick = is_quick(scope["raw_path"]) and not self.answering.more_body
            if not (quick and self.admission.is_full and self.may_be_turned_away(scope["method"])):
                if quick:
                    self._take_place()
                self._start_asgi_task(self.answering, application)
                return
            self.answering.response_complete = True
            self.turn_away(list(scope["headers"]), keep_alive=self.answering.keep_alive)
        self.flow.resume_reading()

    def _take_place(self) -> None:
        """Has the request whose turn it is count among those that are under way."""
        if not self.flow.write_paused:
            self.admission.in_flight += 1
            self.place, self._admitted_at = self.admission.in_flight, self.loop.time()

    def stop(self) -> None:
        """Ends the connection, at a stop, where the client keeps its own request from being answered."""
        answering = self.answering
        owed = answering is not None and not answering.response_complete
        if self.sending_since is not None and not (owed and (self.in_head or answering is not self.cycle)):
            self.corked.drop()

    def end_stream(self) -> None:
        """Ends an answer that would go on for ever; does nothing to another."""
        if isinstance(self.answering, Cycle):
            self.answering.end_stream()

    def _may_wait(self) -> bool:
        return self.is_between_requests() and not self.state.ending
