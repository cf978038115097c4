"""What a run found: the rounds, and the marks that they are held against, as tables and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from scripts.benchmark.rounds import OTHERS, Contest

TIMES = "\N{MULTIPLICATION SIGN}"
"""The unit of a ratio."""

ROLES = ("server", "redis", "persister", "outbox", "listeners", "generator", OTHERS)
"""Whose cores the table shows."""

LEGEND = (
    "ratio: against the first row, round by round; server µs, all µs: processor time for an answer, of the server and "
    "of all the service's parts; server to others: cores used; limit: the part that had no more to give"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A figure, what it is held against, and its bound: `least` or `most`, on the ratio if there is one."""

    what: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None
    against: str = ""
    theirs: float | None = None
    """The other side's figure, in the same unit."""
    ratio: float | None = None

    @property
    def reached(self) -> bool | None:
        """None if there is no bound."""
        judged = self.value if self.ratio is None else self.ratio
        if self.least is not None:
            return judged >= self.least
        return None if self.most is None else judged <= self.most

    @property
    def bound(self) -> str:
        """The bound in words; empty if there is none."""
        unit = TIMES if self.ratio is not None else f" {self.unit}"
        if self.least is not None:
            return f"≥ {self.least:,g}{unit}"
        return "" if self.most is None else f"≤ {self.most:,g}{unit}"


@dataclass(slots=True)
class Report:
    """One run."""

    machine: Mapping[str, object]
    contests: dict[str, Sequence[Contest]] = field(default_factory=dict)
    """The rounds, by what they are about; ratios are against the first contest of each."""
    marks: list[Mark] = field(default_factory=list)

    @property
    def trusted(self) -> bool:
        """Whether no round had a fault."""
        return not any(one.faults for contests in self.contests.values() for c in contests for one in c.rounds)

    def to_json(self) -> dict[str, object]:
        """Every figure of the run, round by round."""
        return {
            "machine": dict(self.machine),
            "contests": [
                {
                    "about": title,
                    "name": contest.name,
                    "per_second": contest.rate,
                    "rounds": [
                        {
                            "per_second": one.load.per_second,
                            "p50_ms": one.load.ms(0.5),
                            "p99_ms": one.load.ms(0.99),
                            "server_us": one.server_us,
                            "all_us": one.all_us,
                            "cores": dict(one.cores),
                            "limit": one.limit,
                            "faults": list(one.faults),
                        }
                        for one in contest.rounds
                    ],
                }
                for title, contests in self.contests.items()
                for contest in contests
            ],
            "marks": [{**asdict(mark), "to_reach": mark.bound, "reached": mark.reached} for mark in self.marks],
        }


def ratio_mark(what: str, ours: Contest, theirs: Contest, least: float) -> Mark:
    """Our rate over theirs."""
    return Mark(what, ours.rate, "/s", least, against=theirs.name, theirs=theirs.rate, ratio=ours.ratio(theirs))


def show(report: Report, console: Console) -> None:
    """Prints the rounds behind the marks, and the marks."""
    for title, contests in report.contests.items():
        console.print(_contest_table(title, contests))
    if report.contests:
        console.print(f"[dim]{LEGEND}[/dim]", highlight=False)
    console.print(_mark_table(report.marks))


def _contest_table(title: str, contests: Sequence[Contest]) -> Table:
    table = Table(title=f"{title} (medians of the rounds)", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("what", no_wrap=True)
    roles = [role for role in ROLES if any(role in one.cores for contest in contests for one in contest.rounds)]
    for heading in ("per second", "spread", "ratio", "p99 ms", "server µs", "all µs", *roles):
        table.add_column(heading, justify="right")
    table.add_column("limit")
    for contest in contests:
        rounds = contest.rounds
        trusted = not any(one.faults for one in rounds)
        table.add_row(
            contest.name if trusted else f"{contest.name} (not to be trusted)",
            f"{contest.rate:,.0f}",
            f"±{50 * (max(contest.rates) - min(contest.rates)) / (contest.rate or 1.0):.0f} %",
            f"{contest.ratio(contests[0]):.2f}{TIMES}",
            f"{median(one.load.ms(0.99) for one in rounds):.1f}",
            f"{median(one.server_us for one in rounds):.0f}",
            f"{median(one.all_us for one in rounds):.0f}",
            *(f"{median(one.cores.get(role, 0.0) for one in rounds):.2f}" for role in roles),
            max(rounds, key=lambda one: one.load.per_second).limit,
        )
    return table


def _mark_table(marks: Sequence[Mark]) -> Table:
    table = Table(title="Marks", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("held against")
    for heading in ("", "ratio", "to reach"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for mark in marks:
        table.add_row(
            mark.what,
            f"{number(mark.value)} {mark.unit}",
            mark.against,
            "" if mark.theirs is None else f"{number(mark.theirs)} {mark.unit}",
            "" if mark.ratio is None else f"{mark.ratio:.2f}{TIMES}",
            mark.bound,
            {True: "[green]reached[/green]", False: "[red]missed[/red]", None: ""}[mark.reached],
        )
    return table


def number(value: float) -> str:
    """Three significant figures: 18,204 as it is, 12.3, 1.05."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
