"""`scripts/overload`: ten times the load that the service can carry, and what it makes of it."""

import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from booking.loadtest.histogram import Histogram
from scripts.benchmark import greedy
from scripts.benchmark.__main__ import TABLE_COLUMNS, folder
from scripts.benchmark.load import Load, Plan, offer
from scripts.benchmark.processes import PartError, halves
from scripts.benchmark.service import Service, serve

TIMES_SUSTAINABLE = 10
P99_MS_MAX = 250.0
GROWTH_MAX = 1.2
"""The marks: latency of what is accepted, and memory against what it was before."""

TICKETS = 2_000
"""They go during the search; afterwards, as in any flash sale, nearly all buyers come too late and are told so."""

BUYERS = 50_000
FIRST_RATE = 200.0
STEP = 1.25
SEARCH_SECONDS = 4.0
CALM_SECONDS = 8.0
REST_SECONDS = 3.0
TRIES = 2
"""A rate is sustainable if no call is turned away and the p99 keeps to the mark; one that fails is tried again."""

SAMPLE_SECONDS = 0.25
MIB = 1024 * 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Memory:
    """Resident memory of each part in MiB: at the sustainable rate, at its highest under the load, and after."""

    before: dict[str, float]
    peak: dict[str, float]
    after: dict[str, float]

    @property
    def growth(self) -> float:
        """How many times as large all parts together were at their highest.

        Together, since a fifth of what Redis takes here is a few thousand buyers' rate buckets, which it forgets again.
        """
        return sum(self.peak.values()) / sum(self.before.values())


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run."""

    sustainable: float
    seconds: float
    connections: str
    load: Load
    memory: Memory

    @property
    def misses(self) -> list[str]:
        """The marks that were missed."""
        load = self.load
        p99 = _ms(load.from_sent, 0.99)
        found = []
        if not load.accepted:
            found.append("nothing was accepted")
        if p99 > P99_MS_MAX:
            found.append(f"p99 of what was accepted: {p99:.0f} ms, at most {P99_MS_MAX:.0f}")
        if load.unexpected or load.without_retry_after or load.unanswered:
            found.append(
                f"answers that should not be: {load.unexpected or 'none'}, without Retry-After "
                f"{load.without_retry_after}, no answer {load.unanswered}"
            )
        if self.memory.growth > GROWTH_MAX:
            found.append(f"memory: {self.memory.growth:.2f} times what it was, at most {GROWTH_MAX}")
        return found

    def to_json(self) -> dict[str, object]:
        """Every figure."""
        load = self.load
        latencies = {"from_due": load.from_due, "from_sent": load.from_sent, "shed": load.shed}
        return {
            "sustainable_per_second": self.sustainable,
            "seconds": self.seconds,
            "connections": self.connections,
            "answers": load.statuses,
            "unanswered": load.unanswered,
            "without_retry_after": load.without_retry_after,
            **{f"{name}_ms": {f"p{q * 100:g}": _ms(one, q) for q in (0.5, 0.99)} for name, one in latencies.items()},
            "memory_mib": asdict(self.memory),
            "misses": self.misses,
        }


def overload(
    rate: Annotated[float | None, typer.Option(min=1, help="What it can carry a second; else it is searched.")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="How long the load lasts.")] = 60.0,
    connections: Annotated[int, typer.Option(min=2, max=15_000, help="How many connections at most.")] = 2_000,
    keep_alive: Annotated[
        bool, typer.Option("--keep-alive", help="Send all over connections that stay open, not one for each buyer.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Web workers.")] = 1,
    greedy_clients: Annotated[
        bool, typer.Option("--greedy", help="Buyers at --rate (100/s), without and with greedy clients.")
    ] = False,
    kind: Annotated[
        list[str] | None, typer.Option(help="With --greedy: only a client of this kind; can be repeated.")
    ] = None,
    together: Annotated[bool, typer.Option("--together", help="With --greedy: all clients at once.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure to this file, too.")] = None,
) -> None:
    """Finds the rate that a service of its own can carry, then offers ten times as much, open loop.

    Each buyer opens a new connection, as in a flash sale. The service has half of the cores and the load the other
    half. Exit code 1 when a mark was missed: p99 of what is accepted, answers other than 503 and 429 with Retry-After
    for the rest, memory. With --greedy, a client on each kind of endpoint in turn, or on these kinds, calls
    as fast as it can, and the marks are the buyers' p99 beside each and memory.
    """
    if unknown := set(kind or ()) - greedy.kinds("", 0).keys():
        sys.exit(f"there is no kind {', '.join(sorted(unknown))}; there are {', '.join(greedy.kinds('', 0))}")
    progress = Console(stderr=True, highlight=False)
    shown = Console(width=None if sys.stdout.isatty() else TABLE_COLUMNS, highlight=False)
    outcome: Outcome | greedy.Outcome
    with folder() as there:
        if greedy_clients:
            ours, theirs = halves(os.sched_getaffinity(0))
            with _on(ours):
                outcome = greedy.run(there, seconds, rate or greedy.RATE, theirs, only=kind or (), together=together)
            greedy.show(outcome, shown)
        else:
            outcome = run(there, rate, seconds, connections, workers, progress, keep_alive=keep_alive)
            show(outcome, shown)
    if json_file is not None:
        json_file.write_text(json.dumps(outcome.to_json(), indent=2) + "\n", encoding="utf-8")
    sys.exit(1 if outcome.misses else 0)


def run(
    there: Path, rate: float | None, seconds: float, connections: int, workers: int, progress: Console,
    *, keep_alive: bool,
) -> Outcome:  # fmt: skip
    """Searches, overloads, and looks at the memory meanwhile. Raises PartError."""
    secret = secrets.token_urlsafe(48)
    ours, theirs = halves(os.sched_getaffinity(0))
    with _on(ours), serve(there / "data", secret, workers) as service:
        sale = service.sale(TICKETS, waiting_list=False)
        share = len(theirs)

        def make_load(per_second: float, lasting: float, seed: int) -> Load:
            plans = [
                Plan(
                    sale, lasting, per_second / share, connections // share if keep_alive else 0, connections // share,
                    connection_per_call=not keep_alive, seed=seed + number,
                    first_buyer=number * BUYERS // share, buyers=BUYERS // share,
                )
                for number in range(share)
            ]  # fmt: skip
            together = Load()
            for load in offer(plans, theirs):
                together.add(load.to_json())
            return together

        sustainable = rate or _search(make_load, progress)
        with _watched(service) as calm:
            # Long enough for each connection to have been used: what it then keeps is no growth.
            make_load(sustainable, max(CALM_SECONDS, 1.5 * connections / sustainable), 1)
        progress.print(f"{TIMES_SUSTAINABLE} times {sustainable:,.0f}/s for {seconds:.0f} s")
        with _watched(service) as storm:
            load = make_load(TIMES_SUSTAINABLE * sustainable, seconds, 1_000)
        time.sleep(REST_SECONDS)
        memory = Memory(calm, storm, _resident_mib(service))
        kind = f"{connections:,} connections that stay open" if keep_alive else "a connection a buyer"
        return Outcome(sustainable, seconds, kind, load, memory)


def show(outcome: Outcome, console: Console) -> None:
    """The figures as a table, and the verdict."""
    load = outcome.load
    table = Table(title=f"ten times {outcome.sustainable:,.0f}/s for {outcome.seconds:.0f} s", title_justify="left")
    for name in ("what", "number", "a second", "p50 ms", "p99 ms"):
        table.add_column(name, justify="left" if name == "what" else "right")

    def row(what: str, number: float, latencies: Histogram | None = None) -> None:
        quantiles = [f"{_ms(latencies, share):,.1f}" for share in (0.5, 0.99)] if latencies else ["", ""]
        table.add_row(what, f"{number:,.0f}", f"{number / outcome.seconds:,.0f}", *quantiles)

    row("due", TIMES_SUSTAINABLE * outcome.sustainable * outcome.seconds)
    row(f"sent, {outcome.connections}", load.answered + load.unanswered)
    row("accepted, from being sent", load.accepted, load.from_sent)
    row("accepted, from being due", load.accepted, load.from_due)
    row("told to come back (503, 429)", load.turned_away, load.shed)
    row("any other answer", sum(load.unexpected.values()))
    row("no answer", load.unanswered)
    console.print(table)
    console.print("answers: " + ", ".join(f"{status} {number:,}" for status, number in sorted(load.statuses.items())))
    for name, before in outcome.memory.before.items():
        peak, after = outcome.memory.peak.get(name, 0.0), outcome.memory.after.get(name, 0.0)
        console.print(
            f"memory of {name}, MiB: {before:.0f} at the sustainable rate, at most {peak:.0f}, then {after:.0f}"
        )
    for miss in outcome.misses:
        console.print(f"missed: {miss}", style="red", markup=False)
    if not outcome.misses:
        console.print("every mark was reached")


def _search(make_load: Callable[[float, float, int], Load], progress: Console) -> float:
    """The highest rate at which no call is turned away or waits for too long."""
    carried, rate = 0.0, FIRST_RATE
    while any(_is_carried(make_load, rate, progress) for _ in range(TRIES)):
        carried, rate = rate, rate * STEP
    if not carried:
        raise PartError(f"not even {FIRST_RATE:.0f}/s can be carried here: is the machine busy with something else?")
    return carried


def _is_carried(make_load: Callable[[float, float, int], Load], rate: float, progress: Console) -> bool:
    load = make_load(rate, SEARCH_SECONDS, int(rate))
    p99 = load.ms(0.99)
    progress.print(f"{rate:,.0f}/s: p99 {p99:.0f} ms, {load.turned_away:,} turned away")
    return not load.turned_away and not load.unanswered and p99 <= P99_MS_MAX


def _ms(latencies: Histogram, share: float) -> float:
    return latencies.quantile_ns(share) / 1e6


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """What is started inside runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _watched(service: Service) -> Iterator[dict[str, float]]:
    """The highest resident memory of each part while the block runs."""
    highest: dict[str, float] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            for name, mib in _resident_mib(service).items():
                highest[name] = max(mib, highest.get(name, 0.0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        done.set()
        watcher.join()


def _resident_mib(service: Service) -> dict[str, float]:
    """By part; one that is being started again is left out."""
    sizes: dict[str, float] = {}
    for role, pids in service.parts().items():
        for pid in pids:
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
            except OSError:
                continue
            sizes[role] = sizes.get(role, 0.0) + pages * PAGE_BYTES / MIB
    return sizes


if __name__ == "__main__":
    typer.run(overload)
