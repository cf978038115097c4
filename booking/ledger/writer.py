"""Writes folded changes and moves the shards' cursors in the same transaction, so that each change is applied once."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Text, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.changes import EventChange, ShardBatch
from booking.domain.details import details_to_text
from booking.ledger import payments
from booking.ledger.errors import CursorMoved, LedgerConflict, LedgerError
from booking.ledger.fold import RULE_COLUMNS, BookingRow, ChangeRow, EventStep, Fold
from booking.ledger.records import ShardRecord
from booking.ledger.tables import changes, events, shards

PARAMETERS_MAX = 10_000
"""Parameters of one statement, at most; the databases' own limits begin at 32,766."""

MovedRow = tuple[int, str, str, int | None, int, int, str | None, int, int]
"""The columns of a booking that a change may update, then its event and number."""

# In the order of `ChangeRow` and of `BookingRow`.
_CHANGE_COLUMNS = [column.name for column in changes.columns]
_BOOKING_COLUMNS = [
    "event_id", "number", "user_id", "quantity", "status", "source", "created_at_ms", "updated_at_ms", "seq",
    "expires_at_ms", "payment_id",
]  # fmt: skip

# Each database gets rows in the way that was measured to be the fastest. New bookings are inserted and existing ones
# are updated: an upsert of both takes 50 % longer. user_id and created_at_ms never change.
_SQLITE_UPDATE_BOOKINGS = """
    UPDATE bookings SET quantity = ?, status = ?, source = ?, expires_at_ms = ?, updated_at_ms = ?, seq = ?,
        payment_id = ?
    WHERE event_id = ? AND number = ?
"""
_POSTGRESQL_UPDATE_BOOKINGS = """
    UPDATE bookings SET quantity = new.quantity, status = new.status, source = new.source,
        expires_at_ms = new.expires_at_ms, updated_at_ms = new.updated_at_ms, seq = new.seq,
        payment_id = new.payment_id
    FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[],
        $8::bigint[], $9::bigint[])
        AS new (quantity, status, source, expires_at_ms, updated_at_ms, seq, payment_id, event_id, number)
    WHERE bookings.event_id = new.event_id AND bookings.number = new.number
"""


async def move_cursors(connection: AsyncConnection, batches: Sequence[ShardBatch]) -> None:
    """Moves each batch's cursor from `after` to `upto`. Raises CursorMoved if it is not at `after` in the epoch.

    This comes first in the transaction. The rows stay locked until the commit, so if two processes apply the same
    batch, one waits here and then gets CursorMoved. Shards are updated in order, so that there is no deadlock.
    """
    for batch in sorted(batches, key=lambda batch: batch.shard):
        moved = await connection.execute(
            update(shards)
            .where(shards.c.shard == batch.shard, shards.c.cursor == batch.after, shards.c.epoch == batch.epoch)
            .values(cursor=batch.upto)
        )
        if moved.rowcount != 1:
            row = (await connection.execute(select(shards).where(shards.c.shard == batch.shard))).one_or_none()
            raise CursorMoved(batch.shard, batch.after, None if row is None else ShardRecord(row.epoch, row.cursor))


async def write(connection: AsyncConnection, folded: Fold) -> None:
    """Writes the folded changes. Raises LedgerConflict if they do not follow an event's last change.

    Raises LedgerError for a change of a booking that does not exist.
    """
    await _write_events(connection, folded.events)
    write_rows = _write_postgresql if connection.dialect.name == "postgresql" else _write_sqlite
    moved = [
        (quantity, status, source, expires_at_ms, updated_at_ms, seq, payment_id, event_id, number)
        for (
            event_id,
            number,
            _,
            quantity,
            status,
            source,
            _,
            updated_at_ms,
            seq,
            expires_at_ms,
            payment_id,
        ) in folded.moved.values()
    ]
    updated = await write_rows(connection, folded.changes, list(folded.made.values()), moved)
    if updated != len(moved):
        raise LedgerError(f"{len(moved) - updated} changes are of bookings that do not exist")
    await payments.write(connection, folded.payments)


async def _write_events(connection: AsyncConnection, steps: dict[int, EventStep]) -> None:
    created = [
        {
            "id": event_id,
            "created_at_ms": step.created.at_ms,
            "seq": 0,
            "organizer_id": step.created.organizer_id,
            "details": details_to_text(step.created.rules.details),
            **_rules(step.created),
        }
        for event_id, step in steps.items()
        if step.created is not None
    ]
    ids = list(steps)
    known: dict[int, int] = {}
    for start in range(0, len(ids), PARAMETERS_MAX):
        some = events.c.id.in_(ids[start : start + PARAMETERS_MAX])
        known.update({row.id: row.seq for row in await connection.execute(select(events).where(some))})
    for event_id, step in steps.items():
        due = known.get(event_id, 0) + 1
        if step.first_seq != due or (due == 1 and step.created is None):
            raise LedgerConflict(event_id, step.first_seq, due)
    if created:
        await connection.execute(insert(events), created)
    changed = [
        {
            "event": event_id,
            "told": details_to_text(step.changed.rules.details) if step.changed.has_details else None,
            **_rules(step.changed),
        }
        for event_id, step in steps.items()
        if step.changed is not None and step.changed is not step.created
    ]
    if changed:
        # A change that tells no details keeps them.
        told = {"details": func.coalesce(bindparam("told", type_=Text), events.c.details)}
        await connection.execute(update(events).where(events.c.id == bindparam("event")).values(told), changed)
    if steps:
        await connection.execute(
            update(events).where(events.c.id == bindparam("event")).values(seq=bindparam("last")),
            [{"event": event_id, "last": step.last_seq} for event_id, step in steps.items()],
        )


def _rules(change: EventChange) -> dict[str, Any]:
    return {name: getattr(change.rules, name) for name in RULE_COLUMNS}


async def first_duplicate(connection: AsyncConnection, folded: Fold) -> LedgerConflict | None:
    """The error for changes whose rows the database has already; None if it has none of them."""
    for event_id, step in folded.events.items():
        there = changes.c.event_id == event_id, changes.c.seq.between(step.first_seq, step.last_seq)
        seq = (await connection.execute(select(func.min(changes.c.seq)).where(*there))).scalar_one()
        if seq is not None:
            return LedgerConflict(event_id, seq, step.last_seq + 1)
    return None


async def _write_sqlite(
    connection: AsyncConnection, changed: list[ChangeRow], made: list[BookingRow], moved: list[MovedRow]
) -> int:
    """Writes with the driver's `executemany`: SQLAlchemy would take as long for each row as SQLite does."""
    await _insert_sqlite(connection, "changes", _CHANGE_COLUMNS, changed)
    await _insert_sqlite(connection, "bookings", _BOOKING_COLUMNS, made)
    if moved:
        return (await connection.exec_driver_sql(_SQLITE_UPDATE_BOOKINGS, moved)).rowcount
    return 0


async def _insert_sqlite(
    connection: AsyncConnection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Inserts rows without the NULLs at their end: Python's driver takes ten times as long to bind one as a value."""
    by_length: dict[int, list[tuple[Any, ...]]] = {}
    for row in rows:
        length = len(row)
        while row[length - 1] is None:
            length -= 1
        by_length.setdefault(length, []).append(row[:length])
    for length, some in by_length.items():
        names, places = ", ".join(columns[:length]), ", ".join("?" * length)
        statement = f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608 - names of this module's tables
        await connection.exec_driver_sql(statement, some)


async def _write_postgresql(
    connection: AsyncConnection, changed: list[ChangeRow], made: list[BookingRow], moved: list[MovedRow]
) -> int:
    """Writes new rows with COPY, and all updates with one statement that gets one array for each column.

    The driver's connection is in the transaction of SQLAlchemy, which `move_cursors` has begun.
    """
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.copy_records_to_table("changes", records=changed, columns=_CHANGE_COLUMNS)
    if made:
        await driver.copy_records_to_table("bookings", records=made, columns=_BOOKING_COLUMNS)
    if moved:
        columns = tuple(map(list, zip(*moved, strict=True)))
        return (await connection.exec_driver_sql(_POSTGRESQL_UPDATE_BOOKINGS, columns)).rowcount
    return 0
