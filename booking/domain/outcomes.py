"""The outcomes of commands: a status for each answer of a script, and the data that belongs to it."""

from dataclasses import dataclass
from enum import IntEnum

from booking.domain.model import Booking, Event

FIRST_REFUSAL = 20
"""Statuses from this number on are refusals: nothing was changed."""


class Status(IntEnum):
    """The first number of every row that a script returns. Each script's header names the statuses it uses."""

    BOOKED = 1
    HELD = 2
    JOINED = 3
    ALREADY_WAITING = 4
    CONFIRMED = 5
    CANCELLED = 6
    LEFT = 7
    CREATED = 8
    CHANGED = 9
    MORE_TO_CHANGE = 10
    FOUND = 11
    SEND_AGAIN = 12
    REDUCED = 13
    CHECKED_OUT = 14

    EVENT_NOT_FOUND = 20
    BOOKING_NOT_FOUND = 21
    ALREADY_BOOKED = 22
    SALE_PAUSED = 23
    SALE_NOT_OPEN = 24
    SALE_CLOSED = 25
    QUANTITY_OVER_LIMIT = 26
    SOLD_OUT = 27
    WAITLIST_FULL = 28
    HOLD_EXPIRED = 29
    STILL_WAITING = 30
    IDEMPOTENCY_KEY_REUSED = 31
    RATE_LIMITED = 32
    CAPACITY_BELOW_SOLD = 33
    WINDOW_INVERTED = 34
    EVENT_EXISTS = 35
    LEDGER_BEHIND = 36
    PRECONDITION_FAILED = 37
    DATES_INVERTED = 38
    PAYMENT_MISMATCH = 39
    REFUND_DUE = 40
    """Refused; the refund is recorded, once for each payment."""
    PAYMENT_REQUIRED = 41


UNCHANGED = frozenset({Status.FOUND, Status.SEND_AGAIN})
"""Statuses that are not refusals and change nothing. `SEND_AGAIN` is only for the batcher: the call had done as much
work as one call may, so nothing was done for the command, and it goes first into the next call."""


# Not frozen, although it is never changed: each request creates one, and a frozen one takes four times as long.
@dataclass(slots=True)
class Outcome:
    """The decision of a script about one booking."""

    status: Status
    booking: Booking | None = None
    wait_ms: int = 0
    """For `RATE_LIMITED`: how long until the next call is allowed."""
    opens_at_ms: int = 0
    """For `SALE_NOT_OPEN`; `now_ms` is the time of the answer by Redis's clock."""
    now_ms: int = 0
    payment_url: str | None = None
    """For `CHECKED_OUT`: the template of the link behind which the hold is paid for, if the event has one."""
    first_request_id: str | None = None
    """If this repeats the first answer to an idempotency key: the id of the first request."""


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """The decision of a script about an event."""

    status: Status
    event: Event | None = None
    tickets_taken: int = 0
    """For `CAPACITY_BELOW_SOLD`: the tickets sold and held, which are the minimum of the capacity."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's idempotency key, and the id of the request that sends it."""

    key: str
    request_id: str
