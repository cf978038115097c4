"""Redis's clock, which is the only clock of the service, is set back. Sequence numbers and cursors still increase."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from booking.domain.outcomes import Status
from booking.inventory import keys
from tests.fixtures.backend import Backend, open_backend
from tests.fixtures.shifted_clock import ShiftedClock
from tests.fixtures.stock import SHARDS
from tests.fixtures.valkey import ValkeyServer
from tests.fixtures.waiting import eventually_async

HOUR_SECONDS = 3_600


@pytest.fixture
async def backend(shifted_valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[Backend]:
    async with open_backend(shifted_valkey.address, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as opened:
        for event_id in (1, 2, 3):
            await opened.stock.sale(event_id, capacity=200)
        yield opened


async def set_clock(backend: Backend, clock: ShiftedClock, shift: int) -> None:
    """Sets the clock and waits until the server uses it."""
    clock.shift(shift)

    async def is_set() -> bool:
        seconds, _ = await backend.stock.redis.time()
        return bool(abs(seconds - time.time() - shift) <= 30)

    await eventually_async(is_set, "Redis goes by the clock that was set")


async def test_every_change_is_persisted_once_and_in_order_while_the_clock_jumps(
    backend: Backend, clock: ShiftedClock, seed: int
) -> None:
    stop = asyncio.Event()
    async with backend.persister() as persister:
        load = asyncio.create_task(backend.load(seed, stop))
        carrying = asyncio.create_task(persister.run(stop))
        for shift in (0, -HOUR_SECONDS, -24 * HOUR_SECONDS, 0, -2 * HOUR_SECONDS):
            await set_clock(backend, clock, shift)
            await backend.sells_on(50)
        stop.set()
        await asyncio.gather(load, carrying)
    await backend.drain()
    await backend.check_both_sides_agree()


async def test_a_new_entry_follows_the_last_one_even_if_the_clock_went_back(
    backend: Backend, clock: ShiftedClock
) -> None:
    await backend.stock.office.book(1, "ann")
    await set_clock(backend, clock, -HOUR_SECONDS)
    await backend.stock.office.book(1, "bob")
    (lag,) = [lag for lag in await backend.stock.office.lags() if lag.entries > 2]
    assert lag.oldest_ms >= 0, "a lag is negative"
    ids = [entry for entry, _ in await backend.stock.redis.xrange(keys.changes(keys.shard_of(1, SHARDS)))]
    order = [tuple(map(int, entry.split(b"-"))) for entry in ids]
    assert order == sorted(set(order))
    await backend.drain()
    await set_clock(backend, clock, -2 * HOUR_SECONDS)
    await backend.stock.office.book(1, "cid")
    await backend.drain()
    await backend.check_both_sides_agree()


async def test_a_hold_ends_by_the_clock_as_it_is_set(backend: Backend, clock: ShiftedClock) -> None:
    held = await backend.stock.sale(4, hold_seconds=60)
    assert (await backend.stock.office.book(held, "ann")).status is Status.HELD
    await set_clock(backend, clock, -HOUR_SECONDS)
    assert (await backend.stock.office.confirm(held, "ann")).status is Status.CONFIRMED
    assert (await backend.stock.office.book(held, "bob")).status is Status.HELD
    await set_clock(backend, clock, 0)  # an hour after bob's hold began
    assert (await backend.stock.office.confirm(held, "bob")).status is Status.HOLD_EXPIRED
    event = await backend.stock.office.get_event(held)
    assert event is not None
    assert (event.tickets_sold, event.tickets_held) == (1, 0)
    await backend.drain()
    await backend.check_both_sides_agree((held,))
