"""How long an audit waits until SQL has caught up with Redis: as long as the persister makes progress."""

import asyncio

from booking.inventory import keys
from booking.ledger.ledger import Ledger
from booking.ledger.records import EventRecord

STANDSTILL_SECONDS = 5.0
"""How long a shard's cursor in SQL may stand still before the audit stops waiting."""

CATCH_UP_SECONDS_MAX = 30.0
"""How long the audit waits at most, even if the cursor moves."""

POLL_SECONDS = 0.05


class CatchUp:
    """Waits for SQL, for all events of an audit. If no persister runs, it waits once for each shard, not each event."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stalled: dict[int, str] = {}
        """Shards that did not catch up, and the cursors at which they stalled."""

    async def wait_for(self, event_id: int, seq: int) -> EventRecord | None:
        """Waits until the event in SQL has reached `seq`, or for too long; returns it as it is then.

        Raises LedgerError.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + CATCH_UP_SECONDS_MAX
        moved_at, last_cursor = loop.time(), ""
        while True:
            record = await self._ledger.event(event_id)
            if seq_of(record) >= seq or loop.time() > end:
                return record
            shards = await self._ledger.shards()
            number = keys.shard_of(event_id, max(1, len(shards)))
            cursor = shards[number].cursor if number in shards else ""
            if cursor != last_cursor:
                moved_at, last_cursor = loop.time(), cursor
            if loop.time() - moved_at > STANDSTILL_SECONDS:
                self._stalled[number] = cursor
            if self._stalled.get(number) == cursor:
                return record
            await asyncio.sleep(POLL_SECONDS)


def seq_of(record: EventRecord | None) -> int:
    """The event's `seq`; 0 if SQL does not have the event."""
    return record.seq if record else 0
