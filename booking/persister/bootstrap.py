"""The bootstrap: the first start gives each shard its epoch, in SQL and then in Redis; each later one verifies them."""

import secrets
from collections.abc import Mapping

from booking.inventory.streams import ChangeStreams
from booking.ledger.ledger import Ledger
from booking.ledger.records import ShardRecord
from booking.persister.terms import take_all_terms
from booking.settings import Settings, SettingsError


async def initialize_shards(settings: Settings, ledger: Ledger, streams: ChangeStreams) -> dict[int, ShardRecord]:
    """Each shard's epoch and cursor; the first start creates them. Many processes may start at the same time.

    The servers of `streams` become their primaries, as in `take_terms`.

    Raises SettingsError if the database has another number of shards, LedgerUnavailable and InventoryUnavailable.
    """
    records = await ledger.initialize_shards([secrets.token_hex(8) for _ in range(settings.shards)])
    if len(records) != settings.shards:
        raise SettingsError(
            f"BOOKING_SHARDS: this database was created with {len(records)} shards, and its events cannot move; "
            f"set it to {len(records)}"
        )
    await streams.initialize_shards(positions_of(records))
    return await take_all_terms(streams, ledger)


def positions_of(records: Mapping[int, ShardRecord]) -> dict[int, tuple[str, str]]:
    """Each shard's epoch and cursor."""
    return {shard: (record.epoch, record.cursor) for shard, record in records.items()}
