"""How answers out of the database come to show what Redis had acknowledged before they were asked for."""

import asyncio
from collections.abc import Sequence

from booking.domain.lags import Lag
from booking.inventory.box_office import BoxOffice
from booking.inventory.streams import order
from booking.ledger.ledger import Ledger

CATCH_UP_SECONDS_MAX = 1.5
"""How long an answer waits for the persister, whose transactions are a fraction of a second apart."""

POLL_SECONDS = 0.02


class ReadYourWrites:
    """Waits for the persister."""

    def __init__(self, office: BoxOffice, ledger: Ledger) -> None:
        self._office = office
        self._ledger = ledger

    async def saved(self) -> bool:
        """Whether SQL has, perhaps after a while, all that Redis has acknowledged. False where Redis has lost some."""
        lags = await self._office.lags()
        return all(lag.whole for lag in lags) and await self._reach(lags, None)

    async def reach(self, event_id: int | None = None) -> bool:
        """Waits until SQL has what Redis has now, of the event's shard or of all. False where that took too long.

        Raises InventoryUnavailable, LedgerUnavailable.
        """
        return await self._reach(await self._office.lags(), event_id)

    async def _reach(self, lags: Sequence[Lag], event_id: int | None) -> bool:
        shards = range(len(lags)) if event_id is None else [self._office.shard_of(event_id)]
        wanted = {shard: order(lags[shard].newest) for shard in shards if lags[shard].newest}
        loop = asyncio.get_running_loop()
        end = loop.time() + CATCH_UP_SECONDS_MAX
        while wanted:
            records = await self._ledger.shards()
            wanted = {shard: newest for shard, newest in wanted.items() if order(records[shard].cursor) < newest}
            if wanted and loop.time() > end:
                return False
            if wanted:
                await asyncio.sleep(POLL_SECONDS)
        return True
