"""A crowd that comes at a fixed rate whatever the service does, and goes on coming when it is turned away.

    python -m scripts.benchmark.flood < PLAN > FLOOD

Everybody is connected before the first request is due, as a crowd is that waits for a sale to open. A request takes
whichever connection is free; one that finds none was not offered, and is counted. Written for as many requests a second
as Python can send: a few system calls and hardly anything else for each.
"""

import gc
import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scripts.benchmark.processes import PartError

GRACE_S = 5.0
"""How long answers may still come in after the last request was due."""

STARTING_S = 60.0
"""How long a process may take to open its connections and to end, beside its load."""

RECEIVE_BYTES = 16_384

REST_S = 0.001
"""How long to wait for answers when nothing is due yet: between two looks at the clock, requests fall due together."""

CONNECTS_AT_ONCE = 500
"""Well within the service's backlog."""

ACCEPTED = (200, 201, 202, 409)
"""The statuses of what the service took on: the atomic step has decided it, tickets or none."""

SHED = (429, 503)

BOUNDS_MS = tuple(0.5 * 1.04**step for step in range(260))
"""Upper bounds of the latencies' buckets, 4 % apart: up to 12 s."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process sends, where, how often, for how long, and over how many connections."""

    url: str
    body: str
    tokens: str
    per_second: float
    seconds: float
    connections: int
    seed: int


@dataclass(frozen=True, slots=True)
class Flood:
    """What came of it, by one process or by several. Latencies are counts by BOUNDS_MS."""

    offered: int
    not_offered: int
    """Requests that fell due when every connection was waiting for an answer."""
    unanswered: int
    statuses: dict[str, int]
    unasked: int
    """Answers 429 and 503 that did not say when to come back."""
    from_due: list[int]
    """Latencies of what was accepted, from the moment it was due."""
    from_sent: list[int]
    """The same from the moment it was sent."""
    shed: list[int]
    """Latencies of what was turned away, from the moment it was sent."""

    @property
    def accepted(self) -> int:
        """How many were taken on."""
        return sum(self.statuses.get(str(status), 0) for status in ACCEPTED)

    @property
    def turned_away(self) -> int:
        """How many were told to come back."""
        return sum(self.statuses.get(str(status), 0) for status in SHED)

    @property
    def anything_else(self) -> dict[str, int]:
        """Answers that there should not have been."""
        expected = {str(status) for status in (*ACCEPTED, *SHED)}
        return {status: number for status, number in self.statuses.items() if status not in expected}


def quantile_ms(counts: Sequence[int], share: float) -> float:
    """The bound below which so much of the latencies lies; 0 where there are none."""
    due = sum(counts) * share
    below = 0
    for bound, count in zip(BOUNDS_MS, counts, strict=False):
        below += count
        if below and below >= due:
            return bound
    return BOUNDS_MS[-1] if sum(counts) else 0.0


def together(floods: Sequence[Flood]) -> Flood:
    """The sum of several processes'."""
    statuses: Counter[str] = Counter()
    for flood in floods:
        statuses.update(flood.statuses)
    sums = [[sum(column) for column in zip(*rows, strict=True)] for rows in zip(
        *((flood.from_due, flood.from_sent, flood.shed) for flood in floods), strict=True
    )]  # fmt: skip
    return Flood(
        sum(flood.offered for flood in floods),
        sum(flood.not_offered for flood in floods),
        sum(flood.unanswered for flood in floods),
        dict(statuses),
        sum(flood.unasked for flood in floods),
        *sums,
    )


class Crowd:
    """One process's part of the crowd. Made for one run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._address = urlsplit(plan.url)
        self._requests = _requests(plan)
        self._poll = select.epoll()
        self._connections: dict[int, socket.socket] = {}
        self._idle: deque[int] = deque()
        self._flying: dict[int, tuple[float, float]] = {}
        self._partial: dict[int, bytes] = {}
        self._statuses: Counter[bytes] = Counter()
        self._unasked = self._lost = self._offered = self._not_offered = 0
        self._from_due, self._from_sent, self._shed = ([0] * (len(BOUNDS_MS) + 1) for _ in range(3))

    def run(self) -> Flood:
        """Connects, offers the load, and waits for the last answers. Raises OSError when nobody listens."""
        for number in range(self._plan.connections):
            self._connect()
            if number % CONNECTS_AT_ONCE == CONNECTS_AT_ONCE - 1:
                time.sleep(0.2)
        gc.disable()
        draw = random.Random(self._plan.seed)  # noqa: S311 - arrivals, not secrets
        rate, seconds = self._plan.per_second, self._plan.seconds
        start = time.perf_counter()
        due = draw.expovariate(rate)
        now = 0.0
        while now < seconds or (self._flying and now < seconds + GRACE_S):
            while due <= now and due < seconds:
                self._send(due, now)
                due += draw.expovariate(rate)
                now = time.perf_counter() - start
            for descriptor, _ in self._poll.poll(REST_S):
                self._receive(descriptor, start)
            now = time.perf_counter() - start
        unanswered = len(self._flying) + self._lost
        for connection in self._connections.values():
            connection.close()
        self._poll.close()
        statuses = {status.decode(): number for status, number in self._statuses.items()}
        return Flood(
            self._offered, self._not_offered, unanswered, statuses, self._unasked,
            self._from_due, self._from_sent, self._shed,
        )  # fmt: skip

    def _connect(self) -> None:
        connection = socket.create_connection((self._address.hostname or "", self._address.port or 80), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self._connections[connection.fileno()] = connection
        self._poll.register(connection, select.EPOLLIN)
        self._idle.append(connection.fileno())

    def _send(self, due: float, now: float) -> None:
        if not self._idle:
            self._not_offered += 1
            return
        descriptor = self._idle.popleft()  # in turn, so that each is used
        self._offered += 1
        self._flying[descriptor] = (due, now)
        try:
            os.write(descriptor, self._requests[self._offered % len(self._requests)])
        except OSError:
            self._lose(descriptor)

    def _receive(self, descriptor: int, start: float) -> None:
        try:
            answer = os.read(descriptor, RECEIVE_BYTES)
        except OSError:
            answer = b""
        if not answer:
            self._lose(descriptor)
            return
        if descriptor in self._partial:
            answer = self._partial.pop(descriptor) + answer
        head, blank, body = answer.partition(b"\r\n\r\n")
        _, _, rest = head.partition(b"content-length: ")
        if not blank or len(body) < int(rest.split(b"\r\n", 1)[0]):
            self._partial[descriptor] = answer
            return
        due, sent = self._flying.pop(descriptor)
        now = time.perf_counter() - start
        status = answer[9:12]
        self._statuses[status] += 1
        from_sent = bisect_left(BOUNDS_MS, (now - sent) * 1e3)
        if status in (b"503", b"429"):
            self._shed[from_sent] += 1
            self._unasked += b"retry-after" not in head
        else:
            self._from_sent[from_sent] += 1
            self._from_due[bisect_left(BOUNDS_MS, (now - due) * 1e3)] += 1
        if b"connection: close" in head:
            self._lose(descriptor)
        else:
            self._idle.append(descriptor)

    def _lose(self, descriptor: int) -> None:
        """The service has closed a connection; what was in flight on it stays without an answer."""
        self._connections.pop(descriptor).close()
        self._partial.pop(descriptor, None)
        if self._flying.pop(descriptor, None) is not None:
            self._lost += 1
        if descriptor in self._idle:
            self._idle.remove(descriptor)
        self._connect()


def offer(plans: Sequence[Plan], cores: set[int]) -> Flood:
    """Runs each plan in a process of its own on these cores, all at once. Raises PartError when one fails."""
    running = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "scripts.benchmark.flood"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        for _ in plans
    ]
    floods = []
    try:
        for process, plan in zip(running, plans, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(plan)).encode())
            process.stdin.close()
            process.stdin = None
        for process, plan in zip(running, plans, strict=True):
            told, complaint = process.communicate(timeout=plan.seconds + GRACE_S + STARTING_S)
            if process.returncode:
                raise PartError(f"a process of the crowd failed: {complaint.decode()[-500:]}")
            floods.append(Flood(**json.loads(told)))
    finally:
        for process in running:
            process.kill()
            process.wait()
    return together(floods)


def _requests(plan: Plan) -> list[bytes]:
    address = urlsplit(plan.url)
    head = f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(plan.body)}\r\nAuthorization: Bearer "
    tokens = Path(plan.tokens).read_text(encoding="ascii").split()
    return [f"{head}{token}\r\n\r\n{plan.body}".encode() for token in tokens]


def main() -> None:
    """Reads a plan, runs it, prints what came of it."""
    plan = Plan(**json.load(sys.stdin))
    print(json.dumps(asdict(Crowd(plan).run())))


if __name__ == "__main__":
    main()
