"""`booking migrate --records`: later records in Redis begin with this version of their format."""

from booking.inventory.errors import InventoryUnavailable, ShardFenced
from booking.inventory.records import RECORD_VERSION
from booking.inventory.shard_clients import describe_away
from booking.inventory.streams import opened_streams
from booking.ledger.ledger import Ledger
from booking.persister.bootstrap import positions_of
from booking.settings import Settings


async def version_records(settings: Settings) -> str:
    """Moves every shard to this version's format, in which code of an older version sells nothing from it.

    Records that are there stay as they are, since this version reads both. May be repeated, and runs during a sale.
    Returns a sentence that says what was done. Raises LedgerError and InventoryUnavailable; ShardFenced if Redis lacks
    a shard. The other shards are moved all the same.
    """
    ledger = Ledger.open(settings.database_address)
    try:
        positions = positions_of(await ledger.shards())
        async with opened_streams(settings.redis_address, len(positions)) as streams:
            moved, lost = await streams.version_records(positions)
            if streams.away:
                raise InventoryUnavailable(describe_away(streams.away))
    finally:
        await ledger.close()
    if lost:
        shards = ", ".join(map(str, lost))
        raise ShardFenced(f"Redis lacks the shards {shards}, or has records of a newer version; see booking doctor")
    return (
        f"Records of all {len(positions)} shards in Redis have format {RECORD_VERSION}; {len(moved)} were moved to it."
    )
