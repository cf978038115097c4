"""Open-loop load: requests fall due at a fixed rate whatever the service does, and wait from the moment they were due.

    python -m scripts.benchmark.open_loop < PLAN > FIGURES

A closed loop sends less while the service is slow, and so hides the very waits that buyers feel. Arrivals are random
(exponential gaps, seeded). A loop of its own over `select`, whose time-outs have microseconds, where asyncio's have
milliseconds: as coarse as the latencies to be measured.
"""

import gc
import json
import random
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from scripts.benchmark.figures import quantile
from scripts.benchmark.processes import PartError

CONNECTIONS = 256
"""Enough for every request in flight at the rates and latencies looked for; a request that finds none free waits."""

GRACE_S = 5.0
"""How long answers may still come in after the last request was due."""

GIVEN_UP_S = 20.0
"""Beyond that, a generator that has not ended is stopped."""

SILENCE_S = 0.01
"""How long to wait at most for answers when nothing is due."""

RECEIVE_BYTES = 65_536

LATE_MS_MAX = 1.0
"""A generator that sends its requests later than this (at p99) measures itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, where, how often and for how long."""

    url: str
    body: str
    tokens: str
    per_second: float
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True)
class OpenLoad:
    """What came of it. `late_p99_ms` is the generator's own delay in sending, part of every latency."""

    answered: int
    unanswered: int
    refused: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    late_p99_ms: float


def due_times(per_second: float, seconds: float, seed: int) -> list[float]:
    """The moments at which requests fall due, in seconds from the start: a Poisson process."""
    draw = random.Random(seed)  # noqa: S311 - arrivals, not secrets
    times: list[float] = []
    at = draw.expovariate(per_second)
    while at < seconds:
        times.append(at)
        at += draw.expovariate(per_second)
    return times


def is_whole(answer: bytes) -> bool:
    """Whether these bytes hold an answer to its end, as its Content-Length says."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return len(body) >= int(rest.split(b"\r\n", 1)[0])


class Crowd:
    """Buyers who come when they are due, over a fixed number of connections. Made for one run."""

    def __init__(self, plan: Plan) -> None:
        self._address = urlsplit(plan.url)
        self._due = deque(due_times(plan.per_second, plan.seconds, plan.seed))
        self._number = len(self._due)
        self._requests = _requests(plan, self._address)
        self._end = plan.seconds + GRACE_S
        self._poll = select.epoll()
        self._connections: dict[int, socket.socket] = {}
        self._idle: deque[int] = deque()
        self._flying: dict[int, float] = {}
        self._partial: dict[int, bytes] = {}
        self._waits: list[float] = []
        self._lateness: list[float] = []
        self._refused = 0
        self._full_until = 0.0

    def run(self) -> OpenLoad:
        """Offers the load and waits for the last answers. Raises OSError when the service cannot be reached."""
        for _ in range(CONNECTIONS):
            self._connect()
        gc.disable()
        start = time.perf_counter()
        now = 0.0
        while (self._due or self._flying) and now < self._end:
            self._send(now)
            now = time.perf_counter() - start
            patience = self._due[0] - now if self._due and self._idle else SILENCE_S
            select.select([self._poll], [], [], max(patience, 0))
            now = time.perf_counter() - start
            for descriptor, _event in self._poll.poll(0):
                self._receive(descriptor, now)
        for connection in self._connections.values():
            connection.close()
        self._poll.close()
        return self._figures()

    def _connect(self) -> None:
        connection = socket.create_connection((self._address.hostname or "", self._address.port or 80))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self._connections[connection.fileno()] = connection
        self._poll.register(connection, select.EPOLLIN)
        self._idle.append(connection.fileno())

    def _send(self, now: float) -> None:
        while self._due and self._due[0] <= now and self._idle:
            descriptor, due = self._idle.popleft(), self._due.popleft()
            self._flying[descriptor] = due
            if due > self._full_until:
                self._lateness.append(now - due)
            self._connections[descriptor].send(next(self._requests))
        if not self._idle:
            self._full_until = now  # What falls due before waits for the service, not for the generator.

    def _receive(self, descriptor: int, now: float) -> None:
        try:
            received = self._connections[descriptor].recv(RECEIVE_BYTES)
        except OSError:
            received = b""
        if not received:  # The service has closed it: what was in flight stays without an answer.
            self._connections.pop(descriptor).close()
            self._flying.pop(descriptor, None)
            self._partial.pop(descriptor, None)
            self._idle = deque(idle for idle in self._idle if idle != descriptor)
            self._connect()
            return
        answer = self._partial.pop(descriptor, b"") + received
        if not is_whole(answer):
            self._partial[descriptor] = answer
            return
        self._waits.append(now - self._flying.pop(descriptor))
        self._refused += answer[9:10] >= b"4"
        self._idle.append(descriptor)

    def _figures(self) -> OpenLoad:
        return OpenLoad(
            answered=len(self._waits),
            unanswered=self._number - len(self._waits),
            refused=self._refused,
            p50_ms=quantile(self._waits, 0.5) * 1e3,
            p99_ms=quantile(self._waits, 0.99) * 1e3,
            max_ms=quantile(self._waits, 1.0) * 1e3,
            late_p99_ms=quantile(self._lateness, 0.99) * 1e3,
        )


def offer(plan: Plan) -> OpenLoad:
    """Runs the plan in a process of its own, whose pauses are its own. Raises PartError when it fails."""
    command = [sys.executable, "-P", "-m", "scripts.benchmark.open_loop"]
    told = json.dumps(asdict(plan))
    seconds = plan.seconds + GRACE_S + GIVEN_UP_S
    ran = subprocess.run(command, input=told, capture_output=True, text=True, timeout=seconds, check=False)
    if ran.returncode:
        raise PartError(f"the open-loop generator failed: {ran.stderr.strip()[-500:]}")
    return OpenLoad(**json.loads(ran.stdout))


def _requests(plan: Plan, address: SplitResult) -> Iterator[bytes]:
    head = f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(plan.body)}\r\nAuthorization: Bearer "
    with Path(plan.tokens).open(encoding="ascii") as tokens:
        for token in tokens:
            yield f"{head}{token.rstrip()}\r\n\r\n{plan.body}".encode()


def main() -> None:
    """Reads a plan, runs it, prints the figures."""
    plan = Plan(**json.load(sys.stdin))
    print(json.dumps(asdict(Crowd(plan).run())))


if __name__ == "__main__":
    main()
