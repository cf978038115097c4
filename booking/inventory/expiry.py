"""Expires the holds of idle events that have ended, so that their tickets are sold again within a second."""

import asyncio
import os
from collections.abc import Sequence
from uuid import uuid4

import structlog

from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.inventory.shard_tasks import ShardTasks

PERIOD_SECONDS = 0.25
"""Between two sweeps of a shard; the contract allows a second."""

LEASE_MS = 500
"""How long a sweeper owns a shard after its last sweep. Then any other process may take over.

The lease and one period together have to stay well under the contract's second, so that the death of a sweeper breaks
no promise.
"""

EVENTS_MAX = 200
"""Events listed in one sweep. If there are more, the next sweep follows at once."""

BATCH_EVENTS_FIRST, BATCH_EVENTS_MAX = 4, 64
"""Events read at the same time, at first and at most. A call expires up to 250 tickets and is repeated while there are
more (lua/shared/expiry.lua). Calls sent at the same time are one batch, and buyers wait for it."""

BATCH_SECONDS_MAX = 0.1
"""If a batch takes longer, the next one has half as many events; otherwise twice as many."""

log = structlog.get_logger()


class AdaptiveSweep:
    """Adapts the number of events read at the same time to how long the last batch took.

    All shards of a primary share it.
    """

    def __init__(self, office: BoxOffice) -> None:
        self._office = office
        self._batch_events = BATCH_EVENTS_FIRST
        self._turn = asyncio.Lock()

    async def sweep_events(self, events: Sequence[int]) -> None:
        """Reads all of these events in batches, even if one of them fails; then raises the first error."""
        loop, at, errors = asyncio.get_running_loop(), 0, list[BaseException]()
        while at < len(events):
            async with self._turn:
                began, batch = loop.time(), events[at : at + self._batch_events]
                results = await asyncio.gather(*map(self._office.get_event, batch), return_exceptions=True)
                errors += [result for result in results if isinstance(result, BaseException)]
                at += len(batch)
                if loop.time() - began > BATCH_SECONDS_MAX:
                    self._batch_events = max(1, self._batch_events // 2)
                else:
                    self._batch_events = min(BATCH_EVENTS_MAX, 2 * self._batch_events)
        if errors:
            raise errors[0]


async def sweep(office: BoxOffice) -> None:
    """Runs until it is cancelled. Every read of an event expires its holds, so no answer depends on this task."""
    me = f"{os.getpid()}-{uuid4().hex}"  # the process id shows an operator which process it is
    of_primaries, tasks = dict[str, AdaptiveSweep](), ShardTasks()

    async def sweep_shard(shard: int) -> None:
        await _sweep_shard(office, shard, me, of_primaries)

    try:
        while True:
            await tasks.start(sweep_shard, range(office.shards), PERIOD_SECONDS)
            await asyncio.sleep(PERIOD_SECONDS)
    finally:
        await tasks.cancel()


async def _sweep_shard(office: BoxOffice, shard: int, me: str, of_primaries: dict[str, AdaptiveSweep]) -> None:
    """Sweeps one shard. An error is logged, so that the other shards are swept all the same."""
    due: list[int] = []
    try:
        adaptive = of_primaries.setdefault(office.primary_of(shard), AdaptiveSweep(office))
        while True:
            before, due = due, await office.events_to_expire(shard, me, LEASE_MS, EVENTS_MAX)
            await adaptive.sweep_events(due)
            if len(due) < EVENTS_MAX or due == before:  # the same events again: another sweep would not help now
                return
    except (InventoryUnavailable, OutcomeUnknown, Overloaded) as error:
        log.debug("a shard cannot be swept for now", shard=shard, reason=str(error))
    except Exception:  # the next sweep may succeed, and no caller would see the error
        log.exception("a shard could not be swept", shard=shard)
