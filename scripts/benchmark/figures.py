"""What a round measured, and the sums over rounds: medians, spreads, ratios. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

BUSY_CORES = 0.9
"""A single-threaded process that uses this much of a core has no more to give."""

OTHERS = "others"
"""The role of whatever else ran on the machine during a round, and took from it."""

FULL_SHARE = 0.95
"""Share of the machine's cores in use from which the machine itself is the limit."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the load generator counted in one round."""

    requests: int
    duration_s: float
    refused: int
    """Answers with a status above 399."""
    broken: int
    """Requests that never got an answer: connections refused or lost, time-outs."""
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.requests / self.duration_s


@dataclass(frozen=True, slots=True)
class Round:
    """One contender's turn: the load, and the cores that each part used meanwhile, by role."""

    load: Load
    cores: Mapping[str, float]
    faults: tuple[str, ...] = ()
    """Why the figure must not be trusted; empty for a good round."""

    @property
    def server_us(self) -> float:
        """Processor time of the server for one request, in microseconds; much the same on a busy machine."""
        return 1e6 * self.cores.get("server", 0.0) / self.load.per_second

    @property
    def all_us(self) -> float:
        """The same of all the service's parts together: what a request takes from a machine with few cores."""
        return 1e6 * sum(self.cores.get(role, 0.0) for role in ("server", "redis", "persister")) / self.load.per_second


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some figures with the least and the greatest of them."""

    median: float
    least: float
    greatest: float

    @property
    def percent(self) -> float:
        """Half the distance between the extremes, in percent of the median."""
        return 50 * (self.greatest - self.least) / self.median if self.median else 0.0


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError when there are none."""
    if not values:
        raise ValueError("a spread needs at least one figure")
    return Spread(median(values), min(values), max(values))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that `share` (0 to 1) of them do not exceed; 0 when there are none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Our figure over theirs, taken round by round, so that an hour's drift of the machine falls out.

    Raises ValueError when the rounds do not pair off, or when the other side measured nothing.
    """
    if len(ours) != len(theirs) or not all(theirs):
        raise ValueError("a ratio needs rounds in pairs, with something measured in each")
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def median_cores(rounds: Sequence[Round]) -> dict[str, float]:
    """The median of the cores used, by role, over the rounds."""
    roles = dict.fromkeys(role for one in rounds for role in one.cores)
    return {role: median(one.cores.get(role, 0.0) for one in rounds) for role in roles}


def bottleneck(cores: Mapping[str, float], machine_cores: int, servers: int) -> str:
    """Which part had no more to give, told from the cores that each used; `servers` is how many share that role.

    The generator comes first: where it is the limit, every other figure is only a lower bound.
    """
    if cores.get("generator", 0.0) >= BUSY_CORES:
        return "generator"
    if cores.get("server", 0.0) >= BUSY_CORES * servers:
        return "server"
    if cores.get("redis", 0.0) >= BUSY_CORES:
        return "redis"
    if sum(cores.values()) >= FULL_SHARE * machine_cores:
        return "machine"
    return "none"
