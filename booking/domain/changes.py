"""The entries of the change stream: one for each change of an event or of one of its bookings."""

from dataclasses import dataclass, field
from enum import StrEnum

from booking.domain.model import BookingStatus, Rules, Source


class ChangeKind(StrEnum):
    """The kind of a change. The first two are changes of the event itself; all others are changes of a booking."""

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
    """A change of a booking, with the booking after it.

    `seq` counts the changes of one event from 1 without a gap. `number` is the `seq` of the change that created the
    booking, so `(event_id, number)` identifies it. All times are milliseconds since 1970 by Redis's clock.
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
    """The creation (always `seq` 1) or a change of an event by its organizer, with the event's rules after it.

    `organizer_id` is the user id that created the event; only the creation has it.
    """

    event_id: int
    seq: int
    kind: ChangeKind
    at_ms: int
    rules: Rules
    organizer_id: str | None = None
    has_details: bool = field(default=True, compare=False)
    """False: the entry tells no details. The event has none, or an older version wrote the entry and kept them."""


Change = BookingChange | EventChange


@dataclass(frozen=True, slots=True)
class ShardBatch:
    """Consecutive entries of one shard's stream.

    `after` is the id of the last entry applied before them (`0-0` for none); `upto` is the id of their last entry.
    """

    shard: int
    epoch: str
    after: str
    upto: str
    changes: tuple[Change, ...]
