"""The queries for users and audits. Long lists are read in pages, so that none is in memory as a whole."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, and_, desc, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange
from booking.domain.details import details_from_text
from booking.domain.model import Booking, BookingStatus, PaymentOutcome, Rules, Source
from booking.ledger.fold import RULE_COLUMNS, rules_from_text
from booking.ledger.records import Count, EventRecord, SeqGap
from booking.ledger.tables import SKIPPED, bookings, changes, events, payments

LIVE = (BookingStatus.CONFIRMED, BookingStatus.HELD, BookingStatus.WAITING)
"""The statuses of live bookings; a user has at most one live booking of an event."""

# A look-up is faster than a call of the enum, and there may be millions of rows.
_STATUSES = {status.value: status for status in BookingStatus}
_SOURCES = {source.value: source for source in Source}
_KINDS = {kind.value: kind for kind in ChangeKind}

BOOKING_COLUMNS = (
    bookings.c.event_id,
    bookings.c.number,
    bookings.c.user_id,
    bookings.c.quantity,
    bookings.c.status,
    bookings.c.source,
    bookings.c.created_at_ms,
    bookings.c.expires_at_ms,
    bookings.c.payment_id,
)

GAPS_MAX = 1_000
"""Rows that `seq_gaps`, `inversions` and `users_with_several` return, at most."""


async def event(connection: AsyncConnection, event_id: int) -> EventRecord | None:
    """One event; None if there is no such event."""
    row = (await connection.execute(select(events).where(events.c.id == event_id))).mappings().one_or_none()
    if row is None:
        return None
    rules = Rules(**{name: row[name] for name in RULE_COLUMNS}, details=details_from_text(row["details"] or ""))
    return EventRecord(row["id"], rules, row["created_at_ms"], row["seq"], row["organizer_id"])


async def seqs(connection: AsyncConnection, event_ids: Collection[int]) -> dict[int, int]:
    """The `seq` of each of these events that exists."""
    found = await connection.execute(select(events.c.id, events.c.seq).where(events.c.id.in_(event_ids)))
    return {row.id: row.seq for row in found}


async def event_ids(connection: AsyncConnection) -> list[int]:
    """Every event's id, in order."""
    return list((await connection.execute(select(events.c.id).order_by(events.c.id))).scalars())


async def last_event_id(connection: AsyncConnection) -> int:
    """The highest event id; 0 if there is none."""
    highest = (await connection.execute(select(func.max(events.c.id)))).scalar_one()
    return highest or 0


async def next_number(connection: AsyncConnection, event_id: int, after: int) -> int | None:
    """The lowest number above `after` that a booking of the event has; None if there is none."""
    numbers = select(func.min(bookings.c.number)).where(bookings.c.event_id == event_id, bookings.c.number > after)
    found: int | None = (await connection.execute(numbers)).scalar_one()
    return found


async def live_span(connection: AsyncConnection, event_id: int, after: int, upto: int) -> list[Booking]:
    """An event's live bookings with a number above `after` and up to `upto`, in order.

    By a range of numbers, not by a limit: PostgreSQL would use the index by status and sort all other rows each time.
    """
    rows = await connection.execute(
        select(*BOOKING_COLUMNS)
        .where(
            bookings.c.event_id == event_id,
            bookings.c.number > after,
            bookings.c.number <= upto,
            bookings.c.status.in_(LIVE),
        )
        .order_by(bookings.c.number)
    )
    return [booking_of(row) for row in rows]


async def counts(connection: AsyncConnection, event_id: int) -> tuple[int, dict[BookingStatus, Count]]:
    """An event's `seq` (0 if it has no bookings), and the numbers of its bookings and tickets for every status."""
    seq = select(events.c.seq).where(events.c.id == event_id).scalar_subquery()  # from the same snapshot
    rows = await connection.execute(
        select(seq, bookings.c.status, func.count(), func.sum(bookings.c.quantity))
        .where(bookings.c.event_id == event_id)
        .group_by(bookings.c.status)
    )
    seqs, counted = [0], dict.fromkeys(BookingStatus, Count(0, 0))
    for as_of, status, number, tickets in rows:
        seqs.append(as_of)
        counted[BookingStatus(status)] = Count(number, int(tickets))
    return seqs[-1], counted


async def span_as_of(connection: AsyncConnection, event_id: int, after: int, upto: int, seq: int) -> list[Booking]:
    """An event's bookings with a number above `after` and up to `upto`, in order, as they were at `seq`.

    No snapshot is needed: a booking that has changed since is read from the changes, which are append-only.
    """
    rows = list(
        await connection.execute(
            select(*BOOKING_COLUMNS, bookings.c.seq)
            .where(
                bookings.c.event_id == event_id,
                bookings.c.number > after,
                bookings.c.number <= min(upto, seq),
            )
            .order_by(bookings.c.number)
        )
    )
    since = [row.number for row in rows if row.seq > seq]
    before = await _last_changes(connection, event_id, since, seq)
    return [before[row.number] if row.seq > seq else booking_of(row[: len(BOOKING_COLUMNS)]) for row in rows]


async def _last_changes(connection: AsyncConnection, event_id: int, numbers: list[int], seq: int) -> dict[int, Booking]:
    """Each of these bookings after its last change up to `seq`, by number."""
    if not numbers:
        return {}
    of_these = (changes.c.event_id == event_id, changes.c.number.in_(numbers), changes.c.seq <= seq)
    columns = (changes.c[column.name] for column in BOOKING_COLUMNS)
    # A booking's number is its first change's seq, so this lower bound lets the database use the primary key.
    query = select(*columns).where(*of_these, changes.c.seq >= min(numbers)).order_by(changes.c.seq)
    return {row.number: booking_of(row) for row in await connection.execute(query)}


async def rules_as_of(connection: AsyncConnection, event_id: int, seq: int) -> Rules | None:
    """An event's rules at `seq`; None if it did not exist then."""
    told = (
        select(changes.c.rules)
        .where(changes.c.event_id == event_id, changes.c.seq <= seq, changes.c.rules.is_not(None))
        .order_by(changes.c.seq.desc())
        .limit(1)
    )
    text = (await connection.execute(told)).scalar_one_or_none()
    if text is None:
        return None
    rules, has_details = rules_from_text(text)
    if not has_details:  # the details of an earlier change still hold; in a name the quotes would be escaped
        text = (await connection.execute(told.where(changes.c.rules.contains('"details":')))).scalar_one_or_none()
        rules = rules if text is None else replace(rules, details=rules_from_text(text)[0].details)
    return rules


async def live_of(connection: AsyncConnection, event_id: int, users: list[str]) -> dict[str, Booking]:
    """The live bookings of these users for an event, by user."""
    # `+ 0` keeps SQLite from using the primary key, with which it would read all bookings of the event.
    of_event = bookings.c.event_id + 0 == event_id
    rows = await connection.execute(
        select(*BOOKING_COLUMNS).where(bookings.c.user_id.in_(users), of_event, bookings.c.status.in_(LIVE))
    )
    return {row.user_id: booking_of(row) for row in rows}


async def inversions(connection: AsyncConnection, event_id: int) -> list[Booking]:
    """Bookings that were promoted after one that had joined the waiting list later, in their current state."""
    previous = func.max(changes.c.number).over(order_by=changes.c.seq, rows=(None, -1))
    steps = (
        select(changes.c.number, previous.label("before"))
        .where(changes.c.event_id == event_id, changes.c.kind == ChangeKind.PROMOTED.value)
        .subquery()
    )
    overtaken = select(steps.c.number).where(steps.c.number < steps.c.before).limit(GAPS_MAX)
    rows = await connection.execute(
        select(*BOOKING_COLUMNS).where(bookings.c.event_id == event_id, bookings.c.number.in_(overtaken))
    )
    return [booking_of(row) for row in rows]


async def users_with_several(connection: AsyncConnection, event_id: int) -> list[str]:
    """Users with more than one live booking of an event."""
    rows = await connection.execute(
        select(bookings.c.user_id)
        .where(bookings.c.event_id == event_id, bookings.c.status.in_(LIVE))
        .group_by(bookings.c.user_id)
        .having(func.count() > 1)
        .limit(GAPS_MAX)
    )
    return list(rows.scalars())


async def seq_gaps(connection: AsyncConnection, event_id: int) -> list[SeqGap]:
    """The gaps in an event's changes below its highest `seq`, without those that `skip_numbers` has made."""
    # The event's own `seq` is read first: changes that are committed after that are then no gap.
    claimed = (await connection.execute(select(events.c.seq).where(events.c.id == event_id))).scalar_one_or_none() or 0
    of_event = changes.c.event_id == event_id
    previous = func.coalesce(func.lag(changes.c.seq).over(order_by=changes.c.seq), 0)
    steps = select(previous.label("before"), changes.c.seq, changes.c.source).where(of_event).subquery()
    is_gap = (steps.c.seq != steps.c.before + 1) & steps.c.source.is_distinct_from(SKIPPED)
    rows = await connection.execute(select(steps).where(is_gap).order_by(steps.c.seq).limit(GAPS_MAX))
    gaps = [SeqGap(row.before + 1, row.seq - 1) for row in rows]
    last = (await connection.execute(select(func.coalesce(func.max(changes.c.seq), 0)).where(of_event))).scalar_one()
    return [*gaps, SeqGap(last + 1, claimed)] if claimed > last else gaps


async def changes_page(connection: AsyncConnection, event_id: int, after_seq: int, limit: int) -> list[Change]:
    """An event's changes with a `seq` greater than `after_seq`, in order."""
    rows = await connection.execute(
        select(changes)
        .where(changes.c.event_id == event_id, changes.c.seq > after_seq)
        .order_by(changes.c.seq)
        .limit(limit)
    )
    return [change_of(row) for row in rows.all()]


async def user_page(
    connection: AsyncConnection, user_id: str, limit: int, starting_after: tuple[int, int] | None
) -> list[Booking] | None:
    """A user's bookings, newest first; None if `starting_after` is not one of their bookings."""
    newest_first = (bookings.c.created_at_ms, bookings.c.event_id, bookings.c.number)
    refund = and_(
        payments.c.event_id == bookings.c.event_id,
        payments.c.payment_id == bookings.c.payment_id,
        payments.c.number == bookings.c.number,  # not the booking that a late payment came to
        payments.c.outcome == PaymentOutcome.REFUND_DUE.value,
    )
    query = (
        select(*BOOKING_COLUMNS, bookings.c.updated_at_ms, payments.c.outcome, payments.c.done_at_ms)
        .join_from(bookings, payments, refund, isouter=True)
        .where(bookings.c.user_id == user_id)
    )
    if starting_after is not None:
        event_id, number = starting_after
        at = await connection.execute(
            select(bookings.c.created_at_ms).where(
                bookings.c.event_id == event_id, bookings.c.number == number, bookings.c.user_id == user_id
            )
        )
        created_at_ms = at.scalar_one_or_none()
        if created_at_ms is None:
            return None
        query = query.where(tuple_(*newest_first) < (created_at_ms, event_id, number))
    rows = await connection.execute(query.order_by(*map(desc, newest_first)).limit(limit))
    return [_with_end(booking_of(row[:-3]), *row[-3:]) for row in rows]


def _with_end(booking: Booking, updated_at_ms: int, outcome: str | None, done_at_ms: int | None) -> Booking:
    if booking.status in LIVE:
        return booking
    refund_done = None if outcome is None else done_at_ms is not None
    return replace(booking, ended_at_ms=updated_at_ms, refund_done=refund_done)


async def booking(connection: AsyncConnection, event_id: int, number: int) -> Booking | None:
    """One booking, in any state; None if there is none."""
    query = select(*BOOKING_COLUMNS).where(bookings.c.event_id == event_id, bookings.c.number == number)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else booking_of(row)


async def live_events(connection: AsyncConnection, user_id: str) -> list[int]:
    """The events that a user has a live booking of, by id."""
    found = select(bookings.c.event_id).where(bookings.c.user_id == user_id, bookings.c.status.in_(LIVE))
    return list(await connection.scalars(found.order_by(bookings.c.event_id)))


async def live_events_of(connection: AsyncConnection, user_ids: Sequence[str], limit: int) -> dict[str, list[int]]:
    """The events that each of these users has a live booking of, the newest ids first, up to `limit` a user."""
    place = func.row_number().over(partition_by=bookings.c.user_id, order_by=desc(bookings.c.event_id)).label("place")
    live = select(bookings.c.user_id, bookings.c.event_id, place).where(
        bookings.c.user_id.in_(user_ids), bookings.c.status.in_(LIVE)
    )
    newest = live.subquery()
    rows = await connection.execute(
        select(newest.c.user_id, newest.c.event_id).where(newest.c.place <= limit).order_by(desc(newest.c.event_id))
    )
    found: dict[str, list[int]] = {}
    for user_id, event_id in rows:
        found.setdefault(user_id, []).append(event_id)
    return found


def booking_of(row: Row[int, int, str, int, str, str, int, int | None, str | None] | Sequence[Any]) -> Booking:
    """A row of BOOKING_COLUMNS as a booking."""
    event_id, number, user_id, quantity, status, source, created_at_ms, expires_at_ms, payment_id = row
    return Booking(
        event_id,
        number,
        user_id,
        quantity,
        _STATUSES[status],
        _SOURCES[source],
        created_at_ms,
        expires_at_ms,
        payment_id=payment_id,
    )


def change_of(row: Sequence[Any]) -> Change:
    """A row of `changes`, in the order of its columns, as a change."""
    (
        event_id, seq, kind, at_ms, number, user_id, quantity, status, source, created_at_ms, expires_at_ms, rules_text,
        actor, reason, payment_id, given_back,
    ) = row  # fmt: skip
    if rules_text is not None:
        rules, has_details = rules_from_text(rules_text)
        return EventChange(event_id, seq, _KINDS[kind], at_ms, rules, user_id, actor, has_details)
    return BookingChange(
        event_id, seq, _KINDS[kind], at_ms, number, user_id, quantity, _STATUSES[status], _SOURCES[source],
        created_at_ms, expires_at_ms, actor, reason, payment_id, given_back or 0,
    )  # fmt: skip
