"""A restore writes a shard only under a lease, and every write extends the lease."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from booking.domain.model import Booking, BookingStatus, Rules, Source
from booking.inventory import keys, restore_writer
from booking.inventory.restore_writer import LeaseLost, RestoreWriter
from tests.fixtures.stock import SHARDS, Stock, contents

COUNTERS = {"available": 4, "held": 1, "sold": 0, "bookings": 0, "holding": 1, "backlog": 0}
HOLD = Booking(1, 2, "ann", 1, BookingStatus.HELD, Source.SALE, 1, 2**45, None)

Step = Callable[[RestoreWriter], Awaitable[None]]

STEPS: dict[str, Step] = {
    "keep_lease": RestoreWriter.keep_lease,
    "fence": RestoreWriter.fence,
    "clear": RestoreWriter.clear,
    "write_bookings": lambda restorer: restorer.write_bookings(1, [HOLD]),
    "write_event": lambda restorer: restorer.write_event(1, Rules("Opening night", 5), "boss", 1, 2, COUNTERS),
}


@pytest.fixture
async def restorer(clean_valkey: str) -> AsyncIterator[RestoreWriter]:
    opened = RestoreWriter(clean_valkey, 1, SHARDS, "me")
    yield opened
    await opened.close()


@pytest.mark.parametrize("step", STEPS)
async def test_every_step_extends_the_lease(
    stock: Stock, restorer: RestoreWriter, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(restore_writer, "LEASE_MS", 3_600_000)
    assert await restorer.take_lease()
    await stock.redis.pexpire(keys.restoring(1), 60_000)
    await STEPS[step](restorer)
    assert await stock.redis.pttl(keys.restoring(1)) > 60_000


@pytest.mark.parametrize("step", STEPS)
async def test_a_restore_that_lost_its_lease_changes_nothing(stock: Stock, restorer: RestoreWriter, step: str) -> None:
    await stock.sale(1)
    await stock.office.book(1, "ann")
    await stock.redis.set(keys.restoring(1), "you")
    before = await contents(stock.redis)
    with pytest.raises(LeaseLost):
        await STEPS[step](restorer)
    await restorer.give_lease_back()
    assert await contents(stock.redis) == before


async def test_a_restore_that_loses_its_lease_just_before_a_write_does_not_write(
    stock: Stock, restorer: RestoreWriter
) -> None:
    await stock.sale(1)
    assert await restorer.take_lease()

    async def overtaken() -> None:
        async with restorer._under_lease() as pipeline:
            pipeline.delete(keys.epoch(1))
            await stock.redis.set(keys.restoring(1), "you")

    with pytest.raises(LeaseLost):
        await overtaken()
    assert await stock.redis.exists(keys.epoch(1))
    assert await stock.redis.get(keys.restoring(1)) == b"you"
