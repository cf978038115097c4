"""Events and bookings; every layer uses these types."""

from dataclasses import dataclass, field
from enum import StrEnum

from booking.domain.details import NO_DETAILS, Details, Visibility

CAPACITY_MAX = 10_000_000
"""Tickets of one event, at most (contract)."""

MAX_PER_USER_MAX = 100
"""The largest `max_per_user` an organizer may set (contract)."""

HOLD_SECONDS_MAX = 86_400
"""The longest hold, in seconds (contract)."""

PAYMENTS_MAX = 32
"""The payments of a user on an event that are remembered: the last ones, for as long as the event exists."""


class BookingStatus(StrEnum):
    """The status of a booking. The first three are live: a user has at most one live booking of an event."""

    CONFIRMED = "confirmed"
    HELD = "held"
    WAITING = "waiting"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Source(StrEnum):
    """How a booking got its tickets: directly from the sale, or from the waiting list."""

    SALE = "sale"
    WAITLIST = "waitlist"


class PaymentOutcome(StrEnum):
    """What a payment came to. It comes to one of them once, and that never changes."""

    BOOKING = "booking"
    """A booking was confirmed for it, in time or late. What becomes of the booking later is another matter."""
    REFUND_DUE = "refund_due"
    """It came too late for its tickets, so the money has to be given back."""


class EventState(StrEnum):
    """The state of a sale at a time of Redis's clock."""

    SCHEDULED = "scheduled"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that an organizer sets for an event. Times are milliseconds since 1970 in UTC."""

    name: str
    capacity: int
    max_per_user: int = 1
    hold_seconds: int = 0
    waitlist_limit: int | None = None
    opens_at_ms: int | None = None
    closes_at_ms: int | None = None
    paused: bool = False
    details: Details = NO_DETAILS

    @property
    def offer_seconds(self) -> int:
        """How long the hold of a user is who was promoted from the waiting list; 0: the booking is confirmed."""
        return self.hold_seconds if self.details.offer_seconds is None else self.details.offer_seconds


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment that was begun for a hold, and what is known of the hold: the provider may tell of it much later."""

    id: str
    user_id: str
    number: int
    """The hold's."""
    quantity: int
    created_at_ms: int
    source: Source
    outcome: PaymentOutcome | None = None
    """None while it is open."""
    was_cancelled: bool = False
    """Whether its hold was cancelled; only while it is open."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event with its counters, as of `seq` and of `now_ms` by Redis's clock.

    Always `rules.capacity == available + tickets_held + tickets_sold`.
    """

    id: int
    rules: Rules
    available: int
    tickets_sold: int
    tickets_held: int
    bookings_count: int
    held_count: int
    waiting_count: int
    seq: int
    created_at_ms: int
    now_ms: int
    waiting_tickets: int = 0
    """The tickets that all users on the waiting list wait for."""
    organizer_id: str | None = None
    """The user id that created the event; None for an event that is older than this field."""
    epoch: str = field(default="", compare=False)
    """The history in the epoch of the event's shard. A restore begins another: the same `seq` may be another state."""
    rules_version: str = field(default="0", compare=False)
    """Differs after each change of the rules. `0` until the first change after a restore."""

    @property
    def rules_tag(self) -> str:
        """Names this version of the rules in this history of the event; `lua/change.lua` makes the same text."""
        return f"{self.epoch}-{self.rules_version}"

    @property
    def state(self) -> EventState:
        """The state at `now_ms`. An archived event is `CLOSED`. `PAUSED` comes before the sale's window.

        This is the order of the checks of `book`.
        """
        rules = self.rules
        if rules.details.visibility is Visibility.ARCHIVED:
            return EventState.CLOSED
        if rules.paused:
            return EventState.PAUSED
        if rules.opens_at_ms is not None and self.now_ms < rules.opens_at_ms:
            return EventState.SCHEDULED
        if rules.closes_at_ms is not None and self.now_ms >= rules.closes_at_ms:
            return EventState.CLOSED
        return EventState.OPEN


# Not frozen, although it is never changed: each request creates one, and a frozen one takes four times as long.
@dataclass(slots=True)
class Booking:
    """One user's booking of one event. `number` is the event's `seq` at the change that created it."""

    event_id: int
    number: int
    user_id: str
    quantity: int
    status: BookingStatus
    source: Source
    created_at_ms: int
    expires_at_ms: int | None = None
    """The end of the hold; only if `held`."""
    position: int | None = None
    """The position on the waiting list, from 1; only if `waiting`, and only if the position was read."""
    payment_id: str | None = None
    """The payment that was begun for it, or that it was booked for; None if there was none."""
    ended_at_ms: int | None = field(default=None, compare=False)
    """When it was cancelled or expired; only in a user's list of bookings."""
    refund_done: bool | None = field(default=None, compare=False)
    """Whether the refund of its payment is done; None: none is due. Only in a user's list of bookings."""

    @property
    def id(self) -> str:
        """The booking's id in the API."""
        return f"{self.event_id}-{self.number}"
