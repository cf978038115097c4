"""Load on one URL, made by the generator of `booking loadtest` in a process of its own.

python -m scripts.benchmark.load        a plan on standard input, `ready`, then `go`, then the figures as JSON
"""

import gc
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count, cycle, repeat
from time import perf_counter, process_time
from typing import Any

from booking.auth.tokens import sign_token
from booking.loadtest.generator import Generator, Pacing
from booking.loadtest.histogram import Histogram
from booking.loadtest.plan import address_of
from booking.loadtest.wire import Response
from scripts.benchmark.processes import PartError

CONNECTIONS = 64
"""Connections of a closed loop."""

CLOSED_PER_S_MAX = 40_000
"""Tokens are signed for this rate: above what a closed loop of one process can send."""

TIMEOUT_S = 5.0
STARTING_S = 60.0
TOKEN_S = 3_600

COUNTS = ("unanswered", "skipped", "without_retry_after")
LATENCIES = ("from_due", "from_sent", "shed", "lateness")
"""The figures of `Load` that are numbers, and those that are histograms."""

SHED = (429, 503)
"""Statuses of answers that turn a caller away."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for: a GET of `path`, or a POST with a body, each by a new buyer if there is a secret."""

    url: str
    path: str
    body: str = ""
    secret: str = ""
    """Signs the buyers' tokens; empty: the requests carry none."""
    event_id: int = 0
    more_bodies: Sequence[str] = ()
    """Take turns with `body`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one process asks: closed loop, or `rate` a second (open loop); see `Pacing` for the rest."""

    target: Target
    seconds: float
    rate: float | None = None
    connections: int = CONNECTIONS
    connections_max: int = 4_096
    connection_per_call: bool = False
    seed: int = 1
    first_buyer: int = 0
    buyers: int | None = None
    """So many buyers come, again and again; None: every one is new."""

    @property
    def buyers_max(self) -> int:
        """How many buyers may come within the time."""
        if self.buyers is not None:
            return self.buyers
        return int((self.rate or CLOSED_PER_S_MAX) * self.seconds * 1.1) + 100


_buyers = count()


def new_buyers() -> int:
    """The number of the first of a million buyers whom no load of this run has had: more than any plan needs."""
    return next(_buyers) * 1_000_000


@dataclass(slots=True)
class Load:
    """What was answered. Latencies are of answers that were taken on: from the moment due, and from being sent."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    skipped: int = 0
    """Open loop: calls that fell due and were never sent."""
    without_retry_after: int = 0
    """Answers 429 and 503 that did not say when to come back."""
    from_due: Histogram = field(default_factory=Histogram)
    from_sent: Histogram = field(default_factory=Histogram)
    shed: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)
    cpu_s: float = 0.0
    """Processor time of the generator itself."""

    @property
    def answered(self) -> int:
        """All answers."""
        return sum(self.statuses.values())

    @property
    def accepted(self) -> int:
        """Answers below 300, and 409: the service has decided."""
        return sum(number for status, number in self.statuses.items() if status < 300 or status == 409)

    @property
    def turned_away(self) -> int:
        """Answers that told to come back."""
        return sum(self.statuses[status] for status in SHED)

    @property
    def unexpected(self) -> dict[int, int]:
        """Every other answer, by status."""
        known = (409, *SHED)
        return {status: number for status, number in self.statuses.items() if status >= 300 and status not in known}

    @property
    def faults(self) -> list[str]:
        """Why a load that all should have been accepted of was not."""
        refused = self.answered - sum(number for status, number in self.statuses.items() if status < 300)
        counted = {"were refused": refused, "never got an answer": self.unanswered}
        return [f"{number} requests {what}" for what, number in counted.items() if number]

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def ms(self, share: float) -> float:
        """The latency from being due that `share` of the accepted calls kept to, in milliseconds."""
        return self.from_due.quantile_ns(share) / 1e6

    def to_json(self) -> dict[str, Any]:
        """What `add` reads in another process."""
        latencies = {name: getattr(self, name).to_json() for name in LATENCIES}
        return {**{name: getattr(self, name) for name in (*COUNTS, "seconds", "statuses", "cpu_s")}, **latencies}

    def add(self, told: dict[str, Any]) -> None:
        """Adds what another process measured."""
        self.seconds = max(self.seconds, told["seconds"])
        self.statuses.update({int(status): number for status, number in told["statuses"].items()})
        self.cpu_s += told["cpu_s"]
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + told[name])
        for name in LATENCIES:
            getattr(self, name).add_json(told[name])


class Prepared:
    """A workload of one kind of request, whose answers are only counted."""

    def __init__(self, plan: Plan) -> None:
        self.load = Load()
        self.in_flight = 0
        self.closed = False
        self._open_loop = plan.rate is not None
        target = plan.target
        host = target.url.partition("://")[2].rstrip("/")
        head = f"{'POST' if target.body else 'GET'} {target.path} HTTP/1.1\r\nHost: {host}\r\n"
        if target.body:
            head += "Content-Type: application/json\r\n"
        self._head = head.encode()
        bodies = [f"Content-Length: {len(body)}\r\n\r\n{body}" for body in (target.body, *target.more_bodies) if body]
        self._tails = cycle([tail.encode() for tail in bodies or ("\r\n",)])
        self._calls: Iterator[bytes] = repeat(b"")
        if target.secret:
            secret = target.secret.encode()
            names = (f"buyer-{n:012d}" for n in range(plan.first_buyer, plan.first_buyer + plan.buyers_max))
            tokens = [b"Authorization: Bearer %s\r\n" % sign_token(secret, u, None, TOKEN_S).encode() for u in names]
            self._calls = iter(tokens) if plan.buyers is None else cycle(tokens)

    def finished(self) -> bool:
        """Whether the time is up and every call has ended."""
        return self.closed and not self.in_flight

    def next(self, now_ns: int) -> bytes | None:  # noqa: ARG002 - the generator's signature
        """The next caller's headers. Raises StopIteration if there are fewer tokens than callers."""
        return None if self.closed else next(self._calls)

    def request(self, call: bytes) -> bytes:
        """The whole request."""
        return self._head + call + next(self._tails)

    def answered(self, call: bytes, answer: Response, due_ns: int, sent_ns: int, now_ns: int) -> None:  # noqa: ARG002
        """Counts an answer."""
        load, status = self.load, answer.status
        load.statuses[status] += 1
        if status in SHED:
            load.shed.record(now_ns - sent_ns)
            load.without_retry_after += answer.header(b"retry-after") is None
            return
        load.from_due.record(now_ns - due_ns)
        if self._open_loop:
            load.from_sent.record(now_ns - sent_ns)

    def lost(self, call: bytes, why: str, now_ns: int) -> None:  # noqa: ARG002 - the generator's signature
        """Counts a call without an answer."""
        self.load.unanswered += 1


@contextmanager
def prepared(plans: Sequence[Plan], cores: set[int] | None = None) -> Iterator[Callable[[], list[Load]]]:
    """Starts a process a plan, each with its tokens signed; calling what is given makes the load, all at once.

    The processes run on `cores`. The call returns what each plan measured, and raises PartError if one fails.
    """
    with ExitStack() as stack:
        running = [stack.enter_context(_generator(plan, cores)) for plan in plans]

        def run() -> list[Load]:
            for process in running:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            loads = []
            for process, plan in zip(running, plans, strict=True):
                told, complaint = process.communicate(timeout=plan.seconds + TIMEOUT_S + STARTING_S)
                if process.returncode:
                    raise PartError(f"a load generator failed: {complaint.strip()[-500:]}")
                loads.append(Load())
                loads[-1].add(json.loads(told))
            return loads

        yield run


def offer(plans: Sequence[Plan], cores: set[int] | None = None) -> list[Load]:
    """Makes the load of all plans at once, and returns what each measured. Raises PartError."""
    with prepared(plans, cores) as run:
        return run()


@contextmanager
def _generator(plan: Plan, cores: set[int] | None) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "scripts.benchmark.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(plan)) + "\n")
        process.stdin.flush()
        if process.stdout.readline() != "ready\n":
            raise PartError(f"a load generator failed: {process.communicate()[1].strip()[-500:]}")
        yield process
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Runs one plan."""
    told = json.loads(sys.stdin.readline())
    target = Target(**told.pop("target"))
    plan = Plan(target, **told)
    workload = Prepared(plan)
    pacing = Pacing(
        address=address_of(target.url),
        connections=plan.connections,
        connections_max=max(plan.connections, plan.connections_max),
        rate=plan.rate,
        seconds_max=plan.seconds,
        timeout_seconds=TIMEOUT_S,
        seed=plan.seed,
        connection_per_call=plan.connection_per_call,
    )
    # Nothing made during the run is cyclic; a collection in the middle of it would only be measured as latency.
    gc.collect()
    gc.freeze()
    gc.disable()
    print("ready", flush=True)
    sys.stdin.readline()
    generator: Generator[bytes] = Generator(pacing, workload)
    cpu_s, began = process_time(), perf_counter()
    generator.run()
    load = workload.load
    load.seconds = min(perf_counter() - began, plan.seconds)
    load.cpu_s = process_time() - cpu_s
    load.skipped, load.lateness = generator.skipped, generator.lateness
    print(json.dumps(load.to_json()), flush=True)


if __name__ == "__main__":
    main()
