"""How far SQL is behind Redis."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lag:
    """What a shard's stream holds that SQL does not have yet."""

    entries: int
    oldest_ms: int
    """Milliseconds since the oldest of them was written; 0 when there is none."""
    whole: bool
    """False: Redis does not hold the shard that the service was founded on, and nothing is sold from it."""
    newest: str = ""
    """The id of the newest of them; empty when there is none."""
    trimmed_to: str = ""
    """The id up to which entries were let go, since SQL had them; empty where nobody asked, or none was."""
