"""How far SQL is behind Redis."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """The entries of a shard's stream that SQL does not have yet."""

    entries: int
    oldest_ms: int
    """Milliseconds since the oldest of them was written; 0 if there is none."""
    whole: bool
    """False: Redis has lost data of the shard, and nothing is sold from it."""
    newest: str = ""
    """The id of the newest of them; empty if there is none."""
    lost: str = ""
    """Acknowledged changes that Redis lacks and SQL may lack: "after upto", two ids of entries; empty if none."""
    trimmed_to: str = ""
    """The cursor that the stream was trimmed to; empty if it was not read."""


def describe_lost(shard: int, lost: str) -> str:
    """What `Lag.lost` says, for an operator: the shard, and between which times its changes are missing."""
    after, upto = lost.split(" ")
    since = "" if after == "0-0" else f" after {_time(after)}"
    return f"shard {shard}: acknowledged changes{since} up to {_time(upto)} (entry {upto})"


def _time(entry_id: str) -> str:
    seconds = int(entry_id.partition("-")[0]) / 1000
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="milliseconds")
