"""The output on the terminal: a progress bar during the run, and tables and a verdict at the end."""

from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from booking.loadtest.figures import QUANTILES, Figures
from booking.loadtest.records import Fault
from booking.loadtest.run import Outcome

RATE_SECONDS_MIN = 0.5
"""The shortest time over which the live rate is computed."""


class LiveProgress:
    """The progress bar: progress, responses a second, and their latest latencies. Hidden if there is no terminal.

    `calls` is the number of calls of each phase, as far as it is known.
    """

    def __init__(self, console: Console, calls: dict[str, int], clock: Callable[[], float] = monotonic) -> None:
        self._calls = calls
        self._phase = ""
        self._responses: dict[int, int] = {}
        self._latest: dict[int, int] = {}
        self._since = (0.0, 0)
        self._progress = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[live]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            get_time=clock,
        )
        self._task = self._progress.add_task("signing", total=None, live="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, phase: str, process: int, responses: int, latest: list[list[int]]) -> None:
        """Shows the progress of one process (see booking.loadtest.player.ShowProgress)."""
        now = self._progress.get_time()
        if phase != self._phase:
            self._phase, self._since = phase, (now, 0)
            self._responses.clear()
            self._progress.reset(self._task, total=self._calls.get(phase), description=phase, live="")
        self._responses[process] = responses
        for upper_ns, count in latest:
            self._latest[upper_ns] = self._latest.get(upper_ns, 0) + count
        done, (since, before) = sum(self._responses.values()), self._since
        self._progress.update(self._task, completed=done)
        if now - since >= RATE_SECONDS_MIN:
            rate = (done - before) / (now - since)
            live = f"{rate:,.0f}/s  p50 {self._quantile_ms(0.5):.1f} ms  p99 {self._quantile_ms(0.99):.1f} ms"
            self._progress.update(self._task, live=live)
            self._since = (now, done)
            self._latest.clear()

    def show_line(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _quantile_ms(self, share: float) -> float:
        wanted, seen = share * sum(self._latest.values()), 0
        for upper_ns, count in sorted(self._latest.items()):
            seen += count
            if seen >= wanted:
                return upper_ns / 1e6
        return 0.0


def print_report(console: Console, outcome: Outcome) -> None:
    """Prints the tables, what limited the figures, and the verdict."""
    figures, plan = outcome.figures, outcome.plan
    console.print(
        f"\n[bold]{plan.tickets:,} tickets, {outcome.buyers_sent:,} of {plan.buyers:,} buyers[/] ({plan.loop},"
        f" seed {plan.seed}): {figures.answered:,} answers in {figures.seconds:.1f} s,"
        f" [bold]{figures.rate:,.0f}/s[/]",
        soft_wrap=True,
    )
    console.print(_latency_table(figures))
    console.print(_result_table(figures))
    if figures.lateness.count:
        late = [f"{name} {figures.lateness.quantile_ns(share) / 1e6:.2f} ms" for name, share in QUANTILES.items()]
        console.print(f"of which the generator's own lateness: {', '.join(late)}", soft_wrap=True)
    for warning in figures.warnings:
        console.print(warning, style="yellow", highlight=False, markup=False, soft_wrap=True)
    _print_event(console, outcome)
    _print_verdict(console, outcome)


def _latency_table(figures: Figures) -> Table:
    table = Table(title="latency in ms", title_justify="left")
    for heading in ("call", "answers", *QUANTILES, "max"):
        table.add_column(heading, justify="left" if heading == "call" else "right")
    for kind, histogram in figures.measured:
        quantiles = [f"{histogram.quantile_ns(share) / 1e6:.2f}" for share in QUANTILES.values()]
        table.add_row(kind.heading, f"{histogram.count:,}", *quantiles, f"{histogram.max_ns / 1e6:.2f}")
    return table


def _result_table(figures: Figures) -> Table:
    table = Table(title="answers", title_justify="left")
    table.add_column("call")
    table.add_column("answer")
    table.add_column("count", justify="right")
    for (kind, what), count in sorted(figures.results.items()):
        table.add_row(kind.label, what, f"{count:,}")
    return table


def _print_event(console: Console, outcome: Outcome) -> None:
    event = outcome.event
    if event:
        console.print(
            f"after the sale: {event['tickets_sold']:,} sold, {event['available_tickets']:,} available,"
            f" {event['waiting_list_count']:,} waiting",
            soft_wrap=True,
        )
    if outcome.buyers_turned_away and Fault.NO_SALE not in outcome.findings.counts:
        console.print(
            f"{outcome.buyers_turned_away:,} of {outcome.buyers_sent:,} buyers were turned away each time they asked",
            soft_wrap=True,
        )
    if outcome.caught_up is None:
        console.print(f"[yellow]SQL was not judged:[/] {outcome.database_note}", soft_wrap=True)
    elif outcome.caught_up.reached:
        console.print(f"SQL had every change within {outcome.caught_up.seconds:.2f} s of the end", soft_wrap=True)
    elif outcome.caught_up.redis_seq is None:
        console.print(f"[yellow]SQL is at change {outcome.caught_up.seq}; Redis could not be asked how far it is[/]")


def _print_verdict(console: Console, outcome: Outcome) -> None:
    counts = ", ".join(f"{outcome.findings.counts.get(fault, 0):,} {fault}" for fault in Fault)
    word = str(outcome.findings.verdict)
    colour, word = ("green", word) if outcome.clean else ("red", word.upper())
    console.print(f"[bold {colour}]verdict: {word}[/] ({counts})", soft_wrap=True)
    for fault, examples in outcome.findings.examples.items():
        for example in examples:
            console.print(f"  {fault}: {example}", highlight=False, markup=False, soft_wrap=True)
