"""The ledger's results that are not types of the domain."""

from dataclasses import dataclass, field

from booking.domain.model import Rules


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """A shard's epoch, and its cursor: the id of the last applied entry of its stream, `0-0` for none."""

    epoch: str
    cursor: str
    accounts_named: bool = True
    """Whether the bookings of accounts are under `account:<id>` (see migration 0003)."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event after its applied changes; `Ledger.counts` has the counters. Times are milliseconds since 1970, UTC."""

    id: int
    rules: Rules
    created_at_ms: int
    seq: int
    """The highest `seq` applied, of a change of the event or of one of its bookings."""
    organizer_id: str | None = None
    """The user id that created the event; None for an event that is older than this field."""


@dataclass(frozen=True, slots=True)
class Count:
    """A number of bookings, and the number of their tickets."""

    bookings: int
    tickets: int


@dataclass(frozen=True, slots=True)
class SeqGap:
    """A gap in an event's changes: the first and the last missing `seq`."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class AccountEmail:
    """The email of an account."""

    email: str = field(repr=False)
    """As the user entered it."""
    key: str = field(repr=False)
    """In the form in which emails are compared."""
