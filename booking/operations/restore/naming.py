"""Renames the bookings of accounts from the bare id to `account:<id>`, once after the upgrade (migration 0003)."""

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
    """Renames each shard in which an account has booked, in SQL, and writes it into Redis again. The start calls it.

    Migration 0003 has the rule. The remaining entries of a shard's stream are applied to SQL first. If some of them
    cannot be, the shard stays as it is, and nothing is sold from it. A lost shard, or one that SQL has an old copy of,
    is left to `booking restore`, which renames, too. May be interrupted at any time, and many processes may run it at
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
    for shard in unnamed.keys() - set(old) - streams.away.keys():
        record = unnamed[shard]
        remaining, is_readable = await streams.read_remaining(shard, record.epoch, record.cursor, 1)
        may_hold_accounts = shard in affected or remaining is not None or not is_readable or shard in lost
        is_simple = events is None or not may_hold_accounts
        if is_simple and await ledger.replace_shard(shard, record, replace(record, accounts_named=True)):
            continue
        try:
            restored = await restore_shard(settings, ledger, streams, shard, to_name_accounts=True)
        except StreamUnusable as error:
            log.error("a shard's accounts cannot be renamed", shard=shard, reason=str(error))  # noqa: TRY400 - the reason is enough
            continue
        if restored is not None:
            log.warning(
                "the accounts of a shard have been renamed to account:<id>, and it has been written into Redis again",
                shard=shard,
                events=restored.events,
                bookings=restored.bookings,
            )
