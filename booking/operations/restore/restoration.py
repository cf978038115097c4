"""Restores one shard: carries what is left of its stream, and writes it anew under a new epoch."""

import asyncio
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import structlog

from booking.domain.model import Booking, BookingStatus
from booking.inventory import keys
from booking.inventory.restore_writer import RESTORED_CURSOR, LeaseLost, RestoreWriter
from booking.inventory.streams import ChangeStreams
from booking.ledger.errors import CursorMoved, LedgerConflict
from booking.ledger.ledger import Ledger
from booking.ledger.records import ShardRecord
from booking.persister.bootstrap import positions_of
from booking.settings import Settings

BATCH_ENTRIES = 2_000
"""Entries of what is left of a stream that are saved in one transaction."""

OTHER_SECONDS_MAX = 300.0
"""How long one waits for another that restores the same shard."""

POLL_SECONDS = 0.2

log = structlog.get_logger()


class StreamUnusable(Exception):
    """Changes that only Redis has do not follow on the database's, or cannot be read.

    The shard is not sold from until `booking restore`, which drops these changes.
    """


Progress = Callable[[int], None]
"""Is told how many bookings more have been read."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restoration did."""

    shard: int
    events: int
    bookings: int
    """Bookings that are live, and were written."""
    saved: int
    """Changes that were left in the shard's stream, and are in the database now."""
    discarded: bool
    """Whether changes were found that do not follow on the database's, so that nobody was told of them truthfully."""


async def lost_shards(ledger: Ledger, streams: ChangeStreams) -> list[int]:
    """The shards that nothing is sold from, since Redis does not have all that the database has of them."""
    return await streams.verify_or_fence(positions_of(await ledger.shards()))


async def restore_empty(settings: Settings, ledger: Ledger, streams: ChangeStreams, shards: Iterable[int]) -> None:
    """Restores those of these shards of which Redis has nothing at all: for the start of the service.

    Of several processes that come to it at once, one restores a shard and the others wait for it.
    """
    for shard in shards:
        restored = await restore_shard(settings, ledger, streams, shard, only_empty=True)
        if restored is not None:
            log.warning(
                "Redis was empty and a shard has been restored from the database",
                shard=shard,
                events=restored.events,
                bookings=restored.bookings,
            )


async def restore_shard(
    settings: Settings,
    ledger: Ledger,
    streams: ChangeStreams,
    shard: int,
    *,
    only_empty: bool = False,
    even_if_whole: bool = False,
    to_name_accounts: bool = False,
    progress: Progress = lambda _: None,
) -> Restored | None:
    """Restores a shard that is lost. None where it is whole (by now), or where it is not empty and `only_empty`.

    With `to_name_accounts` one is restored that is whole, or was when this was begun, unless its accounts are named by
    now. Nothing is discarded then: raises StreamUnusable.

    May be broken off at any moment and run again: the shard sells only once all of it is there. Raises
    InventoryUnavailable, LedgerUnavailable.
    """
    records = await ledger.shards()
    fenced_as = f"naming:{records[shard].epoch}" if to_name_accounts else ""
    me = f"{os.getpid()}-{secrets.token_hex(8)}"
    writer = RestoreWriter(settings.redis_address, shard, len(records), me, fenced_as=fenced_as)
    loop = asyncio.get_running_loop()
    end = loop.time() + OTHER_SECONDS_MAX
    try:
        while loop.time() < end:
            is_lost = shard in await lost_shards(ledger, streams)
            if to_name_accounts:
                is_named = (await ledger.shards())[shard].accounts_named
                if is_named or (is_lost and not await writer.has_fenced()):
                    return None
            elif not (is_lost or even_if_whole):
                return None
            if only_empty and not await writer.is_empty():
                return None
            if await writer.take_lease():
                try:
                    restoration = _Restoration(ledger, streams, writer, shard, len(records), progress)
                    return await restoration.run(discards=not to_name_accounts)
                except LeaseLost:
                    log.warning("a restoration was overtaken and begins again", shard=shard)
                finally:
                    await writer.give_lease_back()
            await asyncio.sleep(POLL_SECONDS)
        return None
    finally:
        await writer.close()


class _Restoration:
    def __init__(
        self,
        ledger: Ledger,
        streams: ChangeStreams,
        writer: RestoreWriter,
        shard: int,
        shards: int,
        progress: Progress,
    ) -> None:
        self._ledger = ledger
        self._streams = streams
        self._writer = writer
        self._shard = shard
        self._shards = shards
        self._progress = progress

    async def run(self, *, discards: bool) -> Restored:
        await self._writer.fence()
        record, saved, discarded = await self._save_remaining()
        if discarded and not discards:
            told = "its stream holds changes that the database does not take"
            raise StreamUnusable(f"{told}; it is not sold from until `booking restore`, which drops them")
        events = [one for one in await self._ledger.event_ids() if keys.shard_of(one, self._shards) == self._shard]
        if not record.accounts_named:
            for event_id in events:
                await self._ledger.name_accounts(event_id)
                await self._writer.keep_lease()
        await self._writer.clear()
        bookings = 0
        for event_id in events:
            bookings += await self._restore_event(event_id)
        epoch = secrets.token_hex(8)
        if not await self._ledger.replace_shard(self._shard, record, ShardRecord(epoch, RESTORED_CURSOR)):
            raise LeaseLost
        await self._writer.finish(epoch, await self._ledger.last_event_id())
        return Restored(self._shard, len(events), bookings, saved, discarded)

    async def _save_remaining(self) -> tuple[ShardRecord, int, bool]:
        """What was acknowledged and had not come to the database yet, where it follows on what has.

        Answers where the shard stands in the database then, too.
        """
        saved, count = 0, BATCH_ENTRIES
        broken: set[int] = set()
        """Events of which a change does not follow: what comes after it was decided on something else."""
        while True:
            record = (await self._ledger.shards())[self._shard]
            batch, readable = await self._streams.read_remaining(self._shard, record.epoch, record.cursor, count)
            if batch is None:
                return record, saved, bool(broken) or not readable
            sound = replace(batch, changes=tuple(one for one in batch.changes if one.event_id not in broken))
            try:
                saved += await self._ledger.apply([sound])
            except CursorMoved:
                pass  # a persister had read the same and was faster
            except LedgerConflict as conflict:
                if count == 1:
                    broken.add(conflict.event_id)
                    count = BATCH_ENTRIES
                count = max(1, count // 2)  # what stands before the change that does not follow is true
            await self._writer.keep_lease()

    async def _restore_event(self, event_id: int) -> int:
        record = await self._ledger.event(event_id)
        assert record is not None
        live = {status: [0, 0] for status in (BookingStatus.CONFIRMED, BookingStatus.HELD, BookingStatus.WAITING)}
        async for span in self._ledger.bookings_as_of(event_id, record.seq):
            await self._writer.write_bookings(event_id, span)
            _count(live, span)
            self._progress(len(span))
        (sold_bookings, sold), (held_bookings, held), (waiting_bookings, backlog) = live.values()
        counters = {
            "available": record.rules.capacity - sold - held,
            "held": held,
            "sold": sold,
            "bookings": sold_bookings,
            "holding": held_bookings,
            "backlog": backlog,
        }
        await self._writer.write_event(event_id, record.rules, record.created_at_ms, record.seq, counters)
        return sold_bookings + held_bookings + waiting_bookings


def _count(live: dict[BookingStatus, list[int]], bookings: Iterable[Booking]) -> None:
    for booking in bookings:
        count = live.get(booking.status)
        if count is not None:
            count[0] += 1
            count[1] += booking.quantity
