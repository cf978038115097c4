"""Each durability level survives the fault that distinguishes it from the level below."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from booking.domain.outcomes import Outcome, Status
from booking.inventory.box_office import BoxOffice, RateLimit
from booking.inventory.durability import REDIS, Durability, Level, LevelUnavailable, choose
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown
from booking.inventory.script_connection import ScriptConnection
from booking.inventory.scripts import all_scripts
from booking.inventory.streams import ChangeStreams
from tests.fixtures.servers import listening
from tests.fixtures.stock import EPOCHS, Stock, found, one_server
from tests.fixtures.valkey import ValkeyServer, running_valkey
from tests.fixtures.waiting import eventually_async

SYNCED = ("--appendonly", "yes", "--appendfsync")


@asynccontextmanager
async def opened(
    server: ValkeyServer, durability: Durability, saved: Callable[[int], Awaitable[bool]] | None = None
) -> AsyncIterator[Stock]:
    """An inventory whose changes are acknowledged at this level."""
    await found(server.address)
    redis: Any = Redis.from_url(server.address, protocol=2)
    connection = ScriptConnection(server.address, all_scripts(), durability=durability)
    batchers = one_server(server.address, connection, saved=saved)
    office = BoxOffice(batchers, EPOCHS, None, 1_000_000)
    try:
        yield Stock(office, batchers, batchers.of_shard(0), connection, redis)
    finally:
        await office.close()
        await redis.aclose()


@pytest.mark.parametrize(
    ("options", "level"),
    [((*SYNCED, "always"), "disk"), ((*SYNCED, "everysec"), "redis"), ((*SYNCED, "no"), "redis"), ((), "redis")],
)
async def test_the_default_level_needs_no_extra_wait(options: tuple[str, ...], level: str) -> None:
    with running_valkey(*options) as server:
        assert (await choose(server.address, None, 1)).level == level


async def test_a_level_that_redis_cannot_provide_is_refused_with_advice() -> None:
    with running_valkey() as server:
        with pytest.raises(LevelUnavailable, match="appendonly yes"):
            await choose(server.address, "disk", 1)
        with pytest.raises(LevelUnavailable, match="0 replicas connected, and 2"):
            await choose(server.address, "replica", 2)
        assert await choose(server.address, "redis", 1) == REDIS
    with pytest.raises(InventoryUnavailable):
        await choose("unix:///nowhere/at-all.sock", None, 1)


async def test_one_wait_for_durability_serves_a_whole_batch() -> None:
    with running_valkey(*SYNCED, "always") as server:
        assert (await choose(server.address, "disk", 1)).command == b""
    with running_valkey(*SYNCED, "everysec") as server:
        durability = await choose(server.address, "disk", 1)
        async with opened(server, durability) as stock:
            await stock.sale(capacity=1_000)
            before = await stock.calls("waitaof")
            outcomes = await asyncio.gather(*(stock.office.book(1, f"buyer-{number}") for number in range(200)))
            assert {outcome.status for outcome in outcomes} == {Status.BOOKED}
            assert 1 <= await stock.calls("waitaof") - before <= 6, "each booking was synced by itself"
            info = await stock.redis.info("persistence")
            assert int(info["aof_pending_bio_fsync"]) == 0
            waits = await stock.calls("waitaof")
            await stock.office.get_event(1)
            assert await stock.calls("waitaof") == waits, "a read was synced"


async def test_a_synced_change_survives_the_loss_of_unsynced_data() -> None:
    """At the time of the answer the file, which is all that survives a power cut, contains the booking."""
    with running_valkey(*SYNCED, "everysec") as server:
        async with opened(server, await choose(server.address, "disk", 1)) as stock:
            await stock.sale()
            await stock.office.book(1, "ann")
            server.process.send_signal(signal.SIGKILL)
            written = b"".join(path.read_bytes() for path in sorted((server.folder / "appendonlydir").glob("*.aof")))
            assert b"booked" in written


@asynccontextmanager
async def replicated() -> AsyncIterator[tuple[ValkeyServer, ValkeyServer, Any]]:
    """Runs a primary on a port of its own and a synchronized replica."""
    with running_valkey() as primary, running_valkey() as replica:
        leading: Any = Redis.from_url(primary.address, protocol=2)
        following: Any = Redis.from_url(replica.address, protocol=2)
        await leading.config_set("port", _free_port())
        port = (await leading.config_get("port"))["port"]
        await leading.config_set("repl-diskless-sync-delay", 0)
        try:
            await follow(following, int(port))
            yield primary, replica, following
        finally:
            await leading.aclose()
            await following.aclose()


async def follow(replica: Any, port: int) -> None:
    """Has a server replicate the one behind a port. Returns once it is connected."""
    await replica.execute_command("REPLICAOF", "127.0.0.1", port)

    async def is_connected() -> bool:
        found = await replica.info("replication")
        return bool(found["master_port"] == port and found["master_link_status"] == "up")

    await eventually_async(is_connected, "the replica is connected to its primary")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_replicated_change_survives_a_failover() -> None:
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


async def test_a_change_without_a_replica_is_acknowledged_only_at_the_level_below() -> None:
    async with replicated() as (primary, replica, _):
        durability = await choose(primary.address, "replica", 1)
        async with opened(primary, durability) as stock, opened(primary, REDIS) as below:
            await stock.sale(capacity=100)
            replica.process.send_signal(signal.SIGSTOP)
            assert (await below.office.book(1, "lost with the primary")).status is Status.BOOKED
            with pytest.raises(OutcomeUnknown, match="durability replica was not confirmed"):
                await stock.office.book(1, "ann")
            assert await stock.office.get_event(1) is not None, "a read waits for durability"
            replica.process.send_signal(signal.SIGCONT)
            assert (await stock.office.book(1, "bob")).status is Status.BOOKED


async def test_nothing_is_sold_while_fewer_replicas_are_connected_than_have_to_confirm() -> None:
    async with replicated() as (primary, replica, _):
        durability = await choose(primary.address, "replica", 1)
        async with opened(primary, durability) as stock:
            await stock.sale(capacity=100)
            replica.process.send_signal(signal.SIGKILL)

            async def is_alone() -> bool:
                return int((await stock.redis.info("replication"))["connected_slaves"]) == 0

            await eventually_async(is_alone, "the primary has noticed")
            for number in range(10):
                with pytest.raises(InventoryUnavailable, match="0 of 1 replicas"):
                    await stock.office.book(1, f"buyer-{number}")
            event = await stock.office.get_event(1)
            assert event is not None, "a read needs no replica"
            assert (event.tickets_sold, len(await stock.entries())) == (0, 1)


async def test_a_replica_that_stops_costs_one_unknown_batch_and_then_nothing_is_sold() -> None:
    async with replicated() as (primary, replica, _):
        durability = await choose(primary.address, "replica", 1)
        async with opened(primary, durability) as stock:
            await stock.sale(capacity=100)
            replica.process.send_signal(signal.SIGSTOP)
            with pytest.raises(OutcomeUnknown):
                await stock.office.book(1, "ann")
            for number in range(10):
                with pytest.raises(InventoryUnavailable, match="0 of 1 replicas"):
                    await stock.office.book(1, f"buyer-{number}")
            event = await stock.office.get_event(1)
            assert event is not None
            assert event.tickets_sold == 1, "more than ann's is sold"
            replica.process.send_signal(signal.SIGCONT)

            async def sells() -> bool:
                with suppress(InventoryUnavailable):
                    return (await stock.office.book(1, "bob")).status is Status.BOOKED
                return False

            await eventually_async(sells, "the replica has caught up")


@asynccontextmanager
async def long_link(server: ValkeyServer, seconds: float) -> AsyncIterator[int]:
    """A port on which a server can be reached, and each message takes so long."""

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            await asyncio.sleep(seconds)
            target.write(data)
        target.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(server.socket)
        try:
            await asyncio.gather(pass_on(reader, to_server), pass_on(from_server, writer))
        finally:
            to_server.close()

    async with listening(connected) as port:
        yield port


async def ask_on(redis: Any) -> None:
    """Asks a server one thing after the other."""
    while True:
        await redis.ping()


async def test_a_replica_that_is_far_away_confirms_a_change_after_any_other_write() -> None:
    """A lease or a rate is a write of the same connection, too, and no batch has waited for it."""
    async with replicated() as (primary, _, following), long_link(primary, 0.03) as port:
        await follow(following, port)
        async with opened(primary, await choose(primary.address, "replica", 1)) as stock:
            await stock.sale(capacity=100)
            addresses = iter(range(1_000))
            others = asyncio.create_task(ask_on(stock.redis))  # a server without traffic looks at time-outs too late

            async def is_acknowledged() -> bool:
                await stock.office.take_address_token(f"192.0.2.{next(addresses)}", RateLimit(1, 1))
                with suppress(InventoryUnavailable):
                    return (await stock.office.book(1, "ann")).status is Status.BOOKED
                return False

            try:
                await eventually_async(is_acknowledged, "a booking is acknowledged", seconds=10)
            finally:
                others.cancel()
                await following.execute_command("REPLICAOF", "NO", "ONE")


async def test_sql_gets_no_change_before_the_replicas_have_it() -> None:
    async with replicated() as (primary, replica, _), opened(primary, REDIS) as stock:
        streams = ChangeStreams(primary.address, replicas=1)
        positions = {shard: (epoch, "0-0") for shard, epoch in enumerate(EPOCHS)}
        try:
            await stock.sale(capacity=100)
            assert len((await streams.read(positions, 10)).batches) == 1
            replica.process.send_signal(signal.SIGSTOP)
            await stock.office.book(1, "ann")
            with pytest.raises(InventoryUnavailable, match="0 of 1 replicas"):
                await streams.read(positions, 10)
            replica.process.send_signal(signal.SIGCONT)
        finally:
            await streams.close()


async def test_a_change_whose_durability_was_not_confirmed_is_unknown() -> None:
    """The primary is lost between its own answer and the replica's, which is the failover that this level is for."""
    async with replicated() as (primary, replica, _):
        durability = await choose(primary.address, "replica", 1)
        async with opened(primary, durability) as stock:
            await stock.sale(capacity=100)
            replica.process.send_signal(signal.SIGSTOP)
            change = asyncio.ensure_future(stock.office.book(1, "ann"))
            async with opened(primary, REDIS) as below:

                async def is_made() -> bool:
                    return (await below.office.get_booking(1, "ann")).status is Status.FOUND

                await eventually_async(is_made, "the primary has made the change")
            primary.process.send_signal(signal.SIGKILL)
            with pytest.raises(OutcomeUnknown):
                await change
            replica.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("level", "before", "after"),
    [("redis", "READONLY", "BOOKED"), ("replica", "WAIT cannot be used with replica", "0 of 1 replicas")],
)
async def test_a_connection_is_closed_if_its_server_has_become_a_replica(
    tmp_path: Path, level: Level, before: str, after: str
) -> None:
    """The host name may now lead to the promoted server, which has no replica."""
    name = tmp_path / "redis.sock"
    async with replicated() as (primary, replica, following):
        name.symlink_to(primary.socket)
        await found(primary.address)
        durability = await choose(primary.address, level, 1)
        connection = ScriptConnection(f"unix://{name}", all_scripts(), durability=durability)
        batchers = one_server(f"unix://{name}", connection)
        office = BoxOffice(batchers, EPOCHS, None, 1_000_000)
        leading: Any = Redis.from_url(primary.address, protocol=2)
        try:
            stock = Stock(office, batchers, batchers.of_shard(0), connection, leading)
            await stock.sale(capacity=100)
            await leading.execute_command("WAIT", 1, 5_000)
            await following.execute_command("REPLICAOF", "NO", "ONE")
            await leading.execute_command("REPLICAOF", "127.0.0.1", "1")
            name.unlink()
            name.symlink_to(replica.socket)
            with pytest.raises(InventoryUnavailable, match=before):
                await office.book(1, "ann")
            try:
                found_then = (await office.book(1, "ann")).status.name
            except InventoryUnavailable as error:
                found_then = str(error)
            assert after in found_then
        finally:
            await office.close()
            await leading.aclose()


async def test_at_level_database_an_answer_waits_for_the_commit_or_is_unknown(server: ValkeyServer) -> None:
    has_it = asyncio.Event()
    answers: list[bool] = [True, False]

    async def saved(_shard: int) -> bool:
        await has_it.wait()
        if not answers:
            raise ConnectionError
        return answers.pop(0)

    async with opened(server, REDIS) as plain:
        await plain.sale(capacity=100)
    async with opened(server, REDIS, saved) as stock:
        first = asyncio.create_task(stock.office.book(1, "ann"))
        assert await stock.office.get_event(1) is not None, "a read waits for durability"
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
