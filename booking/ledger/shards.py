"""The table of shards: each one's epoch, and the cursor up to which its stream is applied."""

from collections.abc import Sequence

from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.changes import ChangeKind
from booking.ledger.fold import rules_to_text
from booking.ledger.reads import event
from booking.ledger.records import ShardRecord
from booking.ledger.tables import SKIPPED, changes, events, shards

CURSOR_START = "0-0"
"""The cursor before the first applied entry; every entry's id is greater."""


async def read(connection: AsyncConnection) -> dict[int, ShardRecord]:
    """Each shard with its epoch and cursor; empty before the service's first start."""
    rows = await connection.execute(select(shards).order_by(shards.c.shard))
    return {row.shard: ShardRecord(row.epoch, row.cursor, row.accounts_named) for row in rows}


async def initialize_shards(connection: AsyncConnection, epochs: Sequence[str]) -> dict[int, ShardRecord]:
    """Creates a shard for each epoch if there are none yet, and returns all shards."""
    if connection.dialect.name == "postgresql":
        # If two first starts run at once, the second waits here. With SQLite the transaction has the write lock.
        await connection.execute(text("LOCK TABLE shards IN SHARE ROW EXCLUSIVE MODE"))
    existing = await read(connection)
    if existing or not epochs:
        return existing
    await connection.execute(
        insert(shards),
        [
            {"shard": shard, "epoch": epoch, "cursor": CURSOR_START, "accounts_named": True}
            for shard, epoch in enumerate(epochs)
        ],
    )
    return await read(connection)


async def skip_numbers(connection: AsyncConnection, event_id: int, count: int) -> None:
    """Raises an event's `seq` by `count`, by a change that changes nothing else.

    A booking's number is the `seq` of a change, so nobody gets a number that was told to another user and then lost.
    """
    record = await event(connection, event_id)
    if record is None:
        return
    seq = record.seq + count
    at_ms = select(changes.c.at_ms).where(changes.c.event_id == event_id, changes.c.seq == record.seq)
    change = {"seq": seq, "kind": ChangeKind.CHANGED.value, "source": SKIPPED, "rules": rules_to_text(record.rules)}
    await connection.execute(insert(changes).values(event_id=event_id, at_ms=at_ms.scalar_subquery(), **change))
    await connection.execute(update(events).where(events.c.id == event_id).values(seq=seq))


async def replace_shard(connection: AsyncConnection, shard: int, seen: ShardRecord, new: ShardRecord) -> bool:
    """Gives a shard that is restored a new epoch and cursor. Returns False if it is not as `seen` any more."""
    moved = await connection.execute(
        update(shards)
        .where(shards.c.shard == shard, shards.c.epoch == seen.epoch, shards.c.cursor == seen.cursor)
        .values(epoch=new.epoch, cursor=new.cursor, accounts_named=new.accounts_named)
    )
    return moved.rowcount == 1
