"""The rows of the bench: what can be measured by itself, by the name that `--only` takes, and how much of it."""

from dataclasses import dataclass
from enum import Enum


class Row(Enum):
    """One thing to measure. The value says what it is, for --help and for whoever misspelled its name."""

    THROUGHPUT = "bookings a second beside the rivals, and at each worker count"
    STORM = "everybody looks at one event"
    START = "the start of `booking serve`"
    LATENCY = "open-loop latency at half of the top rate"
    MEMORY = "Redis memory a booking"
    PERSISTER = "rows a second into SQLite and PostgreSQL"
    LARGE = "an event of 1,000,000 live bookings and 100,000 waiting"
    EVENTS = "10,000 events"
    POSITION = "one's place among 1,000,000 waiting"
    EXPORT = "the export of 1,000,000 bookings"
    RESTORE = "1,000,000 bookings brought back from SQL"
    LISTENERS = "5,000 live listeners"

    @property
    def word(self) -> str:
        """What `--only` calls it."""
        return self.name.lower()


ALL = frozenset(Row)


def chosen(words: str) -> frozenset[Row]:
    """The rows of `large,restore`. Raises ValueError that lists the names there are."""
    known = {row.word: row for row in Row}
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    unknown = [word for word in wanted if word not in known]
    if unknown or not wanted:
        raise ValueError(f"there is no row {', '.join(unknown) or 'named'}; there are {', '.join(known)}")
    return frozenset(known[word] for word in wanted)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    rounds: int
    seconds: int
    more_workers: tuple[int, ...] = ()
    rows: frozenset[Row] = ALL
    scale: float = 1.0
    """What the sizes of the large rows are multiplied with."""
    sold_out: bool = False
    profile: bool = False

    def sized(self, number: int) -> int:
        """So many at this scale, and never fewer than ten."""
        return max(10, round(number * self.scale))


QUICK = Extent(rounds=2, seconds=2, more_workers=(2,), scale=0.02)
FULL = Extent(rounds=5, seconds=8, more_workers=(2, 3))
