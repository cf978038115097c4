"""What became of a command: one status for every way a script can answer, and what comes with it."""

from dataclasses import dataclass
from enum import IntEnum

from booking.domain.model import Booking, Event

FIRST_REFUSAL = 20
"""Statuses from here on say that nothing was changed."""


class Status(IntEnum):
    """The first number of every row that a script returns. The scripts' headers name the ones they use."""

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


UNCHANGED = frozenset({Status.FOUND, Status.SEND_AGAIN})
"""Answers that are no refusals, and yet change nothing. `SEND_AGAIN` never leaves the batcher: nothing was done for the
command, since its call had done as much as one call may, and it goes first into the next one."""


# Not frozen, though nothing changes it: each request makes one, and a frozen one takes four times as long to make.
@dataclass(slots=True)
class Outcome:
    """What the atomic step decided about one booking."""

    status: Status
    booking: Booking | None = None
    wait_ms: int = 0
    """For `RATE_LIMITED`: how long until the next call is let in."""
    opens_at_ms: int = 0
    """For `SALE_NOT_OPEN`, beside `now_ms`, the time on Redis's clock at which that was said."""
    now_ms: int = 0
    first_request_id: str | None = None
    """Set where this is the first answer again: the id of the request that it was given to."""


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """What the atomic step decided about an event."""

    status: Status
    event: Event | None = None
    tickets_taken: int = 0
    """For `CAPACITY_BELOW_SOLD`: sold and held, below which the capacity cannot go."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key, and the request that first answers to it."""

    key: str
    request_id: str
