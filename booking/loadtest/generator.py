"""The load generator: closed loop, or open loop with latency counted from the moment at which a call was due.

It uses sockets and `epoll` directly, because a generator must be faster than what it measures: a call needs few system
calls, and a wait ends within microseconds, while timers of an event loop have milliseconds. The workload decides what
is sent and what a response means.
"""

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from time import perf_counter_ns
from typing import Generic, Protocol, TypeVar

from booking.loadtest.histogram import Histogram
from booking.loadtest.wire import Response, UnreadableResponseError, split_response

Call = TypeVar("Call")

TICK_NS = 5_000_000
"""The interval of the checks for the end of the run, for timeouts, and for missing connections."""

RECEIVE_BYTES = 65_536
CONNECTIONS_GROWTH = 8
"""Connections that an open loop adds at a time if all are busy."""
CONNECTING_MAX = 256
"""The most connections that are being opened at a time: well within the backlog of a listening socket."""

CALLS_A_TURN = 32
"""Calls that an open loop sends before it reads responses again: an unread response would seem slow."""

WAITING_MAX = 100_000
"""The most arrivals that wait for a connection; more are skipped, so that memory stays bounded."""

CONNECT_SECONDS_MAX = 5.0
CONNECT_FAILURES_MAX = 60
"""Consecutive failures after which the run gives up: with the waits between them, about half a minute."""
CONNECT_WAIT_NS = 20_000_000
CONNECT_WAIT_NS_MAX = 500_000_000
"""The wait after a failure to connect: CONNECT_WAIT_NS for each consecutive failure, up to this."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """Where the calls go, how many at a time, and when. `address` is host, port, and whether it is TLS.

    `rate` is in calls a second, with random gaps drawn from `seed` (a Poisson process); None is a closed loop. An open
    loop begins with `connections` and opens more, up to `connections_max`, if all are busy. After `seconds_max`, no
    new calls start. With `connection_per_call` (open loop only) each call opens a connection of its own.
    """

    address: tuple[str, int, bool]
    connections: int
    connections_max: int
    rate: float | None
    seconds_max: float
    timeout_seconds: float
    seed: int = 1
    connection_per_call: bool = False


class Workload(Protocol[Call]):
    """Makes the requests and handles the responses. The generator updates `in_flight`, and sets `closed` at the end."""

    in_flight: int
    closed: bool

    def finished(self) -> bool:
        """Whether no call is in flight and none will follow."""

    def next(self, now_ns: int) -> Call | None:
        """The call to send now; None if there is none at present."""

    def request(self, call: Call) -> bytes:
        """The request bytes of a call that is sent now."""

    def answered(self, call: Call, response: Response, due_ns: int, sent_ns: int, now_ns: int) -> None:
        """Handles a response. In a closed loop, a call is due when it is sent."""

    def lost(self, call: Call, why: str, now_ns: int) -> None:
        """Handles a lost connection or a timeout of a call in flight, which may have succeeded."""


class Connection(Generic[Call]):
    """One socket, with at most one call in flight."""

    __slots__ = ("call", "due_ns", "ready", "request", "rest", "sent_ns", "since_ns", "socket")

    def __init__(self, opened: socket.socket, now_ns: int) -> None:
        self.socket = opened
        self.ready = False
        """Whether it is connected."""
        self.since_ns = now_ns
        """When it began to connect, or its call was sent."""
        self.call: Call | None = None
        self.due_ns = self.sent_ns = 0
        self.request = self.rest = b""


class Generator(Generic[Call]):
    """Drives connections through a workload's calls, in the thread that calls `run`. Made for one run."""

    def __init__(self, pacing: Pacing, workload: Workload[Call]) -> None:
        self.lateness = Histogram()
        """Open loop: how late arrivals were noticed, which is caused by this process alone."""
        self.kept_waiting = Histogram()
        """Open loop: the delay of calls that found no free connection, because all waited for responses."""
        self.away_ns = 0
        """The time in which no connection was open and none could be opened: the service was away."""
        self.refused_connections = 0
        self.skipped = 0
        """Open loop: arrivals that were never sent, because WAITING_MAX others were waiting."""
        self._pacing = pacing
        self._workload = workload
        self._timeout_ns = int(pacing.timeout_seconds * 1e9)
        self._per_call = pacing.connection_per_call
        host, port, secure = pacing.address
        self._tls = ssl.create_default_context() if secure else None
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._family, self._socket_address = found[0], found[4]
        self._poll = select.epoll()
        self._connections: dict[int, Connection[Call]] = {}
        self._connecting = 0
        self._free: deque[Connection[Call]] = deque()
        self._wanted = 0 if self._per_call else pacing.connections
        self._failures = 0
        self._connect_at_ns = 0
        self._away_since_ns = 0
        """When the first connection attempt failed to a service that is away; 0 while the service is available."""
        self._draw = Random(pacing.seed)  # noqa: S311 - arrivals, not secrets
        self._started = False
        self._deadline_ns = self._next_due_ns = 0
        self._arrivals: deque[int] = deque()
        """Open loop: the due times of arrivals that are not sent yet."""
        self._arrived = 0
        self._kept_to = 0
        """Open loop: unsent arrivals with a smaller number found all connections waiting for responses."""

    def run(self, on_tick: Callable[[], None] = lambda: None) -> None:
        """Runs until the workload is finished, the time is up, or connecting has failed too often."""
        tick_ns = 0
        try:
            while True:
                now_ns = perf_counter_ns()
                if now_ns >= tick_ns:
                    tick_ns = now_ns + TICK_NS
                    self._tick(now_ns)
                    on_tick()
                    if self._workload.finished() or (self._gave_up and not self._connections):
                        return
                until_ns = tick_ns
                if self._pacing.rate and self._started and not self._workload.closed:
                    self._arrive(now_ns)
                    until_ns = now_ns if self._serve_arrivals() else min(self._next_due_ns, tick_ns)
                self._receive(until_ns)
        finally:
            self._end_outage(perf_counter_ns())
            for connection in self._connections.values():
                connection.socket.close()
                if connection.call is not None:
                    self._workload.lost(connection.call, "the test ended", perf_counter_ns())
            self._poll.close()

    @property
    def _gave_up(self) -> bool:
        return self._failures >= CONNECT_FAILURES_MAX

    def _tick(self, now_ns: int) -> None:
        if not self._started and (not self._pacing.rate or self._failures or len(self._free) >= self._wanted):
            # The time until the first connections are open must not count as lateness, so the clock starts after that.
            self._started = True
            self._next_due_ns = now_ns
            self._deadline_ns = now_ns + int(self._pacing.seconds_max * 1e9)
        if self._started and now_ns > self._deadline_ns:
            self._workload.closed = True
        self._drop_silent(now_ns)
        if self._workload.finished():
            return
        missing = min(self._wanted - len(self._connections), CONNECTING_MAX - self._connecting)
        while missing > 0 and now_ns >= self._connect_at_ns and not self._gave_up:
            # While the service refuses connections, one attempt at a time finds out when it is back.
            missing = 0 if self._failures else missing - 1
            self._open(now_ns)
        if self._started:
            for _ in range(len(self._free)):
                self._feed(self._free.popleft(), now_ns)

    def _drop_silent(self, now_ns: int) -> None:
        for connection in list(self._connections.values()):
            silent_ns = now_ns - connection.since_ns
            if not connection.ready:
                if silent_ns > CONNECT_SECONDS_MAX * 1e9:
                    self._drop(connection, "no connection in time", now_ns)
            elif connection.call is not None and silent_ns > self._timeout_ns:
                self._drop(connection, "no answer in time", now_ns)

    def _arrive(self, now_ns: int) -> None:
        mean_ns = 1e9 / (self._pacing.rate or 1.0)
        while (due_ns := self._next_due_ns) <= min(now_ns, self._deadline_ns):
            self._next_due_ns = due_ns + int(self._draw.expovariate(1.0) * mean_ns)
            if len(self._arrivals) >= WAITING_MAX:
                self.skipped += 1
                continue
            self._arrived += 1
            if not self._away_since_ns:  # while the service is away, lateness has no effect
                self.lateness.record(now_ns - due_ns)
            self._arrivals.append(due_ns)

    def _serve_arrivals(self) -> bool:
        """Sends arrivals for which there is a connection; returns whether more could be sent at once.

        An arrival should not wait for another call's response: if all connections are busy, more are opened.
        """
        for _ in range(CALLS_A_TURN):
            if not self._arrivals:
                return False
            now_ns = perf_counter_ns()
            if self._free:
                self._feed(self._free.popleft(), now_ns)
            elif self._per_call and len(self._connections) < self._pacing.connections_max:
                self._send_on_new_connection(now_ns)
            else:
                break
        else:
            return True
        if self._away_since_ns or not self._connections:
            return False
        if len(self._connections) > self._connecting:
            self._kept_to = self._arrived
        if not self._connecting and not self._per_call:
            more = min(len(self._arrivals), CONNECTIONS_GROWTH)
            self._wanted = min(self._wanted + more, self._pacing.connections_max)
            for _ in range(self._wanted - len(self._connections)):
                self._open(now_ns)
        return False

    def _send_on_new_connection(self, now_ns: int) -> None:
        call = self._workload.next(now_ns)
        if call is None:
            self._arrivals.clear()
            return
        self._workload.in_flight += 1
        self._open(now_ns, call, self._take_arrival(now_ns))

    def _take_arrival(self, now_ns: int) -> int:
        arrival = self._arrived - len(self._arrivals)
        due_ns = self._arrivals.popleft()
        if arrival < self._kept_to:
            self.kept_waiting.record(now_ns - due_ns)
        return due_ns

    def _feed(self, connection: Connection[Call], now_ns: int) -> None:
        """Sends the next call, if there is one, on a free connection."""
        call = self._workload.next(now_ns) if self._pacing.rate is None or self._arrivals else None
        if call is None:
            # There was no call for these arrivals, so later calls must not count as waiting since then.
            self._arrivals.clear()
            self._free.append(connection)
            return
        self._workload.in_flight += 1
        connection.call = call
        connection.due_ns = self._take_arrival(now_ns) if self._pacing.rate else now_ns
        connection.since_ns = connection.sent_ns = now_ns
        try:
            # One write: the buffer of a socket without a call in flight is empty, and larger than any request.
            connection.socket.send(self._workload.request(call))
        except OSError:
            self._drop(connection, "connection lost", now_ns)

    def _send(self, connection: Connection[Call]) -> bool:
        """Sends the connection's request; False if the connection is not open yet, or has failed."""
        try:
            connection.socket.send(connection.request)
        except BlockingIOError:
            return False
        except OSError:
            self._drop(connection, "connection lost" if connection.ready else "connection refused", perf_counter_ns())
            return False
        return True

    def _open(self, now_ns: int, call: Call | None = None, due_ns: int = 0) -> None:
        """Starts to connect. If `call` is given, it is sent as soon as the connection is open."""
        opened = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        connection: Connection[Call] = Connection(opened, now_ns)
        connection.call, connection.due_ns, connection.sent_ns = call, due_ns, now_ns
        self._connections[opened.fileno()] = connection
        self._connecting += 1
        opened.connect_ex(self._socket_address)  # a failure is reported by epoll or by the first send
        if call is not None:
            connection.request = self._workload.request(call)
            if self._tls is None and self._send(connection):  # on the same machine, it is connected at once
                self._is_ready(connection, now_ns)
                self._poll.register(opened, select.EPOLLIN)
                return
        if opened.fileno() >= 0:
            self._poll.register(opened, select.EPOLLOUT)

    def _connected(self, connection: Connection[Call], now_ns: int) -> None:
        """Handles a writable socket: the connection is open, or has failed."""
        raw = connection.socket
        if self._tls is not None:
            if not self._shake_hands(connection, now_ns):
                return
        elif raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._drop(connection, "connection refused", now_ns)
            return
        self._poll.modify(connection.socket, select.EPOLLIN)
        self._is_ready(connection, now_ns)
        if connection.call is not None:
            connection.since_ns = now_ns
            self._send(connection)
        elif self._started:
            self._feed(connection, now_ns)
        else:
            self._free.append(connection)

    def _is_ready(self, connection: Connection[Call], now_ns: int) -> None:
        connection.ready = True
        self._connecting -= 1
        self._failures = 0
        self._end_outage(now_ns)

    def _shake_hands(self, connection: Connection[Call], now_ns: int) -> bool:
        assert self._tls is not None
        try:
            if not isinstance(connection.socket, ssl.SSLSocket):
                connection.socket = self._tls.wrap_socket(
                    connection.socket, server_hostname=self._pacing.address[0], do_handshake_on_connect=False
                )
            connection.socket.do_handshake()
        except ssl.SSLWantReadError:
            self._poll.modify(connection.socket, select.EPOLLIN)
        except ssl.SSLWantWriteError:
            self._poll.modify(connection.socket, select.EPOLLOUT)
        except OSError:
            self._drop(connection, "connection refused", now_ns)
        else:
            return True
        return False

    def _receive(self, until_ns: int) -> None:
        """Reads the received data; waits for data until `until_ns` at most."""
        wait_s = max(0, until_ns - perf_counter_ns()) / 1e9
        if self._pacing.rate:
            # The wait for an arrival needs microseconds, which `select` has; epoll waits in milliseconds.
            if wait_s and not select.select([self._poll], [], [], wait_s)[0]:
                return
            wait_s = 0
        for descriptor, _ in self._poll.poll(wait_s):
            connection = self._connections.get(descriptor)
            if connection is None:
                continue
            if connection.ready:
                self._read(connection)
            else:
                self._connected(connection, perf_counter_ns())

    def _read(self, connection: Connection[Call]) -> None:
        try:
            data = connection.socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        now_ns = perf_counter_ns()
        if not data:
            self._drop(connection, "connection lost", now_ns)
            return
        call = connection.call
        if call is None:
            self._drop(connection, "an answer without a request", now_ns)
            return
        if connection.rest:
            data = connection.rest + data
        try:
            response = split_response(data)
        except UnreadableResponseError as error:
            self._drop(connection, str(error), now_ns)
            return
        if response is None:
            connection.rest = data
            return
        connection.rest = b""
        connection.call = None
        self._workload.in_flight -= 1
        self._workload.answered(call, response, connection.due_ns, connection.sent_ns, now_ns)
        if self._per_call or response.closes:
            self._drop(connection, "", now_ns)
        else:
            if self._pacing.rate:
                self._arrive(now_ns)
            self._feed(connection, now_ns)

    def _drop(self, connection: Connection[Call], why: str, now_ns: int) -> None:
        """Closes a connection; a call in flight is lost for the reason given."""
        del self._connections[connection.socket.fileno()]
        connection.socket.close()
        if connection in self._free:
            self._free.remove(connection)
        if not connection.ready:
            self._connecting -= 1
            self.refused_connections += 1
            if now_ns >= self._connect_at_ns:  # attempts at the same time count once
                self._failures += 1
                self._connect_at_ns = now_ns + min(CONNECT_WAIT_NS * self._failures, CONNECT_WAIT_NS_MAX)
            if not self._away_since_ns and len(self._connections) <= self._connecting:
                self._away_since_ns = now_ns
        call, connection.call = connection.call, None
        if call is not None:
            self._workload.in_flight -= 1
            self._workload.lost(call, why, now_ns)

    def _end_outage(self, now_ns: int) -> None:
        if self._away_since_ns:
            self.away_ns += now_ns - self._away_since_ns
            self._away_since_ns = 0
