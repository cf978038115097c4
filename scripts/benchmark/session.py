"""What every row of one run shares: its folder, its buyers, how much to measure, and how a row's rounds are taken."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.benchmark.contenders import Contender
from scripts.benchmark.profile import Share
from scripts.benchmark.report import Contest, Mark
from scripts.benchmark.rounds import take_turns
from scripts.benchmark.rows import Extent, Row
from scripts.benchmark.tokens import Buyers

Say = Callable[[str], None]


@dataclass(slots=True)
class Found:
    """What came of a row, or of several: marks, and the rounds behind them by what they are about."""

    marks: list[Mark] = field(default_factory=list)
    contests: dict[str, list[Contest]] = field(default_factory=dict)
    functions: list[Share] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, other: "Found") -> None:
        """Takes in what came of another row."""
        self.marks += other.marks
        self.contests |= other.contests
        self.functions += other.functions
        self.remarks += other.remarks


class Session:
    """One run of the bench."""

    def __init__(self, folder: Path, extent: Extent, say: Say) -> None:
        self.folder = folder
        self.extent = extent
        self.say = say
        self.secret = secrets.token_urlsafe(48).encode()
        self.buyers = Buyers(folder, self.secret, time.time())

    def wants(self, *rows: Row) -> bool:
        """Whether any of these rows was asked for."""
        return not self.extent.rows.isdisjoint(rows)

    def contests(self, parties: Mapping[str, Contender]) -> dict[str, Contest]:
        """Every party's rounds, taken in turn."""
        extent = self.extent
        taken = take_turns(parties, self.buyers, extent.rounds, extent.seconds, self.say)
        return {name: Contest(name, party.servers, taken[name]) for name, party in parties.items()}
