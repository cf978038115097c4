"""Refusing what never comes to a route: what is too much, and what is no HTTP."""

import asyncio
from typing import NoReturn

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from booking.web.direct import DirectCycle
from booking.web.headers import Headers
from booking.web.parsing import ParsingConnection
from booking.web.refusal import Refusal

PIPELINED_MAX = 128
"""Requests that may wait on one connection for the answer of another, and refusals that may wait there to go out; a
client that sends more is cut off."""


class RefusingConnection(ParsingConnection):
    """Uvicorn's protocol, that answers by itself whatever is not to be begun with."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop with a client's transport."""
        super().connection_made(transport)
        self.answering: RequestResponseCycle | DirectCycle | None = None
        """The request whose turn it is; uvicorn's `cycle` is the last one that came."""
        self.turned_away = False
        """Whether the request that is coming is, once it is whole."""

    def may_be_turned_away(self, method: str) -> bool:
        """Not an organizer's change, nor what needs another answer than the one that is ready."""
        return method in ("GET", "POST") and not self.state.ending

    def turn_away(self, headers: Headers, *, keep_alive: bool) -> None:
        """Tells a request with these headers that there is too much to do."""
        self.admission.sheds += 1
        self.refuse(self.admission.refusal, headers, keep_alive=keep_alive)

    def send_400_response(self, msg: str) -> None:
        """Called when what came is no HTTP: after the answer to the request before it, if there is one to come."""
        if self.transport.is_closing() or self.hears_out:  # there was a last word already
            return
        self.logger.warning(msg)
        answering = self.answering
        if answering is None or answering.response_complete:
            if answering is not None and self.is_in_body() and not self.turned_away:
                self.transport.close()  # it is the body of what has its answer
                return
            self.refuse(self.state.nonsense, (), keep_alive=False)
        elif not answering.more_body:
            answering.keep_alive = False
            self.pipeline.clear()
            self.flow.pause_reading()
        elif answering.response_started:  # it is this one's own body; half an answer is out
            self.transport.close()
        else:
            self.refuse(self.state.nonsense, (), keep_alive=False)

    def begins_to_hear_out(self) -> bool:
        """Called at the end of an answer that is the last: whether the rest of its request is still to come.

        What came after a close would be answered with a reset, which may overtake the answer (RFC 9112, section 9.6).
        """
        if not self.is_in_body() or self.hears_out or self.state.ending or not self.is_answered():
            return False
        self.hears_out = True
        self.flow.resume_reading()
        return True

    def refuse(self, refusal: Refusal, headers: Headers, *, keep_alive: bool) -> None:
        """Writes a refusal, in the turn of a request with these headers."""
        self.transport.write(refusal.answer(headers, self.state.default_lines(), keep_alive=keep_alive))
        self.quiet_since = self.loop.time()
        if not keep_alive:
            self.transport.close()

    def cut_off(self) -> NoReturn:
        """Ends the connection in the midst of a read, the rest of which is looked at by nobody."""
        self.transport.abort()
        raise ConnectionAbortedError
