"""What an acknowledgement is worth: each level holds against the fault that tells it from the one before."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from booking.domain.outcomes import Outcome, Status
from booking.inventory.batcher import CommandBatcher
from booking.inventory.box_office import BoxOffice
from booking.inventory.durability import REDIS, Durability, LevelUnavailable, choose
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown
from booking.inventory.script_connection import ScriptConnection
from booking.inventory.scripts import all_scripts
from tests.fixtures.stock import EPOCHS, Stock, found
from tests.fixtures.valkey import ValkeyServer, running_valkey

SYNCED = ("--appendonly", "yes", "--appendfsync")


@asynccontextmanager
async def opened(
    server: ValkeyServer, durability: Durability, saved: Callable[[], Awaitable[bool]] | None = None
) -> AsyncIterator[Stock]:
    """A stock whose changes are acknowledged at a level."""
    await found(server.address)
    redis: Any = Redis.from_url(server.address, protocol=2)
    connection = ScriptConnection(server.address, all_scripts(), durability=durability)
    batcher = CommandBatcher(connection, 4_096, saved)
    office = BoxOffice([batcher], EPOCHS, None, 1_000_000)
    try:
        yield Stock(office, batcher, connection, redis)
    finally:
        await office.close()
        await redis.aclose()


@pytest.mark.parametrize(
    ("options", "level"),
    [((*SYNCED, "always"), "disk"), ((*SYNCED, "everysec"), "redis"), ((*SYNCED, "no"), "redis"), ((), "redis")],
)
async def test_the_default_is_what_redis_gives_by_itself(options: tuple[str, ...], level: str) -> None:
    with running_valkey(*options) as server:
        assert (await choose(server.address, None, 1)).level == level


async def test_a_level_that_redis_cannot_give_is_refused_with_what_would_help() -> None:
    with running_valkey() as server:
        with pytest.raises(LevelUnavailable, match="appendonly yes"):
            await choose(server.address, "disk", 1)
        with pytest.raises(LevelUnavailable, match="0 replicas connected, and 2"):
            await choose(server.address, "replica", 2)
        assert await choose(server.address, "redis", 1) == REDIS
    with pytest.raises(InventoryUnavailable):
        await choose("unix:///nowhere/at-all.sock", None, 1)


async def test_where_each_write_is_synced_the_answer_is_enough_and_elsewhere_one_wait_serves_a_batch() -> None:
    with running_valkey(*SYNCED, "always") as server:
        assert (await choose(server.address, "disk", 1)).command == b""
    with running_valkey(*SYNCED, "everysec") as server:
        durability = await choose(server.address, "disk", 1)
        async with opened(server, durability) as stock:
            await stock.sale(capacity=1_000)
            before = await stock.calls("waitaof")
            outcomes = await asyncio.gather(*(stock.office.book(1, f"buyer-{number}") for number in range(200)))
            assert {outcome.status for outcome in outcomes} == {Status.BOOKED}
            assert 1 <= await stock.calls("waitaof") - before <= 6, "not one a booking"
            told = await stock.redis.info("persistence")
            assert int(told["aof_pending_bio_fsync"]) == 0
            waits = await stock.calls("waitaof")
            await stock.office.get_event(1)
            assert await stock.calls("waitaof") == waits, "nobody waits for a reading"


async def test_what_was_synced_is_there_after_what_was_not_is_dropped() -> None:
    """The file as it is when the answer comes, which is all that a power cut would leave of it, has the booking."""
    with running_valkey(*SYNCED, "everysec") as server:
        async with opened(server, await choose(server.address, "disk", 1)) as stock:
            await stock.sale()
            await stock.office.book(1, "ann")
            server.process.send_signal(signal.SIGKILL)
            written = b"".join(path.read_bytes() for path in sorted((server.folder / "appendonlydir").glob("*.aof")))
            assert b"booked" in written


@asynccontextmanager
async def replicated() -> AsyncIterator[tuple[ValkeyServer, ValkeyServer, Any]]:
    """A primary on a port of its own, a replica of it that is in step, and the way to the latter."""
    with running_valkey() as primary, running_valkey() as replica:
        leading: Any = Redis.from_url(primary.address, protocol=2)
        following: Any = Redis.from_url(replica.address, protocol=2)
        await leading.config_set("port", _free_port())
        port = (await leading.config_get("port"))["port"]
        await leading.config_set("repl-diskless-sync-delay", 0)
        await following.execute_command("REPLICAOF", "127.0.0.1", port)
        while (await following.info("replication")).get("master_link_status") != "up":
            await asyncio.sleep(0.02)
        try:
            yield primary, replica, following
        finally:
            await leading.aclose()
            await following.aclose()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_what_a_replica_has_is_there_when_the_primary_is_lost_and_the_replica_takes_its_place() -> None:
    async with replicated() as (primary, replica, following):
        durability = await choose(primary.address, "replica", 1)
        async with opened(primary, durability) as stock:
            await stock.sale(capacity=100)
            outcomes = await asyncio.gather(*(stock.office.book(1, f"buyer-{number}") for number in range(50)))
            primary.process.send_signal(signal.SIGKILL)
            assert all(isinstance(outcome, Outcome) for outcome in outcomes)
        await following.execute_command("REPLICAOF", "NO", "ONE")
        async with opened(replica, REDIS) as promoted:
            for number in range(50):
                assert (await promoted.office.book(1, f"buyer-{number}")).status is Status.ALREADY_BOOKED


async def test_what_no_replica_has_is_not_acknowledged_at_that_level_and_is_at_the_one_below() -> None:
    async with replicated() as (primary, replica, _):
        durability = await choose(primary.address, "replica", 1)
        async with opened(primary, durability) as stock, opened(primary, REDIS) as below:
            await stock.sale(capacity=100)
            replica.process.send_signal(signal.SIGSTOP)
            assert (await below.office.book(1, "lost with the primary")).status is Status.BOOKED
            with pytest.raises(OutcomeUnknown, match="durability replica was not confirmed"):
                await stock.office.book(1, "ann")
            assert await stock.office.get_event(1) is not None, "a reading waits for nobody"
            replica.process.send_signal(signal.SIGCONT)
            assert (await stock.office.book(1, "bob")).status is Status.BOOKED


async def test_a_change_whose_confirmation_never_came_is_unknown_though_redis_has_answered() -> None:
    """The primary is lost between its own answer and the replica's: the very failover that the level is for."""
    async with replicated() as (primary, replica, _):
        durability = await choose(primary.address, "replica", 1)
        async with opened(primary, durability) as stock:
            await stock.sale(capacity=100)
            replica.process.send_signal(signal.SIGSTOP)
            change = asyncio.ensure_future(stock.office.book(1, "ann"))
            async with opened(primary, REDIS) as below:
                while (await below.office.get_booking(1, "ann")).status is not Status.FOUND:
                    await asyncio.sleep(0.01)
            primary.process.send_signal(signal.SIGKILL)
            with pytest.raises(OutcomeUnknown):
                await change
            replica.process.send_signal(signal.SIGCONT)


async def test_a_link_leaves_a_server_that_has_become_a_replica(tmp_path: Path) -> None:
    """Its name may lead to the one that was promoted."""
    name = tmp_path / "redis.sock"
    async with replicated() as (primary, replica, following):
        name.symlink_to(primary.socket)
        await found(primary.address)
        connection = ScriptConnection(f"unix://{name}", all_scripts())
        batcher = CommandBatcher(connection, 4_096)
        office = BoxOffice([batcher], EPOCHS, None, 1_000_000)
        leading: Any = Redis.from_url(primary.address, protocol=2)
        try:
            stock = Stock(office, batcher, connection, leading)
            await stock.sale(capacity=100)
            await leading.execute_command("WAIT", 1, 5_000)
            await following.execute_command("REPLICAOF", "NO", "ONE")
            await leading.execute_command("REPLICAOF", "127.0.0.1", "1")
            name.unlink()
            name.symlink_to(replica.socket)
            with pytest.raises(InventoryUnavailable, match="READONLY"):
                await office.book(1, "ann")
            assert (await office.book(1, "ann")).status is Status.BOOKED
        finally:
            await office.close()
            await leading.aclose()


async def test_an_answer_that_waits_for_the_database_is_given_when_that_has_it_or_unknown(server: ValkeyServer) -> None:
    has_it = asyncio.Event()
    answers: list[bool] = [True, False]

    async def saved() -> bool:
        await has_it.wait()
        if not answers:
            raise ConnectionError
        return answers.pop(0)

    async with opened(server, REDIS) as plain:
        await plain.sale(capacity=100)
    async with opened(server, REDIS, saved) as stock:
        first = asyncio.create_task(stock.office.book(1, "ann"))
        assert await stock.office.get_event(1) is not None, "a reading waits for nobody"
        assert not first.done()
        has_it.set()
        assert (await first).status is Status.BOOKED
        for _ in range(2):
            with pytest.raises(OutcomeUnknown, match="database"):
                await stock.office.book(1, "bob")


@pytest.fixture
def server() -> Any:
    with running_valkey() as running:
        yield running
