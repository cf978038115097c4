"""The sweeper expires holds of idle events: one process at a time for each shard, whatever is wrong elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from booking.inventory import expiry as sweeper
from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable
from tests.fixtures.stock import SHARDS, Stock, open_stock
from tests.fixtures.waiting import PATIENCE_SECONDS, eventually_async


@pytest.fixture
async def stock(clean_valkey: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stock]:
    monkeypatch.setattr(sweeper, "PERIOD_SECONDS", 0.01)
    async with open_stock(clean_valkey) as opened:
        yield opened


@asynccontextmanager
async def sweeping(stock: Stock) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(sweeper.sweep(stock.office))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def make_ended_hold(stock: Stock, event_id: int) -> None:
    """Creates an event whose only ticket is on a hold that ended long ago, and a waiting user."""
    await stock.sale(event_id, capacity=1, hold_seconds=60)
    await stock.office.book(event_id, "ann")
    await stock.office.book(event_id, "bob")
    _, bookings, _, holds, due, *_ = keys.event_keys(event_id, SHARDS)
    record = await stock.redis.hget(bookings, "ann")
    await stock.redis.hset(bookings, "ann", record.rpartition(b" ")[0] + b" 1")
    await stock.redis.zadd(holds, {"ann": 1})
    await stock.redis.zadd(due, {event_id: 1})


async def kinds(stock: Stock, event_id: int) -> list[str]:
    return [entry.split(" ")[2] for entry in await stock.entries(event_id) if entry.startswith(f"{event_id} ")]


async def until_expired(stock: Stock, *event_ids: int) -> None:
    async def have_expired() -> bool:
        return all(["expired" in await kinds(stock, event_id) for event_id in event_ids])

    await eventually_async(have_expired, f"a hold of each of the events {event_ids} expires")


async def test_the_ticket_of_an_ended_hold_is_promoted_without_any_request(stock: Stock) -> None:
    await stock.sale(1, capacity=1, hold_seconds=60)
    await stock.redis.hset(keys.event_keys(1, SHARDS)[0], "hold_ms", 300)
    await stock.office.book(1, "ann")
    await stock.office.book(1, "bob")
    async with sweeping(stock):
        await until_expired(stock, 1)
    assert (await kinds(stock, 1))[:5] == ["created", "held", "joined", "expired", "promoted"]
    due = await stock.redis.zscore(keys.due(1), 1)
    assert due == await stock.redis.zscore(keys.event_keys(1, SHARDS)[3], "bob")


async def test_the_events_of_every_shard_are_swept(stock: Stock) -> None:
    for event_id in range(1, 8):
        await make_ended_hold(stock, event_id)
    async with sweeping(stock):
        await until_expired(stock, *range(1, 8))


async def test_one_sweeper_at_a_time_owns_a_shard_until_its_lease_ends(stock: Stock) -> None:
    await make_ended_hold(stock, 1)
    assert await stock.office.events_to_expire(1, "first", 60_000, 10) == [1]
    assert await stock.office.events_to_expire(1, "second", 60_000, 10) == []
    assert await stock.office.events_to_expire(1, "first", 20, 10) == [1]

    async def second_takes_over() -> bool:
        return bool(await stock.office.events_to_expire(1, "second", 20, 10))

    await eventually_async(second_takes_over, "the first sweeper's lease ends")


async def test_at_most_the_requested_number_of_due_events_is_returned_oldest_first(stock: Stock) -> None:
    await stock.redis.zadd(keys.due(1), {9: 1, 7: 3, 5: 2, 3: 10**15})
    assert await stock.office.events_to_expire(1, "me", 60_000, 2) == [9, 5]
    assert await stock.office.events_to_expire(1, "me", 60_000, 10) == [9, 5, 7]


async def test_a_damaged_shard_does_not_stop_the_sweep_of_others(stock: Stock) -> None:
    await make_ended_hold(stock, 2)
    await stock.redis.set(keys.due(1), "planted")
    async with sweeping(stock):
        await until_expired(stock, 2)


async def test_a_damaged_event_does_not_stop_the_sweep_of_others(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "BATCH_EVENTS_FIRST", 1)
    await make_ended_hold(stock, 1)
    await make_ended_hold(stock, 3)
    await stock.redis.delete(keys.event_keys(1, SHARDS)[2])
    await stock.redis.set(keys.event_keys(1, SHARDS)[2], "planted")
    async with sweeping(stock) as task:
        await until_expired(stock, 3)
        await make_ended_hold(stock, 5)
        await until_expired(stock, 5)
        assert not task.done()


@pytest.mark.parametrize(("patience", "at_once"), [(0.0, 1), (PATIENCE_SECONDS, sweeper.BATCH_EVENTS_MAX)])
async def test_the_sweeper_reads_fewer_events_at_once_if_the_reads_are_slow(
    patience: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    now = 0

    class Office:
        async def get_event(self, _: int) -> None:
            nonlocal now
            now += 1
            await asyncio.sleep(0)
            together.append(now)
            await asyncio.sleep(0)
            now -= 1

    monkeypatch.setattr(sweeper, "BATCH_SECONDS_MAX", patience)
    pace = sweeper.AdaptiveSweep(Office())  # type: ignore[arg-type]  # only `get_event` is called
    await asyncio.gather(*(pace.sweep_events(range(200)) for _ in range(3)))
    assert len(together) == 600
    assert together[0] <= sweeper.BATCH_EVENTS_FIRST
    assert max(together[10:]) == at_once


async def test_a_redis_that_is_away_is_waited_for(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    real, away = stock.office.events_to_expire, 0

    async def events_to_expire(*arguments: Any) -> list[int]:
        nonlocal away
        away += 1
        if away <= 6:
            raise InventoryUnavailable("Redis cannot be reached")
        return await real(*arguments)

    monkeypatch.setattr(stock.office, "events_to_expire", events_to_expire)
    await make_ended_hold(stock, 1)
    async with sweeping(stock):
        await until_expired(stock, 1)
    assert away > 6


async def test_a_shard_whose_server_stands_still_delays_the_sweep_of_no_other(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stock.office.events_to_expire

    async def events_to_expire(shard: int, me: str, lease_ms: int, most: int) -> list[int]:
        if shard == 0:
            await asyncio.Event().wait()
        return await real(shard, me, lease_ms, most)

    monkeypatch.setattr(stock.office, "events_to_expire", events_to_expire)
    async with sweeping(stock):
        for event_id in (1, 3, 5):
            await make_ended_hold(stock, event_id)
            await until_expired(stock, event_id)


async def test_an_unexpected_error_is_logged_and_does_not_end_the_sweeper(
    stock: Stock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, faults = stock.office.events_to_expire, 0

    async def events_to_expire(*arguments: Any) -> list[int]:
        nonlocal faults
        faults += 1
        if faults <= SHARDS:
            raise RuntimeError("a fault of ours")
        return await real(*arguments)

    monkeypatch.setattr(stock.office, "events_to_expire", events_to_expire)
    await make_ended_hold(stock, 1)
    async with sweeping(stock):
        await until_expired(stock, 1)
    assert "a shard could not be swept" in capsys.readouterr().out
