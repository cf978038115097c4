"""The service beside its rivals, and what is measured of the same processes: latency, a storm, memory, its start."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from scripts.benchmark import contenders, open_loop
from scripts.benchmark.contenders import Contender
from scripts.benchmark.drain import drain
from scripts.benchmark.figures import ratio
from scripts.benchmark.memory import memory
from scripts.benchmark.postgres import postgres
from scripts.benchmark.profile import LEAD_S, Share, profile
from scripts.benchmark.report import Contest, Mark, ratio_mark
from scripts.benchmark.rounds import tokens_for, wait_for_quiet
from scripts.benchmark.rows import Row
from scripts.benchmark.service import Service, SoldOut, Storm, serve
from scripts.benchmark.session import Found, Session

EMPTY = "Starlette, empty endpoint"
TUNED = "the same, with orjson and our transport"
NAIVE = "Starlette, PyJWT, EVALSHA each"
ONE_WORKER = "this service, 1 worker"
EMPTY_LOOK = "Starlette, empty GET"
STORM = "this service, /status storm"

FILL_ROUNDS = 2
"""The stream is filled for as long as so many rounds last, to give the persister a second's work and more."""

RATE_SHARE = 0.5
"""Latency is measured at this share of the top rate."""

TITLE = "Bookings a second"


class Throughput:
    """The rows that are about the service and its rivals as they are started."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def measure(self) -> Found:
        """Takes the measurements that were asked for, one after another."""
        session = self._session
        found = Found()
        with ExitStack() as running:
            session.say("starting the contenders")
            parties, service = self._start(running)
            contests = session.contests(parties) if parties else {}
            found.marks += throughput_marks(contests)
            if contests:
                found.contests[TITLE] = list(contests.values())
            if session.extent.profile:
                found.functions += self._profile(service)
            if session.wants(Row.START):
                found.marks.append(Mark("start, to the first 200 of /readyz", service.start_s, "s", most=3))
            if session.wants(Row.LATENCY):
                found.marks += self._latency(parties[EMPTY], service, contests[ONE_WORKER])
            if session.wants(Row.MEMORY):
                found.marks += self._memory(service)
        if session.wants(Row.PERSISTER):
            found.marks += self._persister(contests[ONE_WORKER])
        return found

    def _start(self, running: ExitStack) -> tuple[dict[str, Contender], Service]:
        session = self._session
        folder, secret = session.folder, session.secret
        parties: dict[str, Contender] = {}
        if session.wants(Row.THROUGHPUT, Row.STORM, Row.LATENCY):
            empty = parties[EMPTY] = running.enter_context(contenders.empty(folder))
        if session.wants(Row.THROUGHPUT):
            parties[TUNED] = running.enter_context(contenders.empty(folder, "tuned"))
            parties[NAIVE] = running.enter_context(contenders.naive(folder, secret))
        service = running.enter_context(serve(self._data_dir, secret))
        if session.wants(Row.THROUGHPUT, Row.LATENCY, Row.PERSISTER):
            parties[ONE_WORKER] = service
        if session.wants(Row.THROUGHPUT):
            for workers in session.extent.more_workers:
                there = folder / f"service-{workers}"
                parties[f"this service, {workers} workers"] = running.enter_context(serve(there, secret, workers))
            if session.extent.sold_out:
                parties["sold out, buyers wait"] = SoldOut(service, waiting_list=True)
                parties["sold out, buyers are refused"] = SoldOut(service, waiting_list=False)
        if session.wants(Row.STORM):
            parties[EMPTY_LOOK] = contenders.EmptyLook(empty)
            parties[STORM] = Storm(service)
        return parties, service

    @property
    def _data_dir(self) -> Path:
        return self._session.folder / "service-1"

    def _latency(self, empty: Contender, service: Service, contest: Contest) -> list[Mark]:
        rate = RATE_SHARE * median(contest.rates)
        seconds = self._session.extent.seconds
        loads: dict[str, list[open_loop.OpenLoad]] = {"empty": [], "service": []}
        for number in range(self._session.extent.rounds):
            with tokens_for(self._session.buyers, seconds) as tokens:
                for name, contender in (("empty", empty), ("service", service)):
                    wait_for_quiet()
                    sale = contender.open_sale()
                    plan = open_loop.Plan(sale.url, sale.body, str(tokens), rate, seconds, seed=number)
                    load = open_loop.offer(plan)
                    loads[name].append(load)
                    self._session.say(f"{rate:,.0f}/s, open loop: {name}: p99 {load.p99_ms:.1f} ms")
                    if load.refused or load.unanswered:
                        self._session.say(f"  {load.refused} refused, {load.unanswered} without an answer")
            service.wait_until_drained()
        ours, theirs = ([load.p99_ms for load in loads[name]] for name in ("service", "empty"))
        at = f"open loop at {rate:,.0f}/s"
        late = median(load.late_p99_ms for load in loads["service"])
        return [
            Mark(f"p99, {at}", median(ours), "ms", most=10),
            Mark(
                "the same against the empty endpoint's",
                median(ours),
                "ms",
                most=2,
                against=f"{EMPTY}, at that rate",
                theirs=median(theirs),
                ratio=ratio(ours, theirs).median,
            ),
            Mark("  of it the generator's own lateness, p99", late, "ms", most=open_loop.LATE_MS_MAX),
        ]

    def _profile(self, service: Service) -> list[Share]:
        self._session.say("sampling a worker")
        with tokens_for(self._session.buyers, self._session.extent.seconds + 2 * LEAD_S) as tokens:
            found = profile(service, tokens, self._session.folder, self._session.extent.seconds)
        service.wait_until_drained()
        return found

    def _memory(self, service: Service) -> list[Mark]:
        self._session.say("filling Redis, for its memory")
        with tokens_for(self._session.buyers, self._session.extent.seconds) as tokens:
            found = memory(service, self._data_dir, tokens, self._session.extent.seconds)
        return [
            Mark(f"Redis memory a live booking ({found.bookings:,})", found.booking_bytes, "B", most=200),
            Mark(f"Redis memory a waiting entry ({found.waiting:,})", found.waiting_bytes, "B", most=250),
        ]

    def _persister(self, contest: Contest) -> list[Mark]:
        booked = median(contest.rates)
        marks: list[Mark] = []
        seconds = FILL_ROUNDS * self._session.extent.seconds
        with ExitStack() as running, tokens_for(self._session.buyers, seconds) as tokens:
            url = running.enter_context(postgres(self._session.folder))
            for database, settings in (("SQLite", {}), ("PostgreSQL", {"BOOKING_DATABASE_URL": url})):
                self._session.say(f"filling the stream, then draining it into {database}")
                there = self._session.folder / database.lower()
                found = drain(there, self._session.secret, tokens, seconds, settings)
                what = f"persister into {database}, {found.rows:,} rows, {found.cores:.2f} cores"
                marks.append(
                    Mark(
                        what,
                        found.per_second,
                        "/s",
                        least=2,
                        against=f"bookings, {ONE_WORKER}",
                        theirs=booked,
                        ratio=found.per_second / booked,
                    )
                )
        return marks


def throughput_marks(contests: Mapping[str, Contest]) -> list[Mark]:
    """The ratios that the service is held to, of those that were measured."""
    marks = []
    one = contests.get(ONE_WORKER)
    if one is not None and NAIVE in contests:
        marks += [
            ratio_mark("bookings, one worker", one, contests[EMPTY], 1.0),
            ratio_mark("  the same", one, contests[TUNED]),
            ratio_mark("  the same", one, contests[NAIVE], 4.0),
        ]
        marks += best_mark(contests, one)
    if STORM in contests:
        marks.append(ratio_mark("a /status storm", contests[STORM], contests[EMPTY_LOOK], 0.8))
    return marks


def best_mark(contests: Mapping[str, Contest], one: Contest) -> list[Mark]:
    """The whole service at its best worker count, and which that is; nothing where only one was tried."""
    counts = [one, *(contest for name, contest in contests.items() if name.endswith("workers"))]
    best = max(counts, key=lambda contest: median(contest.rates))
    if len(counts) == 1:
        return []
    tried = ", ".join(str(contest.servers) for contest in counts)
    return [ratio_mark(f"bookings, the best worker count: {best.servers} (of {tried})", best, one, 1.0)]
