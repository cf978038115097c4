"""The result of an audit: an event's numbers on both sides, and each difference with its meaning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from booking.domain.model import Booking, Payment

DIFFERENCES_MAX = 100
"""Differences that are listed for one event; further ones are only counted."""

MEANINGS: Mapping[str, str] = {
    "shard_lost": "Redis has lost the shard that the database has; nothing is sold from it. Run booking restore.",
    "event_missing": "One side does not have the event. If it is Redis, run booking restore.",
    "seq": "The database is behind Redis: the persister is slow or not running (see /readyz, then audit again), "
    "or an old copy of the database was put back (see booking doctor).",
    "seq_gap": "The database lacks changes of the event. Keep the data of both sides and report it.",
    "capacity": "Capacity is not available + held + sold. Pause the sale and report it.",
    "counter": "A counter differs from the sum of the bookings.",
    "rule": "The two sides have different rules. PATCH the event with the right one, and audit again.",
    "organizer": "The two sides name different organizers of the event; Redis decides who may change it. After an "
    "outage of Redis, run booking restore.",
    "booking": "The two sides have different bookings of this user. After an outage of Redis, run booking restore.",
    "two_bookings": "This user has more than one live booking of the event.",
    "inversion": "This booking got its tickets after one that had joined the waiting list later.",
    "place": "This user's position on the waiting list is not the one in the booking.",
    "hold": "The end of this user's hold on the list of holds is not the one in the booking.",
    "payment": "The two sides know different payments of this user, or another outcome of one, which could come to a "
    "second booking or refund. After an outage of Redis, run booking restore.",
    "unreadable": "This user's record in Redis cannot be parsed.",
}
"""Every kind of difference, with its meaning and advice for the operator."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between the sides, or an impossible state of one of them."""

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
    """Counters of each side by their names in the API, as of `seq_redis`."""
    bookings: int = 0
    """Live bookings that were compared."""
    unsettled: int = 0
    """Users whose booking changed at each read, so that it could not be compared."""
    differences: list[Difference] = field(default_factory=list)
    more_differences: int = 0
    """The number of differences beyond DIFFERENCES_MAX."""

    unread: str = ""
    """Why the event could not be read, so that nothing is known."""

    @property
    def ok(self) -> bool:
        """Whether the event could be read, and there is no difference."""
        return not (self.differences or self.unread)

    def find(self, kind: str, user_id: str | None = None, redis: Any = None, database: Any = None) -> None:
        """Notes a difference."""
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(Difference(kind, user_id, redis, database))
        else:
            self.more_differences += 1


def booking_as_json(booking: Booking | None) -> dict[str, object] | None:
    """A booking as JSON for a difference; None if there is none."""
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


def payment_as_json(payment: Payment) -> dict[str, object]:
    """A payment as JSON for a difference."""
    return {
        "payment_id": payment.id,
        "number": payment.number,
        "quantity": payment.quantity,
        "outcome": payment.outcome,
        "was_cancelled": payment.was_cancelled,
    }
