"""Dead holds that nobody looks at: swept within a second, by one process at a time, and by another if that one dies."""

import asyncio
import signal
import time

import pytest

from booking.inventory import expiry as sweeper
from booking.inventory import keys
from booking.settings import Settings
from tests.contract.api import open_api
from tests.fixtures.process_tree import is_alive
from tests.fixtures.service import RunningService
from tests.fixtures.stock import SHARDS, Stock
from tests.fixtures.waiting import eventually

from .behind import PATIENCE_SECONDS, changes_of, redis_of, settings_of, to_ms, until_expired
from .dead_holds import end_hold

WITHIN_MS = 1_000
"""From the end of a hold to its sweep, on Redis's clock (contract)."""

BUSY_MS = 10_000
"""The same on a machine that has other things to do."""


def sweeper_pid(service: RunningService, settings: Settings, event_id: int) -> int:
    """Which living process sweeps the event's shard now."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with redis_of(service.data_dir) as redis:
        while time.monotonic() < deadline:
            holder = redis.get(keys.sweeper(keys.shard_of(event_id, settings.shards)))
            if isinstance(holder, bytes) and is_alive(pid := int(holder.partition(b"-")[0])):
                return pid
            time.sleep(0.01)
    raise AssertionError("nobody sweeps the shard")


def test_an_idle_event_is_swept_within_a_second_and_its_ticket_moves_on_in_that_step(
    two_workers: RunningService,
) -> None:
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
        assert 0 <= expired.at_ms - end <= BUSY_MS
        promoted = next(change for change in changes_of(two_workers.data_dir, event_id) if change.kind == "promoted")
        assert promoted.at_ms == expired.at_ms


def sweep_without_the_sweeper(service: RunningService, settings: Settings) -> None:
    """Kills whoever has a shard just before a hold on it ends, and looks at when it was swept, and by whom."""
    with open_api(service) as api:
        event_id = api.event(hold_seconds=1)
        first = sweeper_pid(service, settings, event_id)
        end = to_ms(api.user().book(event_id).data["expires_at"])
    parts = {pid: name for name, pid in service.parts().items()}
    time.sleep(max(0.0, end / 1000 - time.time() - 0.02))
    assert service.kill(parts[first], signal.SIGKILL) == first
    assert 0 <= until_expired(service.data_dir, event_id).at_ms - end <= BUSY_MS
    assert sweeper_pid(service, settings, event_id) != first
    eventually(lambda: first not in service.parts().values(), "the worker that was killed is replaced")


def test_when_the_sweeper_is_killed_another_process_sweeps_within_the_same_second(two_workers: RunningService) -> None:
    settings = settings_of(two_workers.data_dir)
    for _ in range(2):  # the second time it is the one that took over, or one that was started anew
        sweep_without_the_sweeper(two_workers, settings)


def test_the_lease_of_a_dead_sweeper_and_the_next_look_of_another_leave_time_to_spare_in_that_second() -> None:
    assert sweeper.LEASE_MS + 1_000 * sweeper.PERIOD_SECONDS <= 0.8 * WITHIN_MS
    assert sweeper.LEASE_MS > 1_000 * sweeper.PERIOD_SECONDS, "a living sweeper keeps its shard"


async def dead_holds(stock: Stock, count: int) -> list[int]:
    """Events of one shard, each with a hold that ended in 1970."""
    event_ids = [1 + SHARDS * n for n in range(count)]
    for event_id in event_ids:
        await stock.sale(event_id, capacity=1, hold_seconds=60)
        await stock.office.book(event_id, "ann")
        await end_hold(stock, event_id, "ann")
    return event_ids


async def expired_count(stock: Stock) -> int:
    return sum(entry.split(" ")[2] == "expired" for entry in await stock.entries())


async def test_more_events_than_one_look_names_are_all_swept_without_waiting_for_the_next_round(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "EVENTS_MAX", 5)
    monkeypatch.setattr(sweeper, "PERIOD_SECONDS", 3_600)
    event_ids = await dead_holds(stock, 23)
    task = asyncio.create_task(sweeper.sweep(stock.office))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await expired_count(stock) < len(event_ids):
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await expired_count(stock) == len(event_ids)


async def test_events_that_are_named_but_have_nothing_to_sweep_do_not_keep_the_sweeper_running(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "EVENTS_MAX", 2)
    monkeypatch.setattr(sweeper, "PERIOD_SECONDS", 3_600)
    for event_id in (1, 3):
        await stock.sale(event_id, hold_seconds=60)
    await stock.redis.zadd(keys.due(1), {1: 1, 3: 1})
    looks = []
    events_to_expire = stock.office.events_to_expire

    async def counted(shard: int, me: str, lease_ms: int, most: int) -> list[int]:
        looks.append(shard)
        assert len(looks) < 50, "the sweeper never comes to rest"
        return await events_to_expire(shard, me, lease_ms, most)

    monkeypatch.setattr(stock.office, "events_to_expire", counted)
    task = asyncio.create_task(sweeper.sweep(stock.office))
    await asyncio.sleep(0.3)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert looks.count(1) >= 1
