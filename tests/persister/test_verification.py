"""A server that lacks what was acknowledged is found out, also if SQL does not have it either."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from booking.domain.lags import describe_lost
from booking.domain.outcomes import Outcome, Status
from booking.inventory import keys
from booking.inventory.box_office import BoxOffice
from booking.inventory.durability import REDIS
from booking.inventory.errors import InventoryUnavailable, ShardFenced
from booking.inventory.reader import InventoryReader
from booking.inventory.streams import ChangeStreams
from booking.inventory.topology import open_topology
from booking.ledger.inspection import inspect
from booking.operations.audit.comparison import audit_event
from booking.operations.doctor.database import check_shards
from booking.operations.restore.restoration import lost_shards, restore_empty, restore_shard
from booking.persister.verification import Verifier, verified_connections
from tests.fixtures.backend import Backend, open_backend
from tests.fixtures.proxy import lossy_proxy
from tests.fixtures.stock import SHARDS, Stock, one_server
from tests.fixtures.valkey import ValkeyServer


class Failover:
    """A worker behind a front, and two servers: the front leads to the first one, and then to the second."""

    def __init__(self, backend: Backend, stock: Stock, first: Any, second: Any) -> None:
        self.backend = backend
        self.stock = stock
        self.first = first
        self.second = second

    async def replicate(self) -> None:
        """The second server gets what the first one has now, and no more after that."""
        for key in await self.first.keys("*"):
            await self.second.restore(key, 0, await self.first.dump(key), replace=True)

    async def drop(self) -> None:
        """Closes the worker's connection, and returns when the worker knows it."""
        await self.first.client_kill_filter(_type="normal", skipme=True)
        with suppress(InventoryUnavailable):
            await self.stock.office.get_event(1)

    async def book(self, event_id: int, *users: str) -> list[str]:
        """Bookings of these users, and their ids."""
        outcomes: list[Outcome] = [await self.stock.office.book(event_id, user) for user in users]
        return [f"{event_id}-{one.booking.number}" for one in outcomes if one.booking is not None]

    async def renew_epochs(self) -> None:
        records = await self.backend.ledger.shards()
        self.stock.office.use_epochs([records[shard].epoch for shard in sorted(records)])


@asynccontextmanager
async def opened(tmp_path: Path, first: str, second: ValkeyServer) -> AsyncIterator[tuple[Failover, Any]]:
    url = f"sqlite:///{tmp_path / 'booking.sqlite3'}"
    async with (
        open_backend(first, url, tmp_path) as backend,
        lossy_proxy(first) as front,
        Redis.from_url(second.address, protocol=2) as there,
    ):
        topology = open_topology(front.address, SHARDS)
        connection = verified_connections(topology, Verifier(backend.ledger), REDIS)(front.address)
        batchers = one_server(front.address, connection)
        records = await backend.ledger.shards()
        office = BoxOffice(batchers, [records[shard].epoch for shard in range(SHARDS)], None, 1_000_000)
        try:
            stock = Stock(office, batchers, batchers.of_shard(0), connection, there)
            yield Failover(backend, stock, backend.stock.redis, there), front
        finally:
            await office.close()


async def test_what_a_failover_lost_is_told_and_its_ids_are_not_given_twice(
    tmp_path: Path, clean_valkey: str, second: ValkeyServer
) -> None:
    async with opened(tmp_path, clean_valkey, second) as (failover, front):
        await failover.stock.sale(1, capacity=100)
        await failover.book(1, "ann")
        await failover.backend.drain()
        await failover.book(1, "bob")
        await failover.replicate()
        told = await failover.book(1, "cid", "dan", "eve")  # the persister is dead
        upto = (await failover.first.xrevrange(keys.changes(1), count=1))[0][0].decode()
        front.lead_to(second.socket)
        with capture_logs() as logs:
            await failover.drop()
            with pytest.raises(ShardFenced):
                await failover.stock.office.book(1, "fay")
        lags = await failover.stock.office.lags()
        assert [lag.whole for lag in lags] == [True, False]
        assert lags[1].lost.endswith(f" {upto}")
        lost = describe_lost(1, lags[1].lost)
        assert [line["lost"] for line in logs if line["log_level"] == "error"] == [[lost]]

        settings = failover.backend.settings.model_copy(update={"redis_url": second.address})
        database = await inspect(settings.database_address)
        found = await check_shards(settings, database)
        assert lost in found[0].found
        assert "booking restore" in (found[0].advice or "")

        streams, reader = ChangeStreams(second.address), InventoryReader(second.address, SHARDS)
        try:
            await restore_empty(settings, failover.backend.ledger, streams, [1])
            assert await lost_shards(failover.backend.ledger, streams) == [1], "it was given up without an operator"
            restored = await restore_shard(settings, failover.backend.ledger, streams, 1)
            assert restored is not None
            assert (restored.saved, restored.lost) == (1, lags[1].lost), "bob's booking was on the replica"
            await failover.renew_epochs()
            assert (await failover.stock.office.book(1, "bob")).status is Status.ALREADY_BOOKED
            later = await failover.book(1, "fay", "gus", "hal")
            assert not set(told) & set(later), "an id was given to two users"
            failover.backend.settings = settings
            await failover.backend.drain()
            audit = await audit_event(reader, failover.backend.ledger, 1)
            assert audit.differences == []
        finally:
            await streams.close()
            await reader.close()


async def test_a_promoted_replica_with_every_acknowledged_change_sells_on(
    tmp_path: Path, clean_valkey: str, second: ValkeyServer
) -> None:
    async with opened(tmp_path, clean_valkey, second) as (failover, front):
        await failover.stock.sale(1, capacity=100)
        await failover.book(1, "ann", "bob")
        await failover.replicate()
        front.lead_to(second.socket)
        await failover.drop()
        assert (await failover.stock.office.book(1, "ann")).status is Status.ALREADY_BOOKED
        assert (await failover.stock.office.book(1, "cid")).status is Status.BOOKED


async def test_a_redis_emptied_before_sql_had_all_is_not_sold_from(
    tmp_path: Path, clean_valkey: str, second: ValkeyServer
) -> None:
    async with opened(tmp_path, clean_valkey, second) as (failover, _):
        await failover.stock.sale(1, capacity=100)
        await failover.book(1, "ann")
        await failover.first.flushall()
        for _ in range(2):  # the first one is refused, the second one finds out why
            with pytest.raises(ShardFenced):
                await failover.stock.office.book(1, "bob")
        async with failover.backend.persister() as persister:
            await persister.consume()
        with pytest.raises(ShardFenced):
            await failover.stock.office.book(1, "bob")
        assert (await failover.stock.office.lags())[1].lost
