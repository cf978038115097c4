"""When calls leave: as soon as an answer came (closed loop), or by the clock whatever the answers do (open loop)."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns

from booking.loadtest.calls import Call, Kind
from booking.loadtest.connection import Connection
from booking.loadtest.crowd import Crowd
from booking.loadtest.histogram import Histogram
from booking.loadtest.plan import CONNECTIONS_MAX, Plan, address_of
from booking.loadtest.wire import Answer

TICK_SECONDS = 0.001
"""How often the clock of arrivals is looked at: the event loop's timers know nothing finer."""

CONNECT_SECONDS_MAX = 5.0
CONNECT_FAILURES_MAX = 60
"""Refusals in a row after which a connection is given up: with the waits between them, about half a minute."""
CONNECT_WAIT_SECONDS_MAX = 0.5


class Pace:
    """Drives one process's connections through its crowd's calls.

    `rate` is this process's own, in calls a second (None: closed loop); after `seconds_max` nothing more is begun.
    """

    def __init__(self, plan: Plan, process: int, crowd: Crowd, rate: float | None, seconds_max: float) -> None:
        self.latencies = {kind: Histogram() for kind in Kind}
        self.lateness = Histogram()
        """Open loop: how long after its time an arrival was noticed, which is this process's fault alone."""
        self.kept_waiting = Histogram()
        """Open loop: how long after its time each call left that had found every connection waiting for an answer."""
        self.away_ns = 0
        """For how long no connection was open, and none could be had: the service's absence."""
        self.refused_connections = 0
        self._crowd = crowd
        self._rate = rate
        self._timeout_ns = int(plan.timeout_seconds * 1e9)
        self._deadline_ns = 0
        self._seconds_max = seconds_max
        self._address = address_of(plan.url)
        self._connections_start = plan.connections_of(process, plan.connections)
        self._connections_max = max(self._connections_start, plan.connections_of(process, CONNECTIONS_MAX))
        self._open: set[Connection] = set()
        self._free: list[Connection] = []
        self._arrivals: deque[int] = deque()
        """Open loop: when each arrival that has not left yet was due."""
        self._arrived = 0
        self._kept_to = 0
        """Open loop: arrivals before this one that have not left yet found every connection waiting for an answer."""
        self._away_since_ns = 0
        """When the first attempt failed to connect to a service that is away; 0 while it is there."""
        self._start_ns = 0
        self._slots: set[asyncio.Task[None]] = set()
        self._first_tried = asyncio.Event()
        """Set once the connections to begin with are open, or one of them could not be had."""
        self._stop = False
        self._given_up = False
        """Whether a connection was tried in vain to the end, so that others would be, too."""

    async def run(self, started_ns: int, on_tick: Callable[[], None]) -> None:
        """Runs until the crowd is finished, the time is up, or no connection can be had any more."""
        for _ in range(self._connections_start):
            self._add_slot()
        try:
            if self._rate:
                # The opening of the first connections is no arrival's lateness: the clock starts once they are there.
                await self._first_tried.wait()
                started_ns = perf_counter_ns()
            self._start_ns = started_ns
            self._deadline_ns = started_ns + int(self._seconds_max * 1e9)
            while not self._crowd.finished() and self._slots:
                await asyncio.sleep(TICK_SECONDS if self._rate else 10 * TICK_SECONDS)
                now_ns = perf_counter_ns()
                if now_ns > self._deadline_ns:
                    self._crowd.closed = True
                self._arrive(now_ns)
                self._cut_off_the_silent(now_ns)
                for _ in range(len(self._free)):
                    self._feed(self._free.pop(0), now_ns)
                if self._arrivals and not self._free:
                    self._grow()
                on_tick()
        finally:
            self._stop = True
            self._end_the_absence()
            for slot in self._slots:
                slot.cancel()
            await asyncio.gather(*self._slots, return_exceptions=True)
            for connection in list(self._open):
                connection.abort("the test ended")
                await connection.gone.wait()

    def connected(self, connection: Connection) -> None:
        """Puts a new connection to work."""
        self._end_the_absence()
        self._open.add(connection)
        if len(self._open) >= self._connections_start:
            self._first_tried.set()
        self._feed(connection, perf_counter_ns())

    def answered(self, connection: Connection, call: Call, answer: Answer) -> None:
        """Times an answer, hands it to the crowd, and gives the connection its next call."""
        now_ns = perf_counter_ns()
        self.latencies[call.kind].record(now_ns - call.due_ns)
        self._crowd.in_flight -= 1
        self._crowd.answered(call, answer, now_ns)
        if b"\r\nconnection: close" not in answer.head:
            if self._rate:
                self._arrive(now_ns)
            self._feed(connection, now_ns)

    def disconnected(self, connection: Connection, call: Call | None, why: str) -> None:
        """Hands a call that was in flight back to the crowd."""
        self._open.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if call is not None:
            self._crowd.in_flight -= 1
            self._crowd.lost(call, why, perf_counter_ns())

    def _feed(self, connection: Connection, now_ns: int) -> None:
        if self._stop or not connection.usable:
            return
        call = self._crowd.next(now_ns) if self._rate is None or self._arrivals else None
        if call is None:
            self._arrivals.clear()  # nobody came at these times: what is due later has not waited since then
            self._free.append(connection)
            return
        call.due_ns = self._take_arrival(now_ns) if self._rate else now_ns
        self._crowd.in_flight += 1
        connection.send(call, self._crowd.request(call))

    def _take_arrival(self, now_ns: int) -> int:
        arrival = self._arrived - len(self._arrivals)
        due_ns = self._arrivals.popleft()
        if arrival < self._kept_to:
            self.kept_waiting.record(now_ns - due_ns)
        return due_ns

    def _arrive(self, now_ns: int) -> None:
        if self._rate is None or self._crowd.closed:
            return
        interval_ns = 1e9 / self._rate
        while (due_ns := self._start_ns + int(self._arrived * interval_ns)) <= now_ns:
            self._arrived += 1
            if not self._away_since_ns:  # with nowhere to send it, it makes no difference when it was noticed
                self.lateness.record(now_ns - due_ns)
            self._arrivals.append(due_ns)

    def _grow(self) -> None:
        """Open loop: an arrival does not wait for another's answer, so it gets a connection of its own."""
        if self._given_up or self._away_since_ns:
            return
        if self._open:
            self._kept_to = self._arrived
        if len(self._slots) < self._connections_max:
            for _ in range(min(len(self._arrivals), 8)):
                self._add_slot()

    def _cut_off_the_silent(self, now_ns: int) -> None:
        for connection in [c for c in self._open if c.call is not None and now_ns - c.since_ns > self._timeout_ns]:
            connection.abort("no answer in time")

    def _end_the_absence(self) -> None:
        if self._away_since_ns:
            self.away_ns += perf_counter_ns() - self._away_since_ns
            self._away_since_ns = 0

    def _add_slot(self) -> None:
        slot = asyncio.create_task(self._keep_connected())
        self._slots.add(slot)
        slot.add_done_callback(self._slots.discard)

    async def _keep_connected(self) -> None:
        """Keeps one connection open, for as long as the service takes it back within a bounded number of attempts."""
        host, port, secure = self._address
        context = ssl.create_default_context() if secure else None
        loop = asyncio.get_running_loop()
        failures = 0
        while failures < CONNECT_FAILURES_MAX and not self._stop:
            try:
                async with asyncio.timeout(CONNECT_SECONDS_MAX):
                    _, connection = await loop.create_connection(lambda: Connection(self), host, port, ssl=context)
            except OSError:
                failures += 1
                self.refused_connections += 1
                self._first_tried.set()
                if not self._open and not self._away_since_ns:
                    self._away_since_ns = perf_counter_ns()
                await asyncio.sleep(min(CONNECT_WAIT_SECONDS_MAX, 0.02 * failures))
                continue
            failures = 0
            await connection.gone.wait()
        self._given_up = self._given_up or not self._stop
