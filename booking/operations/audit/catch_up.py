"""How long an audit waits for SQL: while its persister moves, and at each place where it stands still once."""

import asyncio

from booking.inventory import keys
from booking.ledger.ledger import Ledger
from booking.ledger.records import EventRecord

STANDSTILL_SECONDS = 5.0
"""How long the persister may bring nothing of an event's shard into SQL before it is not waited for any longer."""

CATCH_UP_SECONDS_MAX = 30.0
"""How long it may take, for all that it moves, to bring what Redis had at a moment into SQL."""

POLL_SECONDS = 0.05


class CatchUp:
    """What an audit has seen of the persister, over however many events: without one, each is not waited for anew."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stood: dict[int, str] = {}
        """Shards that were waited for in vain, and the cursors at which they stood."""

    async def wait_for(self, event_id: int, seq: int) -> EventRecord | None:
        """The event in SQL, once it has come to `seq`, or as it is when that takes too long. Raises LedgerError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + CATCH_UP_SECONDS_MAX
        moved_at, stands = loop.time(), ""
        while True:
            record = await self._ledger.event(event_id)
            if seq_of(record) >= seq or loop.time() > end:
                return record
            shards = await self._ledger.shards()
            number = keys.shard_of(event_id, max(1, len(shards)))
            cursor = shards[number].cursor if number in shards else ""
            if cursor != stands:
                moved_at, stands = loop.time(), cursor
            if loop.time() - moved_at > STANDSTILL_SECONDS:
                self._stood[number] = cursor
            if self._stood.get(number) == cursor:
                return record
            await asyncio.sleep(POLL_SECONDS)


def seq_of(record: EventRecord | None) -> int:
    """0 where SQL does not have the event."""
    return record.seq if record else 0
