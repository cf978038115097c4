"""One run of the bench: what is measured, in which order, and which marks come of it."""

import os
import platform
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from scripts.benchmark import contenders, open_loop
from scripts.benchmark.contenders import Contender
from scripts.benchmark.drain import drain
from scripts.benchmark.figures import OTHERS, bottleneck, median_cores, ratio
from scripts.benchmark.memory import memory
from scripts.benchmark.postgres import postgres
from scripts.benchmark.profile import LEAD_S, Share, profile
from scripts.benchmark.report import TIMES, Contest, Mark, Report, ratio_mark
from scripts.benchmark.rounds import take_turns, tokens_for, wait_for_quiet
from scripts.benchmark.service import Service, SoldOut, Storm, serve
from scripts.benchmark.tokens import Buyers
from scripts.benchmark.wrk import CONNECTIONS

EMPTY = "Starlette, empty endpoint"
TUNED = "the same, with orjson and our transport"
NAIVE = "Starlette, PyJWT, EVALSHA each"
ONE_WORKER = "this service, 1 worker"
EMPTY_LOOK = "Starlette, empty GET"
STORM = "this service, /status storm"

OTHERS_CORES_MAX = 0.1
"""More than this taken by other programs, and the run says so."""

FILL_ROUNDS = 2
"""The stream is filled for as long as so many rounds last, to give the persister a second's work and more."""

RATE_SHARE = 0.5
"""Latency is measured at this share of the top rate."""


LOAD = (
    f"The load: wrk on the same cores as what it measures, {CONNECTIONS} connections, closed loop; every request is a "
    "new buyer's, with a token of its own."
)
RIVALS = (
    "The rivals run in uvicorn set up as the service's is, and answer with a booking of the same shape; they limit no "
    "rates, log nothing and persist nothing in SQL. The naive one has the service's embedded Redis."
)
SERVICE = "The service: rate limit on, a log line a request, appendfsync always, the persister running."


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    rounds: int
    seconds: int
    more_workers: tuple[int, ...] = ()
    sold_out: bool = False
    beyond_throughput: bool = True
    profile: bool = False


QUICK = Extent(rounds=2, seconds=3, more_workers=(2,))
FULL = Extent(rounds=5, seconds=8, more_workers=(2, 3))

Say = Callable[[str], None]


class Run:
    """Everything that the measurements of one run share."""

    def __init__(self, folder: Path, extent: Extent, say: Say) -> None:
        self._folder = folder
        self._extent = extent
        self._say = say
        self._secret = secrets.token_urlsafe(48).encode()
        self._buyers = Buyers(folder, self._secret, time.time())

    def measure(self) -> Report:
        """Takes all measurements, one after another."""
        with ExitStack() as running:
            parties, service = self._start(running)
            taken = take_turns(parties, self._buyers, self._extent.rounds, self._extent.seconds, self._say)
            contests = {name: Contest(name, parties[name].servers, taken[name]) for name in parties}
            marks = throughput_marks(contests)
            functions = self._profile(service) if self._extent.profile else []
            if self._extent.beyond_throughput:
                marks.append(Mark("start, to the first 200 of /readyz", service.start_s, "s", most=3))
                marks += self._latency(parties[EMPTY], service, contests[ONE_WORKER])
                marks += self._memory(service)
        if self._extent.beyond_throughput:
            marks += self._persister(contests[ONE_WORKER])
        return Report(machine(), list(contests.values()), marks, remarks(contests), functions)

    def _start(self, running: ExitStack) -> tuple[dict[str, Contender], Service]:
        self._say("starting the contenders")
        empty = running.enter_context(contenders.empty(self._folder))
        parties: dict[str, Contender] = {
            EMPTY: empty,
            TUNED: running.enter_context(contenders.empty(self._folder, "tuned")),
            NAIVE: running.enter_context(contenders.naive(self._folder, self._secret)),
        }
        service = parties[ONE_WORKER] = running.enter_context(serve(self._data_dir, self._secret))
        for workers in self._extent.more_workers:
            there = self._folder / f"service-{workers}"
            parties[f"this service, {workers} workers"] = running.enter_context(serve(there, self._secret, workers))
        if self._extent.beyond_throughput:
            parties[EMPTY_LOOK] = contenders.EmptyLook(empty)
            parties[STORM] = Storm(service)
        if self._extent.sold_out:
            parties["sold out, buyers wait"] = SoldOut(service, waiting_list=True)
            parties["sold out, buyers are refused"] = SoldOut(service, waiting_list=False)
        return parties, service

    @property
    def _data_dir(self) -> Path:
        return self._folder / "service-1"

    def _latency(self, empty: Contender, service: Service, contest: Contest) -> list[Mark]:
        rate = RATE_SHARE * median(contest.rates)
        seconds = self._extent.seconds
        loads: dict[str, list[open_loop.OpenLoad]] = {"empty": [], "service": []}
        for number in range(self._extent.rounds):
            with tokens_for(self._buyers, seconds) as tokens:
                for name, contender in (("empty", empty), ("service", service)):
                    wait_for_quiet()
                    sale = contender.open_sale()
                    plan = open_loop.Plan(sale.url, sale.body, str(tokens), rate, seconds, seed=number)
                    load = open_loop.offer(plan)
                    loads[name].append(load)
                    self._say(f"{rate:,.0f}/s, open loop: {name}: p99 {load.p99_ms:.1f} ms")
                    if load.refused or load.unanswered:
                        self._say(f"  {load.refused} refused, {load.unanswered} without an answer")
            service.wait_until_drained()
        ours, theirs = ([load.p99_ms for load in loads[name]] for name in ("service", "empty"))
        at = f"open loop at {rate:,.0f}/s"
        late = median(load.late_p99_ms for load in loads["service"])
        return [
            Mark(f"p99, {at}", median(ours), "ms", most=10),
            Mark(
                f"the same against the empty endpoint ({median(theirs):.1f} ms)",
                ratio(ours, theirs).median,
                TIMES,
                most=2,
            ),
            Mark("  of it the generator's own lateness, p99", late, "ms", most=open_loop.LATE_MS_MAX),
        ]

    def _profile(self, service: Service) -> list[Share]:
        self._say("sampling a worker")
        with tokens_for(self._buyers, self._extent.seconds + 2 * LEAD_S) as tokens:
            found = profile(service, tokens, self._folder, self._extent.seconds)
        service.wait_until_drained()
        return found

    def _memory(self, service: Service) -> list[Mark]:
        self._say("filling Redis, for its memory")
        with tokens_for(self._buyers, self._extent.seconds) as tokens:
            found = memory(service, self._data_dir, tokens, self._extent.seconds)
        return [
            Mark(f"Redis memory a live booking ({found.bookings:,})", found.booking_bytes, "B", most=200),
            Mark(f"Redis memory a waiting entry ({found.waiting:,})", found.waiting_bytes, "B", most=250),
        ]

    def _persister(self, contest: Contest) -> list[Mark]:
        booked = median(contest.rates)
        marks: list[Mark] = []
        seconds = FILL_ROUNDS * self._extent.seconds
        with ExitStack() as running, tokens_for(self._buyers, seconds) as tokens:
            url = running.enter_context(postgres(self._folder))
            for database, settings in (("SQLite", {}), ("PostgreSQL", {"BOOKING_DATABASE_URL": url})):
                self._say(f"filling the stream, then draining it into {database}")
                there = self._folder / database.lower()
                found = drain(there, self._secret, tokens, seconds, settings)
                what = f"persister into {database}, {found.rows:,} rows, {found.cores:.2f} cores"
                marks.append(Mark(what, found.per_second, "rows/s"))
                marks.append(Mark("  against one worker's bookings", found.per_second / booked, TIMES, least=2))
        return marks


def measure(folder: Path, extent: Extent, say: Say) -> Report:
    """The whole run, in `folder`; everything it starts has stopped at its end. Raises PartError and LoadError."""
    return Run(folder, extent, say).measure()


def throughput_marks(contests: Mapping[str, Contest]) -> list[Mark]:
    """The ratios that the service is held to."""
    one = contests[ONE_WORKER]
    marks = [
        ratio_mark("one worker against the empty endpoint", one, contests[EMPTY], 1.0),
        ratio_mark("one worker against the tuned empty endpoint", one, contests[TUNED]),
        ratio_mark("one worker against the naive service", one, contests[NAIVE], 4.0),
    ]
    more = [contest for name, contest in contests.items() if name.endswith("workers")]
    if more:
        best = max(more, key=lambda contest: median(contest.rates))
        marks.append(ratio_mark(f"{best.servers} workers, the best of more than one, against one", best, one, 1.0))
    if STORM in contests:
        marks.append(ratio_mark("a /status storm against the empty GET", contests[STORM], contests[EMPTY_LOOK], 0.8))
    return marks


def remarks(contests: Mapping[str, Contest]) -> list[str]:
    """What a reader has to know to read the table rightly."""
    cores = os.cpu_count() or 1
    told = [LOAD, RIVALS, SERVICE]
    for contest in contests.values():
        found = median_cores(contest.rounds)
        if bottleneck(found, cores, contest.servers) == "generator":
            told.append(f"{contest.name}: the generator was the limit, so the figure is a lower bound.")
        told += [f"{contest.name}, not to be trusted: {fault}." for one in contest.rounds for fault in one.faults]
    others = [median_cores(contest.rounds).get(OTHERS, 0.0) for contest in contests.values()]
    if max(others) > OTHERS_CORES_MAX:
        told.append(
            f"Other programs took {min(others):.1f} to {max(others):.1f} cores meanwhile: the rates are too low, and "
            "the ratios hold only as far as that was even. Run it again on a quiet machine."
        )
    return told


def machine() -> dict[str, object]:
    """What the figures were made on: they mean little without it."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("starlette", "uvicorn", "redis", "pyjwt")},
    }
