"""Expired holds of idle events: one process at a time removes them, and another takes over if that process dies."""

import asyncio
import signal
import time

import pytest

from booking.inventory import expiry, keys
from booking.settings import Settings
from tests.contract.api import open_api
from tests.fixtures.process_tree import is_alive
from tests.fixtures.service import RunningService
from tests.fixtures.stock import SHARDS, Stock
from tests.fixtures.waiting import eventually, eventually_async

from .behind import changes_of, redis_of, settings_of, to_ms, until_expired
from .expired_holds import end_hold

EXPIRY_MS_MAX = 1_000
"""From the end of a hold to its expiry, on Redis's clock (contract)."""


def sweeper_pid(service: RunningService, settings: Settings, event_id: int) -> int:
    """The living process that now removes the expired holds of the event's shard. Waits until there is one."""
    pids: list[int] = []
    with redis_of(service.data_dir) as redis:

        def has_sweeper() -> bool:
            holder = redis.get(keys.sweeper(keys.shard_of(event_id, settings.shards)))
            pids[:] = [int(holder.partition(b"-")[0])] if isinstance(holder, bytes) else []
            return any(map(is_alive, pids))

        eventually(has_sweeper, "a living process sweeps the shard")
    return pids[0]


def test_a_hold_of_an_idle_event_expires_and_its_ticket_is_promoted_in_that_step(two_workers: RunningService) -> None:
    settings = settings_of(two_workers.data_dir)
    with open_api(two_workers) as api:
        ends = {}
        for _ in range(2 * settings.shards):
            event_id = api.event(hold_seconds=1)
            holder, waiting = api.users(2)
            ends[event_id] = to_ms(holder.book(event_id).data["expires_at"])
            assert waiting.book(event_id).status == 202
    for event_id, end in ends.items():
        expired = until_expired(two_workers.data_dir, event_id)
        assert expired.at_ms >= end
        promoted = next(change for change in changes_of(two_workers.data_dir, event_id) if change.kind == "promoted")
        assert promoted.at_ms == expired.at_ms


def check_takeover(service: RunningService, settings: Settings) -> None:
    """Kills a shard's sweeper just before a hold ends. Checks that the hold expires and that another one sweeps."""
    with open_api(service) as api:
        event_id = api.event(hold_seconds=1)
        first = sweeper_pid(service, settings, event_id)
        end = to_ms(api.user().book(event_id).data["expires_at"])
    parts = {pid: name for name, pid in service.parts().items()}
    eventually(lambda: time.time() * 1_000 >= end - 20, "the hold is about to end")
    assert service.kill(parts[first], signal.SIGKILL) == first
    assert until_expired(service.data_dir, event_id).at_ms >= end
    assert sweeper_pid(service, settings, event_id) != first
    eventually(lambda: first not in service.parts().values(), "the killed worker is replaced")


def test_if_the_sweeper_is_killed_another_process_takes_over(two_workers: RunningService) -> None:
    settings = settings_of(two_workers.data_dir)
    for _ in range(2):  # the second time it is the process that took over, or a new one
        check_takeover(two_workers, settings)


def test_a_sweepers_lease_and_period_together_fit_into_the_contracts_second() -> None:
    assert expiry.LEASE_MS + 1_000 * expiry.PERIOD_SECONDS <= 0.8 * EXPIRY_MS_MAX
    assert expiry.LEASE_MS > 1_000 * expiry.PERIOD_SECONDS, "a living sweeper would lose its shard"


async def expired_holds(stock: Stock, count: int) -> list[int]:
    """Creates events of one shard, each with a hold that ended in 1970."""
    event_ids = [1 + SHARDS * n for n in range(count)]
    for event_id in event_ids:
        await stock.sale(event_id, capacity=1, hold_seconds=60)
        await stock.office.book(event_id, "ann")
        await end_hold(stock, event_id, "ann")
    return event_ids


async def expired_count(stock: Stock) -> int:
    return sum(entry.split(" ")[2] == "expired" for entry in await stock.entries())


async def test_more_events_than_fit_one_query_are_all_swept_in_one_round(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "EVENTS_MAX", 5)
    monkeypatch.setattr(expiry, "PERIOD_SECONDS", 3_600)
    event_ids = await expired_holds(stock, 23)
    task = asyncio.create_task(expiry.sweep(stock.office))

    async def all_expired() -> bool:
        return await expired_count(stock) >= len(event_ids)

    try:
        await eventually_async(all_expired, "every hold expires")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await expired_count(stock) == len(event_ids)


async def test_due_events_without_an_expired_hold_do_not_keep_the_sweeper_busy(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "EVENTS_MAX", 2)
    monkeypatch.setattr(expiry, "PERIOD_SECONDS", 0)
    for event_id in (1, 3):
        await stock.sale(event_id, hold_seconds=60)
    await stock.redis.zadd(keys.due(1), {1: 1, 3: 1})
    queried: list[int] = []
    events_to_expire = stock.office.events_to_expire

    async def recorded(shard: int, me: str, lease_ms: int, most: int) -> list[int]:
        queried.append(shard)
        return await events_to_expire(shard, me, lease_ms, most)

    monkeypatch.setattr(stock.office, "events_to_expire", recorded)
    task = asyncio.create_task(expiry.sweep(stock.office))
    try:
        await eventually_async(lambda: queried.count(0) >= 3, "a round of the sweeper ends")
        assert queried.count(1) >= 2
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
