"""A replica behind SQL is restored by itself after a failover, unless what was acknowledged may be lost for good."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from booking.domain.outcomes import Status
from booking.inventory.errors import InventoryUnavailable, ShardFenced
from booking.inventory.reader import InventoryReader
from booking.inventory.streams import ChangeStreams
from booking.inventory.topology import open_topology
from booking.metrics import Metrics
from booking.operations.audit.comparison import audit_event
from booking.operations.restore.automatic import restore_behind
from booking.operations.restore.restoration import restore_shard
from booking.persister.bootstrap import positions_of
from tests.fixtures.stock import SHARDS
from tests.fixtures.valkey import ValkeyServer
from tests.fixtures.waiting import eventually_async
from tests.persister.test_verification import Failover, opened


@asynccontextmanager
async def restoring(failover: Failover, address: str) -> AsyncIterator[Metrics]:
    """What runs beside a persister whose Redis is at the address."""
    settings = failover.backend.settings.model_copy(update={"redis_url": address})
    failover.backend.settings = settings
    metrics = Metrics()
    task = asyncio.create_task(restore_behind(settings, open_topology(address, SHARDS), metrics))
    try:
        yield metrics
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_replica_behind_sql_sells_on_by_itself(tmp_path: Path, clean_valkey: str, second: ValkeyServer) -> None:
    async with opened(tmp_path, clean_valkey, second) as (failover, front):
        await failover.stock.sale(1, capacity=100)
        told = await failover.book(1, "ann")
        await failover.replicate()
        told += await failover.book(1, "bob", "cid")
        await failover.backend.drain()
        front.lead_to(second.socket)
        await failover.drop()
        with pytest.raises(ShardFenced):
            await failover.stock.office.book(1, "dan")

        async with restoring(failover, front.address) as metrics:

            async def sells() -> bool:
                with suppress(InventoryUnavailable):
                    await failover.renew_epochs()
                    return (await failover.stock.office.book(1, "dan")).status in (Status.BOOKED, Status.ALREADY_BOOKED)
                return False

            await eventually_async(sells, "the shard is restored")
            counted = {("booking_restorations_total", ""): 1}
            await eventually_async(lambda: metrics.counters == counted, "the restoration is counted")
        for user in ("ann", "bob", "cid"):
            assert (await failover.stock.office.book(1, user)).status is Status.ALREADY_BOOKED
        later = await failover.book(1, "eve", "fay")
        assert not set(told) & set(later), "an id was given to two users"
        await failover.backend.drain()
        reader = InventoryReader(second.address, SHARDS)
        try:
            assert (await audit_event(reader, failover.backend.ledger, 1)).differences == []
        finally:
            await reader.close()


@pytest.mark.parametrize("lost", ["acknowledged", "sql", "another epoch"])
async def test_a_shard_that_may_have_lost_more_waits_for_an_operator(
    tmp_path: Path, clean_valkey: str, second: ValkeyServer, lost: str
) -> None:
    async with opened(tmp_path, clean_valkey, second) as (failover, front):
        await failover.stock.sale(1, capacity=100)
        await failover.book(1, "ann")
        await failover.backend.drain()
        if lost == "another epoch":
            streams = ChangeStreams(clean_valkey)
            try:
                await failover.replicate()
                await failover.book(1, "bob")
                await failover.backend.drain()
                await restore_shard(failover.backend.settings, failover.backend.ledger, streams, 1, even_if_whole=True)
            finally:
                await streams.close()
        elif lost == "acknowledged":
            await failover.replicate()
            await failover.book(1, "bob")
            await failover.backend.drain()
            await failover.book(1, "cid")
        else:
            await failover.book(1, "bob")
            await failover.replicate()
        front.lead_to(second.socket)
        with suppress(InventoryUnavailable):
            await failover.drop()
            await failover.stock.office.get_event(1)
        streams = ChangeStreams(second.address)
        try:
            if lost == "sql":
                await streams.fence([1])
            positions = positions_of(await failover.backend.ledger.shards())
            assert await streams.behind(positions) == []
            settings = failover.backend.settings.model_copy(update={"redis_url": second.address})
            assert await restore_shard(settings, failover.backend.ledger, streams, 1, only_behind=True) is None
        finally:
            await streams.close()
