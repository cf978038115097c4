"""What a run of the bench found: the marks it is held against, as a table for people and as JSON for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from scripts.benchmark.figures import OTHERS, Round, bottleneck, median_cores, ratio, spread
from scripts.benchmark.profile import Share, profile_table

TIMES = "\N{MULTIPLICATION SIGN}"
"""The unit of a ratio."""

ROLES = ("server", "redis", "persister", "listeners", "generator", OTHERS)
"""Whose cores the table shows; the last is every other program on the machine."""

LEGEND = (
    "ratio: against the first row, round by round; server µs, all µs: processor time for a request, of the server and "
    "of all the service's parts; server to others: cores used; limit: the part that had no more to give"
)


@dataclass(frozen=True, slots=True)
class Contest:
    """The rounds of one contender."""

    name: str
    servers: int
    rounds: Sequence[Round]

    @property
    def rates(self) -> list[float]:
        """Answers a second, round by round."""
        return [one.load.per_second for one in self.rounds]

    @property
    def trusted(self) -> bool:
        """Whether no round had a fault."""
        return not any(one.faults for one in self.rounds)


@dataclass(frozen=True, slots=True)
class Mark:
    """A figure, what it is held against, and the bound to keep; `least` or `most`, whichever is set, is the bound.

    The bound is one on the ratio where there is a ratio, else one on the figure itself.
    """

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
        """None where there is nothing to reach."""
        judged = self.value if self.ratio is None else self.ratio
        if self.least is not None:
            return judged >= self.least
        return None if self.most is None else judged <= self.most

    @property
    def bound(self) -> str:
        """What is to be reached, in words; empty where nothing is."""
        unit = TIMES if self.ratio is not None else f" {self.unit}"
        if self.least is not None:
            return f"≥ {self.least:,g}{unit}"
        return "" if self.most is None else f"≤ {self.most:,g}{unit}"


@dataclass(frozen=True, slots=True)
class Report:
    """One run: the machine it ran on, the contests, the marks, and remarks that a reader needs."""

    machine: Mapping[str, object]
    contests: Mapping[str, Sequence[Contest]]
    """The rounds, by what they are about. The first contest of each is what its ratios are against."""
    marks: Sequence[Mark]
    remarks: Sequence[str] = ()
    functions: Sequence[Share] = ()
    """Where a worker's time goes, when that was asked for."""


def ratio_mark(what: str, ours: Contest, theirs: Contest, least: float | None = None) -> Mark:
    """Our rate over theirs, the median of the rounds' ratios."""
    held = ratio(ours.rates, theirs.rates).median
    return Mark(
        what, median(ours.rates), "/s", least=least, against=theirs.name, theirs=median(theirs.rates), ratio=held
    )


def as_json(report: Report, machine_cores: int) -> dict[str, object]:
    """Every figure of the run, raw rounds included."""
    return {
        "machine": dict(report.machine),
        "contests": [
            {
                "about": title,
                "name": contest.name,
                "per_second": asdict(spread(contest.rates)),
                "trusted": contest.trusted,
                "cores": median_cores(contest.rounds),
                "limit": bottleneck(median_cores(contest.rounds), machine_cores, contest.servers),
                "rounds": [
                    {
                        "per_second": one.load.per_second,
                        **asdict(one.load),
                        "server_us": one.server_us,
                        "all_us": one.all_us,
                        "cores": dict(one.cores),
                        "faults": list(one.faults),
                    }
                    for one in contest.rounds
                ],
            }
            for title, contests in report.contests.items()
            for contest in contests
        ],
        "marks": [{**asdict(mark), "to_reach": mark.bound, "reached": mark.reached} for mark in report.marks],
        "remarks": list(report.remarks),
        "functions": [asdict(share) for share in report.functions],
    }


def show(report: Report, machine_cores: int, console: Console) -> None:
    """Prints the rounds behind the marks, the marks and the remarks."""
    for title, contests in report.contests.items():
        console.print(contest_table(title, contests, machine_cores))
    if report.contests:
        console.print(f"[dim]{LEGEND}[/dim]", highlight=False)
    console.print(mark_table(report.marks))
    if report.functions:
        console.print(profile_table(report.functions))
    for remark in report.remarks:
        console.print(f"• {remark}", highlight=False)


def contest_table(title: str, contests: Sequence[Contest], machine_cores: int) -> Table:
    """Rates, latencies and who used which share of the machine."""
    table = Table(title=f"{title} (medians of the rounds)", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("what", no_wrap=True)
    roles = [role for role in ROLES if any(role in one.cores for contest in contests for one in contest.rounds)]
    for heading in ("per second", "spread", "ratio", "p99 ms", "server µs", "all µs", *roles):
        table.add_column(heading, justify="right")
    table.add_column("limit")
    for contest in contests:
        cores = median_cores(contest.rounds)
        rates = spread(contest.rates)
        table.add_row(
            contest.name if contest.trusted else f"{contest.name} (not to be trusted)",
            f"{rates.median:,.0f}",
            f"±{rates.percent:.0f} %",
            f"{ratio(contest.rates, contests[0].rates).median:.2f}{TIMES}",
            f"{median(one.load.p99_ms for one in contest.rounds):.1f}",
            f"{median(one.server_us for one in contest.rounds):.0f}",
            f"{median(one.all_us for one in contest.rounds):.0f}",
            *(f"{cores[role]:.2f}" if role in cores else "" for role in roles),
            bottleneck(cores, machine_cores, contest.servers),
        )
    return table


def mark_table(marks: Sequence[Mark]) -> Table:
    """Each figure beside what it is held against, and its bound."""
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
    """Three figures that matter: 18,204 as it is, 12.3, 1.05."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
