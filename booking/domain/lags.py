"""How far SQL is behind Redis."""

from dataclasses import dataclass


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
    trimmed_to: str = ""
    """The cursor that the stream was trimmed to; empty if it was not read."""
