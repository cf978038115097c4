"""An organizer's reports on a sale: sums over an event's changes, and its bookings in pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Text, and_, case, cast, desc, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.changes import ChangeKind
from booking.domain.model import Booking, BookingStatus
from booking.ledger.fold import rules_from_text
from booking.ledger.ledger import Ledger
from booking.ledger.reads import BOOKING_COLUMNS, booking_of
from booking.ledger.records import AccountEmail
from booking.ledger.tables import bookings, changes, users
from booking.settings import ACCOUNT_PREFIX

MINUTE_MS = 60_000

SPAN = 50_000
"""Changes that one query sums up, in some 50 ms."""

TAKING = (ChangeKind.BOOKED, ChangeKind.HELD, ChangeKind.PROMOTED)
"""Changes that take tickets. A confirmation takes none; it keeps those of its hold."""

GIVING_BACK = (ChangeKind.CANCELLED, ChangeKind.EXPIRED)
"""Changes that give tickets back. To leave the waiting list gives none back.

`REDUCED` gives a part back, unless the booking waits.
"""


@dataclass(frozen=True, slots=True)
class Minute:
    """The number of changes of each kind in the minute that began at `start_ms`."""

    start_ms: int
    kinds: dict[ChangeKind, int]


@dataclass(frozen=True, slots=True)
class History:
    """What an event's changes say about its sale."""

    minutes: list[Minute]
    """Every minute in which something happened to a booking, in order."""
    sold_out_at_ms: int | None
    """When the event was sold out for the first time, in milliseconds; None if it has not been."""


async def history(ledger: Ledger, event_id: int, seq: int, check: Callable[[], None] = lambda: None) -> History:
    """The history of an event up to `seq`. An event that the database does not have yet has an empty one.

    It reads each change a fixed number of times, in spans of SPAN changes. Before each span it calls `check`, which may
    raise to end it.
    """
    found: dict[int, dict[ChangeKind, int]] = {}
    sold_out_at_ms, taken = None, 0
    async with ledger.reading() as connection:
        capacities = await _capacities(connection, event_id, seq)
    for first in range(1, seq + 1, SPAN):
        check()
        last = min(first + SPAN - 1, seq)
        async with ledger.reading() as connection:
            await _count_by_minute(connection, event_id, first, last, found)
            for start, end, capacity in capacities:
                if sold_out_at_ms is None and start <= last and end >= first:
                    span = max(start, first), min(end, last)
                    sold_out_at_ms, taken = await _sold_out(connection, event_id, span, capacity, taken)
    return History([Minute(start_ms, kinds) for start_ms, kinds in sorted(found.items())], sold_out_at_ms)


async def _count_by_minute(
    connection: AsyncConnection, event_id: int, first: int, last: int, found: dict[int, dict[ChangeKind, int]]
) -> None:
    """Adds the changes from `first` to `last` to the minutes in `found`."""
    # at_ms - at_ms % 60000 works on every database; the division of integers differs between them.
    start = (changes.c.at_ms - changes.c.at_ms % MINUTE_MS).label("start")
    query = (
        select(start, changes.c.kind, func.count())
        .where(changes.c.event_id == event_id, changes.c.seq.between(first, last), changes.c.number.is_not(None))
        .group_by(start, changes.c.kind)
    )
    for start_ms, kind, count in await connection.execute(query):
        kinds = found.setdefault(int(start_ms), {})
        kinds[ChangeKind(kind)] = kinds.get(ChangeKind(kind), 0) + count


async def _sold_out(
    connection: AsyncConnection, event_id: int, span: tuple[int, int], capacity: int, taken: int
) -> tuple[int | None, int]:
    """When the tickets taken first reached `capacity` within the span, and the tickets taken at the span's end.

    `taken` is their number at its beginning. The capacity does not change within the span.
    """
    delta = case(
        (changes.c.kind.in_([kind.value for kind in TAKING]), changes.c.quantity),
        (changes.c.kind.in_([kind.value for kind in GIVING_BACK]), -changes.c.quantity),
        (
            and_(changes.c.kind == ChangeKind.REDUCED.value, changes.c.status != BookingStatus.WAITING.value),
            -changes.c.given_back,
        ),
        else_=0,
    )
    running = (
        select(changes.c.seq, delta.label("delta"), func.sum(delta).over(order_by=changes.c.seq).label("taken"))
        .where(changes.c.event_id == event_id, changes.c.seq.between(*span))
        .subquery()
    )
    reached = case((running.c.taken >= capacity - taken, running.c.seq))
    row = (await connection.execute(select(func.min(reached), func.sum(running.c.delta)))).one()
    taken += int(row[1] or 0)
    if row[0] is None:
        return None, taken
    at_ms = select(changes.c.at_ms).where(changes.c.event_id == event_id, changes.c.seq == row[0])
    return (await connection.execute(at_ms)).scalar_one(), taken


async def _capacities(connection: AsyncConnection, event_id: int, seq: int) -> list[tuple[int, int, int]]:
    """Each capacity of the event up to `seq`, after the first and the last `seq` at which it was in force."""
    rows = await connection.execute(
        select(changes.c.seq, changes.c.rules)
        .where(changes.c.event_id == event_id, changes.c.seq <= seq, changes.c.rules.is_not(None))
        .order_by(changes.c.seq)
    )
    stretches: list[tuple[int, int]] = []
    for first, text in rows:
        capacity = rules_from_text(text)[0].capacity
        if not stretches or stretches[-1][1] != capacity:
            stretches.append((first, capacity))
    firsts = [first for first, _ in stretches]
    return [
        (first, next_first - 1, capacity)
        for (first, capacity), next_first in zip(stretches, [*firsts[1:], seq + 1], strict=False)
    ]


@dataclass(frozen=True, slots=True)
class Search:
    """What a user id, or the email of its account, begins with."""

    text: str
    email_key: str
    """The same in the form in which emails are compared."""

    def finds(self, user_id: str, email: AccountEmail | None) -> bool:
        """Whether the search finds a user."""
        return user_id.startswith(self.text) or (email is not None and email.key.startswith(self.email_key))


async def page(
    ledger: Ledger,
    event_id: int,
    statuses: Sequence[BookingStatus],
    limit: int,
    after: int | None = None,
    *,
    search: Search | None = None,
    oldest_first: bool = False,
) -> list[Booking] | None:
    """An event's bookings, newest first, after the number `after`. None if the event has no booking of this number.

    A booking keeps its number for ever, so pages neither skip nor repeat one. The oldest booking that waits is the head
    of the waiting list.
    """
    query = select(*BOOKING_COLUMNS).where(bookings.c.event_id == event_id)
    async with ledger.reading() as connection:
        if after is not None:
            there = select(bookings.c.number).where(bookings.c.event_id == event_id, bookings.c.number == after)
            if (await connection.execute(there)).one_or_none() is None:
                return None
            query = query.where(bookings.c.number > after if oldest_first else bookings.c.number < after)
        if len(statuses) < len(BookingStatus):
            query = query.where(bookings.c.status.in_([status.value for status in statuses]))
        if search is not None:
            # Not LIKE: to SQLite it is the same in capitals.
            of_email = func.substr(users.c.email_key, 1, len(search.email_key)) == search.email_key
            accounts = select(literal(ACCOUNT_PREFIX) + cast(users.c.id, Text)).where(of_email, users.c.email != "")
            begins_so = func.substr(bookings.c.user_id, 1, len(search.text)) == search.text
            query = query.where(begins_so | bookings.c.user_id.in_(accounts))
        order = bookings.c.number if oldest_first else desc(bookings.c.number)
        rows = await connection.execute(query.order_by(order).limit(limit))
        return [booking_of(row) for row in rows]
