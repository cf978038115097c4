"""What an audit finds: one event's numbers on both sides, and each difference with what it means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from booking.domain.model import Booking

DIFFERENCES_MAX = 100
"""Differences that are listed of one event; beyond that they are counted."""

MEANINGS: Mapping[str, str] = {
    "shard_lost": "Redis does not hold the shard that the database knows; nothing of it is sold. Run booking restore.",
    "event_missing": "One side has no such event. If it is Redis, run booking restore.",
    "seq": "The database has not reached Redis: the persister is behind or not running (see /readyz, then audit again) "
    "or an old copy of the database was put back (see booking doctor).",
    "seq_gap": "Changes are missing from the database's record of the event; keep both sides and report it.",
    "capacity": "Capacity is not available + held + sold. Pause the sale and report it.",
    "counter": "A counter is not what the bookings add up to.",
    "rule": "The two sides sell by different rules. PATCH the event with the right one, and audit again.",
    "booking": "The two sides have different bookings of this user. After an outage of Redis, run booking restore.",
    "two_bookings": "This user has more than one live booking of the event.",
    "inversion": "This booking was given tickets after one that had joined the waiting list later.",
    "place": "The waiting list does not have this user where the booking says.",
    "hold": "The list of holds does not have this user's hold as the booking says.",
    "unreadable": "This user's record in Redis cannot be read.",
}
"""Every kind of difference, and what it means to whoever has to do something about it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing on which the sides differ, or which cannot be."""

    kind: str
    """A key of MEANINGS."""
    user_id: str | None
    redis: Any
    database: Any


@dataclass(slots=True)
class EventAudit:
    """One event's audit."""

    event_id: int
    seq_redis: int | None = None
    seq_database: int | None = None
    redis: dict[str, int] = field(default_factory=dict)
    database: dict[str, int] = field(default_factory=dict)
    """Counters by the names that an event has in an answer, both as of `seq_redis`."""
    bookings: int = 0
    """Live bookings that were compared."""
    unsettled: int = 0
    """Users whose booking changed each time it was looked at; nothing is said of them."""
    differences: list[Difference] = field(default_factory=list)
    more_differences: int = 0
    """Those beyond DIFFERENCES_MAX."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.differences

    def find(self, kind: str, user_id: str | None = None, redis: Any = None, database: Any = None) -> None:
        """Notes a difference."""
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(Difference(kind, user_id, redis, database))
        else:
            self.more_differences += 1


def booking_as_json(booking: Booking | None) -> dict[str, object] | None:
    """A booking as a difference shows it."""
    if booking is None:
        return None
    return {
        "id": booking.id,
        "quantity": booking.quantity,
        "status": booking.status.value,
        "source": booking.source.value,
        "created_at_ms": booking.created_at_ms,
        "expires_at_ms": booking.expires_at_ms,
    }
