"""One connection to the service: a request out, its answer back, no more in flight than that one."""

import asyncio
from time import perf_counter_ns
from typing import Protocol, cast

from booking.loadtest.calls import Call
from booking.loadtest.wire import Answer, UnreadableAnswerError, split_answer


class Owner(Protocol):
    """Who drives the connections."""

    def connected(self, connection: "Connection") -> None:
        """The connection is ready for its first call."""

    def answered(self, connection: "Connection", call: Call, answer: Answer) -> None:
        """The answer is all there; the connection is free again."""

    def disconnected(self, connection: "Connection", call: Call | None, why: str) -> None:
        """The connection is gone, with a call in flight or without."""


class Connection(asyncio.Protocol):
    """Drives one socket for its owner. `since_ns` is when the call in flight left, on perf_counter_ns."""

    __slots__ = ("_owner", "_rest", "_transport", "_why", "call", "gone", "since_ns")

    def __init__(self, owner: Owner) -> None:
        self.call: Call | None = None
        self.since_ns = 0
        self.gone = asyncio.Event()
        self._owner = owner
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self._why = "connection lost"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tells the owner."""
        self._transport = cast("asyncio.Transport", transport)
        self._owner.connected(self)

    def send(self, call: Call, request: bytes) -> None:
        """Sends one request; the connection has to be free."""
        assert self.call is None
        assert self._transport is not None
        self.call = call
        self.since_ns = perf_counter_ns()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Hands the answer on once it is all there."""
        if self._rest:
            data = self._rest + data
        call = self.call
        if call is None:
            self.abort("an answer that nobody asked for")
            return
        try:
            answer = split_answer(data)
        except UnreadableAnswerError as error:
            self.abort(str(error))
            return
        if answer is None:
            self._rest = data
            return
        self._rest = b""
        self.call = None
        if b"\r\nconnection: close" in answer.head:
            # Not offered for another call: its end brings a new connection.
            self._owner.answered(self, call, answer)
            self.abort("closed by the service")
            return
        self._owner.answered(self, call, answer)

    def abort(self, why: str) -> None:
        """Ends the connection at once; a call in flight is lost for the reason given."""
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tells the owner, and whoever waits for `gone`."""
        call, self.call = self.call, None
        self._transport = None
        self._owner.disconnected(self, call, self._why)
        self.gone.set()

    @property
    def usable(self) -> bool:
        """Whether a call may be sent."""
        return self.call is None and self._transport is not None and not self._transport.is_closing()
