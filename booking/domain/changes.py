"""The entries of the change stream: one for each change of an event or of one of its bookings."""

from dataclasses import dataclass
from enum import StrEnum

from booking.domain.model import BookingStatus, Rules, Source


class ChangeKind(StrEnum):
    """What happened. The first two are changes of the event itself, the rest of one of its bookings."""

    CREATED = "created"
    CHANGED = "changed"
    BOOKED = "booked"
    HELD = "held"
    JOINED = "joined"
    CONFIRMED = "confirmed"
    PROMOTED = "promoted"
    CANCELLED = "cancelled"
    LEFT = "left"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class BookingChange:
    """A change of a booking, with the booking as it stands after it.

    `seq` counts the changes of one event from 1 without a gap. `number` is the `seq` of the change that made the
    booking, so `(event_id, number)` names it. All times are milliseconds since 1970 on Redis's clock.
    """

    event_id: int
    seq: int
    kind: ChangeKind
    at_ms: int
    number: int
    user_id: str
    quantity: int
    status: BookingStatus
    source: Source
    created_at_ms: int
    expires_at_ms: int | None


@dataclass(frozen=True, slots=True)
class EventChange:
    """An event made (`created`, always `seq` 1) or changed by its organizer, with its rules as they are after it."""

    event_id: int
    seq: int
    kind: ChangeKind
    at_ms: int
    rules: Rules


Change = BookingChange | EventChange


@dataclass(frozen=True, slots=True)
class ShardBatch:
    """Consecutive entries of one shard's stream, and the ids that bound them.

    `after` is the id of the last entry applied before these (`0-0` for none), `upto` that of the last of these.
    """

    shard: int
    epoch: str
    after: str
    upto: str
    changes: tuple[Change, ...]
