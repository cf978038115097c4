"""Redis's clock is an hour ahead for one call. Afterwards nothing believes the times that were written meanwhile."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from booking.domain.lags import Lag
from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.box_office import RateLimit
from booking.inventory.inspection import shard_lags
from booking.inventory.password_checks import PasswordChecks
from booking.inventory.restore_writer import LEASE_MS, RestoreWriter
from tests.fixtures.shifted_clock import ShiftedClock
from tests.fixtures.stock import EPOCHS, SHARDS, open_stock
from tests.fixtures.valkey import ValkeyServer
from tests.fixtures.waiting import eventually_async

EVENT = 1
HOUR_SECONDS = 3_600
LIMIT = RateLimit(burst=2, per_second=0.01)
SECONDS_MAX = 200
"""The time in which a bucket of LIMIT fills: no call has to wait longer."""


async def shift(clock: ShiftedClock, server: ValkeyServer, seconds: int) -> None:
    """Sets the clock. A server reads it before it waits for a command, so the next command has the new time."""
    clock.shift(seconds)
    redis: Any = Redis.from_url(server.address)
    await redis.ping()
    await redis.aclose()


async def test_no_caller_waits_longer_than_a_bucket_takes_to_fill(
    shifted_valkey: ValkeyServer, clock: ShiftedClock
) -> None:
    async with open_stock(shifted_valkey.address, rate_limit=LIMIT) as stock:
        await stock.sale(EVENT)
        checks = PasswordChecks(stock.batchers, LIMIT)

        async def waits_ms() -> list[int]:
            cancelled = await stock.office.cancel(EVENT, "ann")
            return [
                cancelled.wait_ms,
                await stock.office.take_token(EVENT, "bob"),
                await stock.office.take_address_token("10.0.0.1", LIMIT),
                (await checks.begin("ann@example.com", "10.0.0.1"))[0],
            ]

        await shift(clock, shifted_valkey, HOUR_SECONDS)
        assert await waits_ms() == [0, 0, 0, 0]
        await shift(clock, shifted_valkey, 0)
        assert await waits_ms() == [0, 0, 0, 0]
        await waits_ms()
        found = await waits_ms()
        assert all(0 < wait_ms <= SECONDS_MAX * 1000 for wait_ms in found), found


async def test_a_failed_check_given_back_afterwards_leaves_no_wait(
    shifted_valkey: ValkeyServer, clock: ShiftedClock
) -> None:
    async with open_stock(shifted_valkey.address) as stock:
        checks = PasswordChecks(stock.batchers, LIMIT)
        await shift(clock, shifted_valkey, HOUR_SECONDS)
        await checks.begin("ann@example.com", "10.0.0.1")
        await shift(clock, shifted_valkey, 0)
        await checks.end("ann@example.com", "10.0.0.1", drew=True, was_right=False)
        assert (await checks.begin("ann@example.com", "10.0.0.1"))[0] == 0


@pytest.mark.parametrize("later_entries", [0, 1])
async def test_the_lag_grows_while_sql_stands_still(
    shifted_valkey: ValkeyServer, clock: ShiftedClock, later_entries: int
) -> None:
    async with open_stock(shifted_valkey.address) as stock:
        await shift(clock, shifted_valkey, HOUR_SECONDS)
        await stock.sale(EVENT)
        await shift(clock, shifted_valkey, 0)
        for number in range(later_entries):
            await stock.office.book(EVENT, f"user-{number}")

        async def has_grown() -> bool:
            return max(lag.oldest_ms for lag in await stock.office.lags()) > 0

        await eventually_async(has_grown, "the lag is more than 0")
        await stock.redis.delete(keys.changes(EVENT % SHARDS))
        assert [lag.oldest_ms for lag in await stock.office.lags()] == [0] * SHARDS


async def test_the_lag_of_an_entry_written_afterwards_is_its_own_age(
    shifted_valkey: ValkeyServer, clock: ShiftedClock
) -> None:
    async with open_stock(shifted_valkey.address) as stock:
        await shift(clock, shifted_valkey, HOUR_SECONDS)
        await stock.sale(EVENT)
        await shift(clock, shifted_valkey, 0)
        await stock.office.book(EVENT, "ann")
        (ahead, _), (afterwards, _) = await stock.redis.xrange(keys.changes(1))
        await stock.redis.xdel(keys.changes(1), ahead)
        await shift(clock, shifted_valkey, 60)
        found = await shard_lags(shifted_valkey.address, {1: (EPOCHS[1], afterwards.decode())})
        assert isinstance(found[1], Lag)
        for lag in (found[1], (await stock.office.lags())[1]):
            assert 59_000 < lag.oldest_ms < 90_000


async def test_a_sweeper_that_died_meanwhile_does_not_keep_its_shard_for_an_hour(
    shifted_valkey: ValkeyServer, clock: ShiftedClock
) -> None:
    async with open_stock(shifted_valkey.address) as stock:
        await stock.sale(EVENT, hold_seconds=1)
        assert (await stock.office.book(EVENT, "ann")).status is Status.HELD
        await shift(clock, shifted_valkey, HOUR_SECONDS)
        assert await stock.office.events_to_expire(1, "dead", 500, 10) == [EVENT]
        await shift(clock, shifted_valkey, 0)

        async def is_due() -> bool:
            return await stock.office.events_to_expire(1, "alive", 500, 10) == [EVENT]

        await eventually_async(is_due, "another sweeper finds the hold that has ended")


async def test_a_restoration_that_died_meanwhile_keeps_others_off_for_one_lease_only(
    shifted_valkey: ValkeyServer, clock: ShiftedClock
) -> None:
    dead, alive = (RestoreWriter(shifted_valkey.address, 0, SHARDS, me) for me in ("dead", "alive"))
    try:
        await shift(clock, shifted_valkey, HOUR_SECONDS)
        assert await dead.take_lease()
        await shift(clock, shifted_valkey, 0)
        assert not await alive.take_lease()
        async with open_stock(shifted_valkey.address, epochs=EPOCHS) as stock:
            assert 0 < await stock.redis.pttl(keys.restoring(0)) <= LEASE_MS
    finally:
        await asyncio.gather(dead.close(), alive.close())
