"""How long an audit waits until SQL has caught up with Redis: as long as the persister makes progress."""

import asyncio

from booking.inventory import keys
from booking.ledger.ledger import Ledger
from booking.ledger.records import EventRecord

STANDSTILL_SECONDS = 10.0
"""How long a shard's cursor in SQL may stand still before the audit stops waiting. A persister that is started again
on a busy machine needs some 6 s."""

TURN_SECONDS = 2.0
"""How long the audit waits for a change of a shard whose cursor has stood still for so long already: a persister that
runs applies it by then."""

CATCH_UP_SECONDS_MAX = 30.0
"""How long the audit waits at most, even if the cursor moves."""

POLL_SECONDS = 0.05

READS_MAX = 5
"""How often what differs between the sides is read again before it counts as unsettled."""

USERS_MAX = 1_000
"""Users of whom something is read in one call to Redis or SQL."""


class CatchUp:
    """Waits for SQL, for all events of an audit. If no persister runs, it waits once for each shard, not each event."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stands: dict[int, tuple[str, float]] = {}
        """Each shard's cursor, and since when the audit has seen it there."""
        self._stalled: dict[int, str] = {}
        """Shards that did not catch up, and the cursors at which they stalled. They are not waited for again."""

    async def wait_for(self, event_id: int, seq: int) -> EventRecord | None:
        """Waits until the event in SQL has reached `seq`, or for too long; returns it as it is then.

        Raises LedgerError.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            record = await self._ledger.event(event_id)
            now = loop.time()
            if seq_of(record) >= seq or now - begun > CATCH_UP_SECONDS_MAX:
                return record
            shards = await self._ledger.shards()
            for shard, at in shards.items():
                if self._stands.get(shard, ("", now))[0] != at.cursor:
                    self._stands[shard] = at.cursor, now
            number = keys.shard_of(event_id, max(1, len(shards)))
            cursor, since = self._stands.get(number, ("", begun))
            if now - begun > TURN_SECONDS and now - since > STANDSTILL_SECONDS:
                self._stalled[number] = cursor
            if self._stalled.get(number) == cursor:
                return record
            await asyncio.sleep(POLL_SECONDS)


def seq_of(record: EventRecord | None) -> int:
    """The event's `seq`; 0 if SQL does not have the event."""
    return record.seq if record else 0
