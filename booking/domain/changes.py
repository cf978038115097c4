"""The entries of the change stream: one for each change of an event or of one of its bookings."""

from dataclasses import dataclass, field
from enum import StrEnum

from booking.domain.model import Booking, BookingStatus, Rules, Source


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
    CHECKOUT = "checkout"
    """The user has begun to pay for a hold."""
    REFUND_DUE = "refund_due"
    """A payment came too late for its tickets. The booking, which has ended, stays as it is."""
    REDUCED = "reduced"
    """A part of the tickets was given back. The booking keeps its number, status and place."""


# Not frozen, although it is never changed: the persister creates one for each change, and a frozen one takes longer.
@dataclass(slots=True, unsafe_hash=True)
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
    actor: str | None = None
    """The user id that caused it, if that is not `user_id`; empty: the clock."""
    reason: str | None = None
    """What an organizer who cancelled it has said."""
    payment_id: str | None = None
    """The payment of the booking, if one was begun."""
    given_back: int = 0
    """For `REDUCED`: how many tickets were given back; `quantity` is the rest."""


@dataclass(frozen=True, slots=True)
class EventChange:
    """The creation (always `seq` 1) or a change of an event by its organizer, with the event's rules after it.

    `organizer_id` is the user id that created the event; only the creation has it. `actor` is the user id that changed
    the event; a creation does not have it.
    """

    event_id: int
    seq: int
    kind: ChangeKind
    at_ms: int
    rules: Rules
    organizer_id: str | None = None
    actor: str | None = None
    has_details: bool = field(default=True, compare=False)
    """False: the entry tells no details. The event has none, or an older version wrote the entry and kept them."""


Change = BookingChange | EventChange


def booking_of(change: BookingChange) -> Booking:
    """The booking after a change."""
    return Booking(
        change.event_id,
        change.number,
        change.user_id,
        change.quantity,
        change.status,
        change.source,
        change.created_at_ms,
        change.expires_at_ms,
        payment_id=change.payment_id,
    )


STRIPE = "stripe"
"""The actor of the changes that Stripe's events cause (contract)."""

_FREED = (ChangeKind.PROMOTED, ChangeKind.EXPIRED)


def actor_of(change: Change) -> str | None:
    """The user id whose call caused a change; None: the clock did, or an older version has not recorded it."""
    if change.actor is not None:
        return change.actor or None
    if isinstance(change, EventChange):
        return change.organizer_id
    return None if change.kind in _FREED else change.user_id


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
