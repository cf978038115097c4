"""Once, after the upgrade: what accounts booked under their bare ids becomes theirs under `account:<id>`."""

from dataclasses import replace

import structlog

from booking.inventory import keys
from booking.inventory.streams import ChangeStreams, trimmed_past
from booking.ledger import accounts
from booking.ledger.ledger import Ledger
from booking.operations.restore.restoration import StreamUnusable, lost_shards, restore_shard
from booking.persister.bootstrap import positions_of
from booking.settings import Settings

log = structlog.get_logger()


async def name_accounts(settings: Settings, ledger: Ledger, streams: ChangeStreams) -> None:
    """Renames in SQL, and writes into Redis again, each shard in which an account has booked; for the service's start.

    The rule is in migration 0003. What is left of a shard's stream is saved into SQL first; where that cannot be done
    whole, the shard stays as it is and is not sold from. A shard that is lost, or of which SQL is an old copy, is left
    to `booking restore`, which renames as well. May be broken off at any moment, and be begun by many processes at
    once. Raises InventoryUnavailable, LedgerUnavailable.
    """
    records = await ledger.shards()
    unnamed = {shard: record for shard, record in records.items() if not record.accounts_named}
    if not unnamed:
        return
    async with ledger.reading() as connection:
        events = await accounts.events_under_bare_ids(connection)
    affected = {keys.shard_of(event_id, len(records)) for event_id in events or ()}
    lost = await lost_shards(ledger, streams)
    old = trimmed_past(await streams.trimmed_to(unnamed), positions_of(records))
    for shard in unnamed.keys() - set(old):
        record = unnamed[shard]
        rest, is_readable = await streams.read_remaining(shard, record.epoch, record.cursor, 1)
        may_hold_accounts = shard in affected or rest is not None or not is_readable or shard in lost
        is_simple = events is None or not may_hold_accounts
        if is_simple and await ledger.replace_shard(shard, record, replace(record, accounts_named=True)):
            continue
        try:
            restored = await restore_shard(settings, ledger, streams, shard, to_name_accounts=True)
        except StreamUnusable as error:
            log.error("a shard's accounts cannot be renamed", shard=shard, reason=str(error))  # noqa: TRY400 - it is said
            continue
        if restored is not None:
            log.warning(
                "a shard's accounts have the user ids account:<id> now, and it has been written into Redis again",
                shard=shard,
                events=restored.events,
                bookings=restored.bookings,
            )
