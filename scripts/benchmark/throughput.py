"""The rows about one service beside its rivals: throughput, a storm of reads, latency, newcomers, the start."""

from contextlib import ExitStack
from dataclasses import replace
from statistics import median

from scripts.benchmark import contenders
from scripts.benchmark.load import Load, Plan, Target, new_buyers, offer
from scripts.benchmark.report import Mark, ratio_mark
from scripts.benchmark.rounds import Contender, Contest, wait_for_quiet
from scripts.benchmark.service import Service, serve
from scripts.benchmark.session import Session

EMPTY = "Starlette, empty endpoint"
NAIVE = "Starlette, PyJWT, EVALSHA each"
ONE_WORKER = "this service, 1 worker"
TWO_WORKERS = "this service, 2 workers"
EMPTY_GET = "Starlette, empty GET"
STORM = "this service, /status storm"

RATE_SHARE = 0.5
"""Latency is measured at this share of the top rate."""

LATE_MS_MAX = 1.0
"""A generator that sends its requests later than this (at p99) measures itself."""

OPEN_CONNECTIONS = 256
"""Connections with which an open loop begins."""

BUSY_CLIENTS = 600
NEWCOMERS_PER_S = 50.0
"""Clients that stay connected and book as fast as they are answered, and new connections beside them."""


def throughput(session: Session) -> None:
    """Takes those of the rows that were asked for, on processes that are started once."""
    with ExitStack() as running:
        session.say("starting the contenders")
        books, shows = running.enter_context(contenders.empty(session.folder))
        service = running.enter_context(serve(session.folder / "service-1", session.secret))
        parties: dict[str, Contender] = {EMPTY: books, ONE_WORKER: service.contender()}
        if session.wants("throughput"):
            parties[NAIVE] = running.enter_context(contenders.naive(session.folder, session.secret))
            two = running.enter_context(serve(session.folder / "service-2", session.secret, 2))
            parties[TWO_WORKERS] = two.contender()
        if session.wants("throughput", "latency"):
            contests = session.contest("Bookings a second", parties)
            if session.wants("throughput"):
                _bookings(session, contests)
        if session.wants("storm"):
            storms = session.contest(
                "Reads a second", {EMPTY_GET: shows, STORM: Contender(service.storm, service.parts)}
            )
            session.mark(ratio_mark("a /status storm", storms[STORM], storms[EMPTY_GET], 0.8))
        if session.wants("start"):
            session.mark(Mark("start, to the first 200 of /readyz", service.start_s, "s", most=3))
        if session.wants("latency"):
            _latency(session, books, service, RATE_SHARE * contests[ONE_WORKER].rate)
        if session.wants("newcomers"):
            _newcomers(session, service)


def _bookings(session: Session, contests: dict[str, Contest]) -> None:
    one = contests[ONE_WORKER]
    session.mark(
        ratio_mark("bookings, one worker", one, contests[EMPTY], 1.0),
        ratio_mark("  the same", one, contests[NAIVE], 4.0),
        ratio_mark("bookings, two workers", contests[TWO_WORKERS], one, 1.0),
        Mark("processor time a booking, of the worker", median(r.server_us for r in one.rounds), "µs"),
        Mark("  of all parts", median(r.all_us for r in one.rounds), "µs"),
    )


def _latency(session: Session, empty: Contender, service: Service, rate: float) -> None:
    loads: dict[str, list[Load]] = {"empty": [], "service": []}
    for number in range(session.rounds):
        plan = Plan(Target("", ""), session.seconds, rate, OPEN_CONNECTIONS, seed=number, first_buyer=new_buyers())
        for name, contender in (("empty", empty), ("service", service.contender())):
            wait_for_quiet()
            [load] = offer([replace(plan, target=contender.open())])
            loads[name].append(load)
            session.say(f"{rate:,.0f}/s, open loop: {name}: p99 {load.ms(0.99):.1f} ms {' '.join(load.faults)}")
        service.settle()
    ours, theirs = ([load.ms(0.99) for load in loads[name]] for name in ("service", "empty"))
    late_ms = median(load.lateness.quantile_ns(0.99) / 1e6 for load in loads["service"])
    session.mark(
        Mark(f"p99, open loop at {rate:,.0f}/s", median(ours), "ms", most=10),
        Mark("  against the empty endpoint's", median(ours), "ms", most=2, against=f"{EMPTY}, at that rate",
             theirs=median(theirs), ratio=median(a / b for a, b in zip(ours, theirs, strict=True))),
        Mark("  of it the generator's own lateness, p99", late_ms, "ms", most=LATE_MS_MAX),
    )  # fmt: skip


def _newcomers(session: Session, service: Service) -> None:
    """New connections, each with one booking, while others stay connected and keep the service busy."""
    busy: list[Load] = []
    new: list[Load] = []
    for _ in range(session.rounds):
        sale = service.sale()
        clients = Plan(sale, session.seconds, connections=BUSY_CLIENTS, first_buyer=new_buyers())
        newcomers = Plan(sale, session.seconds, NEWCOMERS_PER_S, 0, connection_per_call=True, first_buyer=new_buyers())
        wait_for_quiet()
        for loads, load in zip((busy, new), offer([clients, newcomers]), strict=True):
            loads.append(load)
        session.say(f"newcomers: p99 {new[-1].ms(0.99):.0f} ms, busy clients: p99 {busy[-1].ms(0.99):.0f} ms")
        service.settle()
    for share in (0.5, 0.99):
        ours, theirs = ([load.ms(share) for load in loads] for loads in (new, busy))
        session.mark(
            Mark(f"a new connection to its answer, p{100 * share:g}", median(ours), "ms", most=2,
                 against=f"{BUSY_CLIENTS} busy clients", theirs=median(theirs),
                 ratio=median(a / b for a, b in zip(ours, theirs, strict=True)))
        )  # fmt: skip
