"""Read-your-writes: a response from the database shows every change that Redis acknowledged before the request."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from booking.domain.lags import Lag
from booking.inventory.box_office import BoxOffice, KnownLags
from booking.inventory.streams import order
from booking.ledger.ledger import Ledger
from booking.ledger.records import ShardRecord

T = TypeVar("T")

CATCH_UP_SECONDS_MAX = 1.5
"""How long a response waits for the persister, which commits several times a second."""

POLL_SECONDS = 0.02
"""Between two questions to SQL, all waiting responses together."""


class ReadYourWrites:
    """Waits until the persister has written what Redis has acknowledged.

    All who wait share the questions to Redis and to SQL, so a caller with many connections costs no more than one.
    """

    def __init__(self, office: BoxOffice, ledger: Ledger) -> None:
        self._office = office
        self._ledger = ledger
        self._one_at_a_time = asyncio.Lock()
        self._next_lags: asyncio.Task[KnownLags] | None = None
        self._shards: asyncio.Task[dict[int, ShardRecord]] | None = None
        self._asked_at = 0.0

    async def saved(self, shard: int | None = None) -> bool:
        """Whether SQL has every acknowledged change of the shard, or of all shards, after a wait if necessary.

        False if Redis has lost changes. Raises InventoryUnavailable if Redis cannot be asked about a shard.
        """
        lags, errors = await self._lags()
        shards = range(self._office.shards) if shard is None else [shard]
        for one in shards:
            if one in errors:
                raise errors[one]
        return all(lags[one].whole for one in shards) and await self._reach(lags, shards)

    async def reach(self, event_id: int | None = None) -> bool:
        """Waits until SQL has what Redis has now, in the event's shard or in all shards.

        Returns False after a timeout, or if one of all shards cannot be asked now. Raises InventoryUnavailable if none
        can, or not the event's shard, and LedgerUnavailable.
        """
        lags, errors = await self._lags()
        if event_id is None:
            if not lags:
                raise errors[0]
            return await self._reach(lags, lags) and not errors
        shard = self._office.shard_of(event_id)
        if shard in errors:
            raise errors[shard]
        return await self._reach(lags, [shard])

    async def _reach(self, lags: Mapping[int, Lag], shards: Iterable[int]) -> bool:
        missing = {shard: order(lags[shard].newest) for shard in shards if lags[shard].newest}
        loop = asyncio.get_running_loop()
        end = loop.time() + CATCH_UP_SECONDS_MAX
        while missing:
            records = await self._positions()
            missing = {shard: newest for shard, newest in missing.items() if order(records[shard].cursor) < newest}
            if missing and loop.time() > end:
                return False
        return True

    async def _lags(self) -> KnownLags:
        """What Redis has, by a question that is sent after this call."""
        task = self._next_lags
        if task is None:
            task = self._next_lags = _shared(self._ask_lags())
        await asyncio.wait([task])  # a caller that is cancelled does not cancel it for the others
        return task.result()

    async def _ask_lags(self) -> KnownLags:
        async with self._one_at_a_time:
            self._next_lags = None  # the call below sends at once, so later callers need another question
            return await self._office.known_lags()

    async def _positions(self) -> dict[int, ShardRecord]:
        """What SQL has. A question under way is good enough: cursors only grow, and who waits asks again."""
        task = self._shards
        if task is None or task.done():
            task = self._shards = _shared(self._ask_positions())
        await asyncio.wait([task])
        return task.result()

    async def _ask_positions(self) -> dict[int, ShardRecord]:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._asked_at + POLL_SECONDS - loop.time())
        self._asked_at = loop.time()
        return await self._ledger.shards()


def _shared(question: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """A task whose error is not reported as lost if every caller that waited for it was cancelled."""
    task = asyncio.create_task(question)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
