"""One sale as a load generator needs to know it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sale:
    """Where to send bookings, what to send, and which event it is."""

    url: str
    body: str
    """Empty: everybody just looks."""
    event_id: int
    refuses: bool = False
    """Whether buyers are refused once it is sold out (409); else they wait (202)."""
    events: int = 1
    """Over how many events buyers spread; their ids follow on `event_id`."""
    lookers: Path | None = None
    """Tokens, used again and again, of those who look at what is theirs; without a body only."""
