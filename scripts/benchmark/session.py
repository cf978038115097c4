"""What every row of one run shares: its folder, how much to measure, and how rounds are taken."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.benchmark.report import Mark, Report
from scripts.benchmark.rounds import Contender, Contest, take_turns


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the bench; the rows add what they find to `report`."""

    folder: Path
    report: Report
    say: Callable[[str], None]
    rows: frozenset[str]
    rounds: int
    seconds: int
    scale: float
    """What the sizes of the large rows are multiplied with."""
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def wants(self, *rows: str) -> bool:
        """Whether any of these rows was asked for."""
        return not self.rows.isdisjoint(rows)

    def sized(self, number: int) -> int:
        """So many at this scale, and never fewer than ten."""
        return max(10, round(number * self.scale))

    def contest(self, about: str, parties: Mapping[str, Contender]) -> dict[str, Contest]:
        """Every party's rounds, taken in turn."""
        contests = take_turns(parties, self.rounds, self.seconds, self.say)
        self.report.contests[about] = list(contests.values())
        return contests

    def mark(self, *marks: Mark) -> None:
        """Adds marks to the report."""
        self.report.marks.extend(marks)
