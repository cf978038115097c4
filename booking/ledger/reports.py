"""An organizer's reports on a sale: sums over an event's changes, and its bookings in pages."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import case, desc, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.changes import ChangeKind
from booking.domain.model import Booking, BookingStatus
from booking.ledger.fold import rules_from_text
from booking.ledger.ledger import Ledger
from booking.ledger.reads import BOOKING_COLUMNS, booking_of
from booking.ledger.tables import bookings, changes

MINUTE_MS = 60_000

TAKING = (ChangeKind.BOOKED, ChangeKind.HELD, ChangeKind.PROMOTED)
"""Changes that take tickets. A confirmation takes none; it keeps those of its hold."""

GIVING_BACK = (ChangeKind.CANCELLED, ChangeKind.EXPIRED)
"""Changes that give tickets back. To leave the waiting list gives none back."""


@dataclass(frozen=True, slots=True)
class Minute:
    """The number of changes of each kind in the minute that began at `start_ms`."""

    start_ms: int
    kinds: dict[ChangeKind, int]


async def minutes(ledger: Ledger, event_id: int) -> list[Minute]:
    """Every minute in which something happened to a booking of the event, in order."""
    # at_ms - at_ms % 60000 works on every database; the division of integers differs between them.
    start = (changes.c.at_ms - changes.c.at_ms % MINUTE_MS).label("start")
    query = (
        select(start, changes.c.kind, func.count())
        .where(changes.c.event_id == event_id, changes.c.number.is_not(None))
        .group_by(start, changes.c.kind)
        .order_by(start)
    )
    found: dict[int, dict[ChangeKind, int]] = {}
    async with ledger.reading() as connection:
        for start_ms, kind, count in await connection.execute(query):
            found.setdefault(int(start_ms), {})[ChangeKind(kind)] = count
    return [Minute(start_ms, kinds) for start_ms, kinds in found.items()]


async def kinds(ledger: Ledger, event_id: int) -> dict[ChangeKind, int]:
    """The number of the event's changes of each kind."""
    query = select(changes.c.kind, func.count()).where(changes.c.event_id == event_id).group_by(changes.c.kind)
    async with ledger.reading() as connection:
        return {ChangeKind(kind): count for kind, count in await connection.execute(query)}


async def sold_out_at_ms(ledger: Ledger, event_id: int) -> int | None:
    """When the event was sold out for the first time, in milliseconds; None if it has not been.

    It compares the running sum of tickets taken and given back with the capacity in force at each change.
    """
    async with ledger.reading() as connection:
        capacities = await _capacities(connection, event_id)
        delta = case(
            (changes.c.kind.in_([kind.value for kind in TAKING]), changes.c.quantity),
            (changes.c.kind.in_([kind.value for kind in GIVING_BACK]), -changes.c.quantity),
            else_=0,
        )
        taken = func.sum(delta).over(order_by=changes.c.seq)
        running = (
            select(changes.c.seq, changes.c.at_ms, taken.label("taken"))
            .where(changes.c.event_id == event_id)
            .subquery()
        )
        in_force = [running.c.seq.between(first, last) & (running.c.taken >= size) for first, last, size in capacities]
        for condition in in_force:
            query = select(running.c.at_ms).where(condition).order_by(running.c.seq).limit(1)
            at_ms: int | None = (await connection.execute(query)).scalar_one_or_none()
            if at_ms is not None:
                return at_ms
    return None


async def _capacities(connection: AsyncConnection, event_id: int) -> list[tuple[int, int, int]]:
    """Each capacity of the event, after the first and the last `seq` at which it was in force."""
    rows = await connection.execute(
        select(changes.c.seq, changes.c.rules)
        .where(changes.c.event_id == event_id, changes.c.rules.is_not(None))
        .order_by(changes.c.seq)
    )
    stretches: list[tuple[int, int]] = []
    for seq, text in rows:
        capacity = rules_from_text(text).capacity
        if not stretches or stretches[-1][1] != capacity:
            stretches.append((seq, capacity))
    ends = [first - 1 for first, _ in stretches[1:]] + [2**62]
    return [(first, end, capacity) for (first, capacity), end in zip(stretches, ends, strict=True)]


async def page(
    ledger: Ledger,
    event_id: int,
    statuses: Sequence[BookingStatus],
    limit: int,
    below: int | None = None,
) -> list[Booking] | None:
    """An event's bookings, newest first, below the number `below`. None if the event has no booking of this number.

    A booking keeps its number for ever, so pages neither skip nor repeat one.
    """
    query = select(*BOOKING_COLUMNS).where(bookings.c.event_id == event_id)
    async with ledger.reading() as connection:
        if below is not None:
            there = select(bookings.c.number).where(bookings.c.event_id == event_id, bookings.c.number == below)
            if (await connection.execute(there)).one_or_none() is None:
                return None
            query = query.where(bookings.c.number < below)
        if len(statuses) < len(BookingStatus):
            query = query.where(bookings.c.status.in_([status.value for status in statuses]))
        rows = await connection.execute(query.order_by(desc(bookings.c.number)).limit(limit))
        return [booking_of(row) for row in rows]
