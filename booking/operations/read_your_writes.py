"""Read-your-writes: a response from the database shows every change that Redis acknowledged before the request."""

import asyncio
from collections.abc import Sequence

from booking.domain.lags import Lag
from booking.inventory.box_office import BoxOffice
from booking.inventory.streams import order
from booking.ledger.ledger import Ledger

CATCH_UP_SECONDS_MAX = 1.5
"""How long a response waits for the persister, which commits several times a second."""

POLL_SECONDS = 0.02


class ReadYourWrites:
    """Waits until the persister has written what Redis has acknowledged."""

    def __init__(self, office: BoxOffice, ledger: Ledger) -> None:
        self._office = office
        self._ledger = ledger

    async def saved(self) -> bool:
        """Whether SQL has every acknowledged change, after a wait if necessary. False if Redis has lost changes."""
        lags = await self._office.lags()
        return all(lag.whole for lag in lags) and await self._reach(lags, None)

    async def reach(self, event_id: int | None = None) -> bool:
        """Waits until SQL has what Redis has now, in the event's shard or in all shards. Returns False after a timeout.

        Raises InventoryUnavailable, LedgerUnavailable.
        """
        return await self._reach(await self._office.lags(), event_id)

    async def _reach(self, lags: Sequence[Lag], event_id: int | None) -> bool:
        shards = range(len(lags)) if event_id is None else [self._office.shard_of(event_id)]
        missing = {shard: order(lags[shard].newest) for shard in shards if lags[shard].newest}
        loop = asyncio.get_running_loop()
        end = loop.time() + CATCH_UP_SECONDS_MAX
        while missing:
            records = await self._ledger.shards()
            missing = {shard: newest for shard, newest in missing.items() if order(records[shard].cursor) < newest}
            if missing and loop.time() > end:
                return False
            if missing:
                await asyncio.sleep(POLL_SECONDS)
        return True
