"""Restores one shard: applies the remaining entries of its stream to SQL, and writes it again under a new epoch."""

import asyncio
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import structlog

from booking.domain.epochs import next_term
from booking.domain.model import Booking, BookingStatus
from booking.inventory import keys
from booking.inventory.restore_writer import RESTORED_CURSOR, LeaseLost, RestoreWriter
from booking.inventory.streams import ChangeStreams, run_id
from booking.ledger.errors import CursorMoved, LedgerConflict
from booking.ledger.ledger import Ledger
from booking.ledger.records import ShardRecord
from booking.persister.bootstrap import positions_of
from booking.settings import Settings

BATCH_ENTRIES = 2_000
"""Remaining entries of a stream that are applied in one transaction."""

OTHER_SECONDS_MAX = 300.0
"""How long a process waits for another one that restores the same shard."""

POLL_SECONDS = 0.2

log = structlog.get_logger()


class StreamUnusable(Exception):
    """Changes that only Redis has do not follow those in the database, or cannot be parsed.

    Nothing is sold from the shard until `booking restore`, which drops these changes.
    """


Progress = Callable[[int], None]
"""A function that is called with the number of bookings read since the last call."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restoration."""

    shard: int
    events: int
    bookings: int
    """Live bookings that were written into Redis."""
    saved: int
    """Remaining changes of the shard's stream that were applied to the database."""
    discarded: bool
    """Whether changes were dropped, because they do not follow those in the database or cannot be parsed."""
    lost: str = ""
    """Which acknowledged changes are lost for good, as `Lag.lost`."""


async def lost_shards(ledger: Ledger, streams: ChangeStreams) -> list[int]:
    """The shards in Redis that lack changes that SQL has; nothing is sold from them. `streams.away` is not known."""
    return await streams.verify_or_fence(positions_of(await ledger.shards()))


async def restore_empty(settings: Settings, ledger: Ledger, streams: ChangeStreams, shards: Iterable[int]) -> None:
    """Restores those shards of which Redis has nothing; the start of the service calls it.

    If several processes call it at once, one restores a shard and the others wait for it.
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
    only_behind: bool = False,
    progress: Progress = lambda _: None,
) -> Restored | None:
    """Restores a lost shard. Returns None if it is whole (by now), or if it is not empty and `only_empty` is set.

    With `even_if_whole` a whole shard is restored, too. With `to_name_accounts` a shard is restored to rename its
    accounts, if it is whole or was fenced by an earlier such restoration, unless they are renamed by now. No change is
    dropped then; raises StreamUnusable instead. With `only_behind` a shard is restored only as `ChangeStreams.behind`
    has it, and numbers are skipped all the same: a process that was killed may have told of some.

    May be interrupted at any time and run again: the shard sells only when all of it is written. Raises
    InventoryUnavailable, LedgerUnavailable.
    """
    records = await ledger.shards()
    fenced_as = f"naming:{records[shard].epoch}" if to_name_accounts else ""
    me = f"{os.getpid()}-{secrets.token_hex(8)}"
    writer = RestoreWriter(streams.topology, shard, len(records), me, fenced_as=fenced_as)
    loop = asyncio.get_running_loop()
    end = loop.time() + OTHER_SECONDS_MAX
    try:
        while loop.time() < end:
            position = positions_of(await ledger.shards())[shard]
            is_lost = bool(await streams.verify_or_fence({shard: position}))
            if to_name_accounts:
                is_named = (await ledger.shards())[shard].accounts_named
                if is_named or (is_lost and not await writer.has_fenced()):
                    return None
            elif not (is_lost or even_if_whole):
                return None
            if only_empty and not await writer.is_empty():
                return None
            if only_behind and not await streams.behind({shard: positions_of(await ledger.shards())[shard]}):
                return None
            if await writer.take_lease():
                try:
                    # Sales stop when one `persister_lag_limit` of changes waits for SQL; cancels go on.
                    skipped = 2 * settings.persister_lag_limit
                    restoration = _Restoration(ledger, streams, writer, shard, len(records), progress, skipped)
                    return await restoration.run(discards=not to_name_accounts, only_behind=only_behind)
                except LeaseLost:
                    log.warning("a restoration lost its lease and starts again", shard=shard)
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
        skipped_numbers: int,
    ) -> None:
        """`skipped_numbers`: more than the changes of an event that may be lost before SQL has them."""
        self._skipped_numbers = skipped_numbers
        self._ledger = ledger
        self._streams = streams
        self._writer = writer
        self._shard = shard
        self._shards = shards
        self._progress = progress

    async def run(self, *, discards: bool, only_behind: bool) -> Restored | None:
        await self._writer.fence()
        record, saved, discarded = await self._save_remaining()
        if discarded and not discards:
            reason = "its stream has changes that the database does not accept"
            raise StreamUnusable(f"{reason}; nothing is sold from it until `booking restore`, which drops them")
        events = [one for one in await self._ledger.event_ids() if keys.shard_of(one, self._shards) == self._shard]
        if not record.accounts_named:
            for event_id in events:
                await self._ledger.name_accounts(event_id)
                await self._writer.keep_lease()
        lost = await self._writer.lost()
        if lost and only_behind:  # told since the shard was looked at
            return None
        if lost or only_behind:
            for event_id in events:
                await self._ledger.skip_numbers(event_id, self._skipped_numbers)
                await self._writer.keep_lease()
        await self._writer.clear()
        bookings = 0
        for event_id in events:
            bookings += await self._restore_event(event_id)
        execute = self._streams.executor(self._streams.topology.locate(self._shard))
        epoch, server = secrets.token_hex(8), await run_id(execute)
        if server is not None:
            epoch = next_term(epoch, server)
        if not await self._ledger.replace_shard(self._shard, record, ShardRecord(epoch, RESTORED_CURSOR)):
            raise LeaseLost
        await self._writer.finish(epoch, await self._ledger.last_event_id())
        return Restored(self._shard, len(events), bookings, saved, discarded, lost)

    async def _save_remaining(self) -> tuple[ShardRecord, int, bool]:
        """Applies the remaining entries of the stream to SQL, if they follow those in SQL.

        Returns the shard's record in SQL after that, the number of applied changes, and whether any were dropped.
        """
        saved, count = 0, BATCH_ENTRIES
        broken: set[int] = set()
        """Events with a change that does not follow. The event's later changes are based on it, so they are dropped."""
        while True:
            record = (await self._ledger.shards())[self._shard]
            batch, readable = await self._streams.read_remaining(self._shard, record.epoch, record.cursor, count)
            if batch is None:
                return record, saved, bool(broken) or not readable
            usable = replace(batch, changes=tuple(one for one in batch.changes if one.event_id not in broken))
            try:
                saved += await self._ledger.apply([usable])
            except CursorMoved:
                pass  # a persister has applied the same entries
            except LedgerConflict as conflict:
                if count == 1:
                    broken.add(conflict.event_id)
                    count = BATCH_ENTRIES
                count = max(1, count // 2)  # to apply the changes before the one that does not follow
            await self._writer.keep_lease()

    async def _restore_event(self, event_id: int) -> int:
        record = await self._ledger.event(event_id)
        assert record is not None
        live = {status: [0, 0] for status in (BookingStatus.CONFIRMED, BookingStatus.HELD, BookingStatus.WAITING)}
        async for span in self._ledger.bookings_as_of(event_id, record.seq):
            await self._writer.write_bookings(event_id, span)
            _count(live, span)
            self._progress(len(span))
        async for payments in self._ledger.payments(event_id):
            await self._writer.write_payments(event_id, payments)
        (sold_bookings, sold), (held_bookings, held), (waiting_bookings, backlog) = live.values()
        counters = {
            "available": record.rules.capacity - sold - held,
            "held": held,
            "sold": sold,
            "bookings": sold_bookings,
            "holding": held_bookings,
            "backlog": backlog,
        }
        await self._writer.write_event(
            event_id, record.rules, record.organizer_id, record.created_at_ms, record.seq, counters
        )
        return sold_bookings + held_bookings + waiting_bookings


def _count(live: dict[BookingStatus, list[int]], bookings: Iterable[Booking]) -> None:
    for booking in bookings:
        count = live.get(booking.status)
        if count is not None:
            count[0] += 1
            count[1] += booking.quantity
