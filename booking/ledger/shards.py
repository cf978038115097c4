"""The shards: how many there are, and how far the stream of each is applied."""

from collections.abc import Sequence

from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.ledger.records import ShardRecord
from booking.ledger.tables import shards

CURSOR_START = "0-0"
"""The cursor of a stream of which nothing is applied; every entry's id is greater."""


async def read(connection: AsyncConnection) -> dict[int, ShardRecord]:
    """Each shard with its epoch and cursor; empty before the service's first start."""
    rows = await connection.execute(select(shards).order_by(shards.c.shard))
    return {row.shard: ShardRecord(row.epoch, row.cursor, row.accounts_named) for row in rows}


async def initialize_shards(connection: AsyncConnection, epochs: Sequence[str]) -> dict[int, ShardRecord]:
    """Makes a shard for each epoch where there are none yet, and reads what stands there then."""
    if connection.dialect.name == "postgresql":
        # Of two first starts the second waits here; SQLite's write lock is held from the beginning.
        await connection.execute(text("LOCK TABLE shards IN SHARE ROW EXCLUSIVE MODE"))
    standing = await read(connection)
    if standing or not epochs:
        return standing
    await connection.execute(
        insert(shards),
        [
            {"shard": shard, "epoch": epoch, "cursor": CURSOR_START, "accounts_named": True}
            for shard, epoch in enumerate(epochs)
        ],
    )
    return await read(connection)


async def replace_shard(connection: AsyncConnection, shard: int, seen: ShardRecord, new: ShardRecord) -> bool:
    """Gives a shard that is written into Redis anew another epoch, and its stream another beginning.

    False where it does not stand any more as it was seen.
    """
    moved = await connection.execute(
        update(shards)
        .where(shards.c.shard == shard, shards.c.epoch == seen.epoch, shards.c.cursor == seen.cursor)
        .values(epoch=new.epoch, cursor=new.cursor, accounts_named=new.accounts_named)
    )
    return moved.rowcount == 1
