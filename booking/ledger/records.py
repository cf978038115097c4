"""What the ledger answers with, where the domain has no word of its own for it."""

from dataclasses import dataclass

from booking.domain.model import Rules


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """How far one shard's stream is applied: the id of its last applied entry, `0-0` for none, within an epoch."""

    epoch: str
    cursor: str
    accounts_named: bool = True
    """Whether the bookings of accounts are under `account:<id>` (see migration 0003)."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event as its changes add up to; the counters are `Ledger.counts`. Milliseconds since 1970 in UTC."""

    id: int
    rules: Rules
    created_at_ms: int
    seq: int
    """The highest `seq` applied, of a change of the event or of one of its bookings."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many bookings, and how many tickets they are for."""

    bookings: int
    tickets: int


@dataclass(frozen=True, slots=True)
class SeqGap:
    """Changes of an event that are missing, both ends included."""

    first: int
    last: int
