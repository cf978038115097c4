"""The clock of the day is set back: Redis's, whose time is the only one. Numbers and cursors go on all the same."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from booking.domain.outcomes import Status
from booking.inventory import keys
from tests.fixtures.shifted_clock import ShiftedClock
from tests.fixtures.spine import Spine, open_spine
from tests.fixtures.stock import SHARDS
from tests.fixtures.valkey import ValkeyServer
from tests.fixtures.waiting import eventually_async

HOUR_SECONDS = 3_600


@pytest.fixture
async def spine(shifted_valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[Spine]:
    async with open_spine(shifted_valkey.address, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as opened:
        for event_id in (1, 2, 3):
            await opened.stock.sale(event_id, capacity=200)
        yield opened


async def set_clock(spine: Spine, clock: ShiftedClock, shift: int) -> None:
    """Sets it, and waits until the server has looked at it again."""
    clock.shift(shift)

    async def is_set() -> bool:
        seconds, _ = await spine.stock.redis.time()
        return bool(abs(seconds - time.time() - shift) <= 30)

    await eventually_async(is_set, "Redis goes by the clock that was set")


async def test_while_the_clock_jumps_every_change_is_persisted_once_and_in_order(
    spine: Spine, clock: ShiftedClock, seed: int
) -> None:
    stop = asyncio.Event()
    async with spine.persister() as persister:
        load = asyncio.create_task(spine.load(seed, stop))
        carrying = asyncio.create_task(persister.run(stop))
        for shift in (0, -HOUR_SECONDS, -24 * HOUR_SECONDS, 0, -2 * HOUR_SECONDS):
            await set_clock(spine, clock, shift)
            await spine.sells_on(50)
        stop.set()
        await asyncio.gather(load, carrying)
    await spine.drain()
    await spine.check_both_sides_agree()


async def test_an_entry_comes_after_the_last_one_whatever_the_clock_says(spine: Spine, clock: ShiftedClock) -> None:
    await spine.stock.office.book(1, "ann")
    await set_clock(spine, clock, -HOUR_SECONDS)
    await spine.stock.office.book(1, "bob")
    (lag,) = [lag for lag in await spine.stock.office.lags() if lag.entries > 2]
    assert lag.oldest_ms >= 0, "nothing has waited for less than no time"
    ids = [entry for entry, _ in await spine.stock.redis.xrange(keys.changes(keys.shard_of(1, SHARDS)))]
    order = [tuple(map(int, entry.split(b"-"))) for entry in ids]
    assert order == sorted(set(order))
    await spine.drain()
    await set_clock(spine, clock, -2 * HOUR_SECONDS)
    await spine.stock.office.book(1, "cid")
    await spine.drain()
    await spine.check_both_sides_agree()


async def test_a_hold_goes_by_the_clock_that_was_set(spine: Spine, clock: ShiftedClock) -> None:
    held = await spine.stock.sale(4, hold_seconds=60)
    assert (await spine.stock.office.book(held, "ann")).status is Status.HELD
    await set_clock(spine, clock, -HOUR_SECONDS)
    assert (await spine.stock.office.confirm(held, "ann")).status is Status.CONFIRMED
    assert (await spine.stock.office.book(held, "bob")).status is Status.HELD
    await set_clock(spine, clock, 0)  # an hour later than when bob's hold began
    assert (await spine.stock.office.confirm(held, "bob")).status is Status.HOLD_EXPIRED
    event = await spine.stock.office.get_event(held)
    assert event is not None
    assert (event.tickets_sold, event.tickets_held) == (1, 0)
    await spine.drain()
    await spine.check_both_sides_agree((held,))
