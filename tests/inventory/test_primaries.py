"""A sale on several primaries: each command reaches the one that has its shard, also while shards move."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

import pytest
from redis import Redis

from booking.domain.model import Rules
from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.box_office import BoxOffice, RateLimit
from booking.inventory.connection import execute, open_pool
from booking.inventory.durability import REDIS, Durability, Level, choose
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown
from booking.inventory.password_checks import PasswordChecks
from booking.inventory.primary_batchers import PrimaryBatchers
from booking.inventory.raw_connection import Argument
from booking.inventory.script_connection import ANSWER_SECONDS_MAX, ScriptConnection
from booking.inventory.scripts import all_scripts, load
from booking.inventory.shard_clients import opened_topology
from booking.inventory.topology import Topology, open_topology
from tests.fixtures.cluster import Cluster, Node, free_ports, running_cluster, running_sentinels
from tests.fixtures.proxy import LossyProxy, lossy_proxy
from tests.fixtures.waiting import eventually_async

SHARDS = 8
EPOCHS = [f"epoch-{shard}" for shard in range(SHARDS)]
EVENTS = range(1, SHARDS + 1)


@dataclass
class Sale:
    """A worker's inventory, with an event in each shard."""

    topology: Topology
    batchers: PrimaryBatchers
    office: BoxOffice
    told: list[tuple[int, str]] = field(default_factory=list)
    """The event and the user of each booking that was acknowledged."""
    errors: list[tuple[int, Exception]] = field(default_factory=list)
    buyers: int = 0

    async def book(self, event_id: int) -> bool:
        """Books for a new buyer. Whether it was acknowledged; an error is kept."""
        self.buyers += 1
        user = f"buyer-{self.buyers}"
        try:
            outcome = await self.office.book(event_id, user)
        except (InventoryUnavailable, OutcomeUnknown) as error:
            self.errors.append((event_id, error))
            return False
        assert outcome.status is Status.BOOKED
        self.told.append((event_id, user))
        return True

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[None]:
        """Some buyers of every event, one after the other, as long as the block runs."""
        stop = asyncio.Event()

        async def buy(event_id: int) -> None:
            while not stop.is_set():
                await self.book(event_id)
                await asyncio.sleep(0.005)

        buying = [asyncio.create_task(buy(event_id)) for event_id in EVENTS for _ in range(2)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*buying)

    async def sells_on(self, events: range | list[int] = EVENTS, bookings: int = 10) -> None:
        """Waits until each of these events was booked so many times more."""
        before = Counter(event_id for event_id, _ in self.told)

        def has_sold() -> bool:
            now = Counter(event_id for event_id, _ in self.told)
            return all(now[event_id] >= before[event_id] + bookings for event_id in events)

        await eventually_async(has_sold, "the sale goes on")

    async def check(self) -> None:
        """Every booking that was acknowledged is there, and every ticket is counted once."""
        unknown = Counter(event_id for event_id, error in self.errors if isinstance(error, OutcomeUnknown))
        sold = Counter(event_id for event_id, _ in self.told)
        for event_id in EVENTS:
            event = await self.office.get_event(event_id)
            assert event is not None
            assert sold[event_id] <= event.tickets_sold <= sold[event_id] + unknown[event_id]
            assert event.seq == event.tickets_sold + 1
        for start in range(0, len(self.told), 1_000):
            some = self.told[start : start + 1_000]
            found = await asyncio.gather(*(self.office.get_booking(*one) for one in some))
            assert {outcome.status for outcome in found} == {Status.FOUND}


def initialize(topology: Topology) -> None:
    """Gives each shard its epoch, as the first start of the service does."""
    for shard in range(SHARDS):
        names = (keys.changes(shard), keys.restoring(shard), keys.epoch(shard))
        with Redis.from_url(topology.locate(shard), protocol=2) as client:
            client.eval(load("initialize_shard").source, 3, *names, EPOCHS[shard])


@asynccontextmanager
async def selling(
    url: str, instead: Mapping[str, str] | None = None, durability: Durability = REDIS
) -> AsyncIterator[Sale]:
    """Opens a sale. `instead` has addresses to connect to in place of those of the map."""
    topology, acknowledged = open_topology(url, SHARDS), dict[Argument, tuple[Argument, bytes]]()

    def connect(address: str) -> ScriptConnection:
        return ScriptConnection(
            (instead or {}).get(address, address), all_scripts(), durability=durability, acknowledged=acknowledged
        )

    await topology.refresh()
    initialize(topology)
    batchers = PrimaryBatchers(topology, connect, 4_096)
    office = BoxOffice(batchers, EPOCHS, None, 1_000_000)
    try:
        for event_id in EVENTS:
            assert (await office.create(event_id, Rules("Opening night", 100_000, 4), "boss")).event is not None
        yield Sale(topology, batchers, office)
    finally:
        await office.close()
        await topology.close()


@pytest.fixture
async def sale(clean_cluster: Cluster) -> AsyncIterator[Sale]:
    async with selling(clean_cluster.url) as opened:
        yield opened
        await opened.check()


@pytest.fixture
def six_nodes() -> Iterator[Cluster]:
    """Three primaries with a replica each, for a test that promotes replicas."""
    with running_cluster(primaries=3, replicas=1) as cluster:
        yield cluster


def at(sale: Sale, address: str) -> list[int]:
    """The events whose shards the primary at `address` has."""
    return [event_id for event_id in EVENTS if event_id % SHARDS in sale.topology.shards_at(address)]


async def test_every_primary_sells_the_events_of_its_shards(sale: Sale, clean_cluster: Cluster) -> None:
    assert all(await asyncio.gather(*(sale.book(event_id) for event_id in EVENTS for _ in range(5))))
    assert all(at(sale, address) for address in sale.topology.addresses())
    for node in clean_cluster.nodes:
        streams = {f"booking:{{{event_id % SHARDS}}}:changes".encode() for event_id in at(sale, node.address)}
        assert set(node.run("KEYS", "*:changes")) == streams
    seen = [await sale.office.get_event(event_id) for event_id in EVENTS]
    await sale.book(3)
    changed = [await sale.office.changed_events(event.id % SHARDS, [event]) for event in seen if event is not None]
    assert [event_id for ids in changed for event_id in ids] == [3]
    assert all(lag.whole for lag in await sale.office.lags())


async def test_the_limits_of_addresses_and_accounts_hold_in_a_cluster(sale: Sale) -> None:
    limit, checks = RateLimit(1, 0.001), PasswordChecks(sale.batchers, RateLimit(1, 0.001))
    for number in range(12):
        assert await sale.office.take_address_token(f"192.0.2.{number}", limit) == 0
        assert await sale.office.take_address_token(f"192.0.2.{number}", limit) > 0
        email = f"user-{number}@example.com"
        assert await checks.begin(email, "192.0.2.1") == (0, True)
        await checks.end(email, "192.0.2.1", drew=False, was_right=True)
        assert await checks.begin(email, "192.0.2.1") == (0, False)
        assert (await checks.begin(email, "192.0.2.2"))[0] > 0


async def test_event_ids_of_a_cluster_rise_by_one_and_are_given_once(clean_cluster: Cluster) -> None:
    async with selling(clean_cluster.url) as first, selling_beside(clean_cluster.url) as second:
        given = await asyncio.gather(*(office.next_event_id() for office in [first.office, second] * 20))
        assert sorted(given) == list(range(1, 41))
        assert await first.office.last_event_id() == await second.last_event_id() == 40


@asynccontextmanager
async def selling_beside(url: str) -> AsyncIterator[BoxOffice]:
    """Another worker on the same shards."""
    topology = open_topology(url, SHARDS)
    await topology.refresh()
    batchers = PrimaryBatchers(topology, lambda address: ScriptConnection(address, all_scripts()), 4_096)
    try:
        yield BoxOffice(batchers, EPOCHS, None, 1_000_000)
    finally:
        await batchers.close()
        await topology.close()


async def test_the_old_counter_of_one_server_is_gone_on_with(clean_cluster: Cluster) -> None:
    async with selling(clean_cluster.url) as sale:
        with Redis.from_url(sale.topology.locate_key(keys.LAST_EVENT), protocol=2) as client:
            client.set(keys.LAST_EVENT, 1_000)
        assert await sale.office.next_event_id() == 1_001


async def test_a_stopped_primary_stops_its_own_events_only(sale: Sale, clean_cluster: Cluster) -> None:
    stopped = clean_cluster.nodes[0]
    its_own = at(sale, stopped.address)
    others = [event_id for event_id in EVENTS if event_id not in its_own]
    async with sale.under_load():
        await sale.sells_on()
        stopped.send(signal.SIGSTOP)
        try:
            await sale.sells_on(others, 100)
            await eventually_async(lambda: bool(sale.errors), "the calls to the stopped primary are answered")
            event_id = await sale.office.next_event_id()
            assert event_id % SHARDS not in sale.topology.shards_at(stopped.address)
        finally:
            stopped.send(signal.SIGCONT)
        await eventually_async(clean_cluster.is_whole, "the cluster is whole again")
        await sale.sells_on()
    assert {event_id for event_id, _ in sale.errors} <= set(its_own)


async def test_the_events_of_a_killed_primary_are_back_and_others_never_stop(six_nodes: Cluster) -> None:
    async with selling(six_nodes.url) as sale:
        killed = six_nodes.nodes[0]
        its_own = at(sale, killed.address)
        async with sale.under_load():
            await sale.sells_on()
            for node in six_nodes.nodes[:3]:
                assert node.run("WAIT", 1, 5_000) == 1
            killed.send(signal.SIGKILL)
            await sale.sells_on()
        assert {event_id for event_id, _ in sale.errors} <= set(its_own)
        assert killed.address not in sale.topology.addresses()


@pytest.mark.parametrize(("level", "replicas"), [("redis", 1), ("replica", 2)])
async def test_a_planned_failover_under_load_fails_no_call(level: Level, replicas: int) -> None:
    """A replica of the promoted one follows it a moment later."""
    with running_cluster(3, replicas) as cluster:
        async with opened_topology(cluster.url, SHARDS) as topology:
            durability = await choose(topology, level, 1)
        async with selling(cluster.url, durability=durability) as sale, sale.under_load():
            await sale.sells_on()
            for node in cluster.nodes[:3]:
                await asyncio.to_thread(cluster.fail_over, node)
                await eventually_async(
                    lambda: node.address not in sale.topology.addresses(),  # noqa: B023 - awaited here
                    "the promotion is seen",
                )
                await sale.sells_on()
            # A change that waits for its replica when the primary gives way is unknown: the primary cannot wait on.
            expected = OutcomeUnknown if level == "replica" else ()
            assert [error for _, error in sale.errors if not isinstance(error, expected)] == []
        async with selling_beside(cluster.url) as office:
            assert all(lag.whole for lag in await office.lags())


async def test_a_refused_command_is_sent_again_for_as_long_as_its_request_may_take(six_nodes: Cluster) -> None:
    """A request of two commands may have waited for the first one already."""
    async with selling(six_nodes.url) as sale:
        primary = six_nodes.nodes[0]
        (replica,) = six_nodes.replicas_of(primary)
        event_id, *_ = at(sale, primary.address)
        moved = f"MOVED {slot_of(primary, event_id)} {replica.location}"
        sale.topology.moved(moved)
        with pytest.raises(InventoryUnavailable):
            await sale.office.change(event_id, {"capacity": 50}, asked_at=monotonic() - ANSWER_SECONDS_MAX)
        sale.topology.moved(moved)
        outcome = await sale.office.change(event_id, {"capacity": 50}, asked_at=monotonic())
        assert outcome.event is not None
        assert outcome.event.rules.capacity == 50


CUT_OFF_SECONDS = 0.4
"""Longer than the check before a batch waits for replicas, and much shorter than a call may wait."""


async def test_replicas_that_are_back_within_a_second_fail_no_call() -> None:
    with running_cluster(3, 1) as cluster:
        async with opened_topology(cluster.url, SHARDS) as topology:
            durability = await choose(topology, "replica", 1)
        async with selling(cluster.url, durability=durability) as sale, sale.under_load():
            await sale.sells_on()
            await asyncio.sleep(ANSWER_SECONDS_MAX)  # so long, a connection counts as new
            replicas = [replica for node in cluster.nodes[:3] for replica in cluster.replicas_of(node)]
            for replica in replicas:
                replica.send(signal.SIGKILL)
            await asyncio.sleep(CUT_OFF_SECONDS)
            for replica in replicas:
                replica.start()
            await sale.sells_on()
            # A change that was made before is unknown if they confirm it too late.
            assert [error for _, error in sale.errors if not isinstance(error, OutcomeUnknown)] == []


def slots_of(sale: Sale, node: Node) -> list[int]:
    """The slots of the shards that a primary has."""
    return [slot_of(node, shard) for shard in sale.topology.shards_at(node.address)]


async def test_slots_that_move_there_and_back_under_load_fail_no_call(sale: Sale, clean_cluster: Cluster) -> None:
    here, there, _ = clean_cluster.nodes
    slots = slots_of(sale, here)
    async with sale.under_load():
        for source, target in ((here, there), (there, here)):
            await sale.sells_on()
            for slot in slots:
                await asyncio.to_thread(clean_cluster.move_slots, source, target, [slot])
            await eventually_async(clean_cluster.is_whole, "every node knows of it")
            await sale.sells_on()
            assert set(slots) <= set(slots_of(sale, target))
    assert sale.errors == []


async def test_keys_that_are_moved_one_by_one_cost_refusals_before_execution_only(
    sale: Sale, clean_cluster: Cluster
) -> None:
    here, there, _ = clean_cluster.nodes
    slot, *_ = slots_of(sale, here)
    async with sale.under_load():
        for source, target in ((here, there), (there, here)):
            await sale.sells_on()
            # with pauses, so that buyers meet the half that is moved
            await asyncio.to_thread(clean_cluster.move_keys, source, target, slot, 0.02)
            await sale.sells_on()
    assert not [error for _, error in sale.errors if isinstance(error, OutcomeUnknown)]


async def test_a_reply_that_is_lost_after_a_move_leaves_the_change_there_once() -> None:
    with running_cluster(3, 0, "--unixsocket", "node.sock") as cluster:
        here, there, _ = cluster.nodes
        async with (
            lossy_proxy(f"unix://{there.folder / 'node.sock'}") as proxy,
            selling(cluster.url, {there.address: proxy.address}) as sale,
        ):
            slot = slots_of(sale, here)[0]
            event_id = next(one for one in at(sale, here.address) if slot_of(here, one) == slot)
            await sale.book(next(one for one in at(sale, there.address)))
            await asyncio.to_thread(cluster.move_slots, here, there, [slot])
            assert sale.topology.locate(event_id % SHARDS) == here.address, "the map knows already: nothing is shown"
            proxy.lose_after(await bytes_of_a_connection(proxy))
            assert not await sale.book(event_id)
            proxy.heal()
            ((_, error),) = sale.errors
            assert isinstance(error, OutcomeUnknown)
            assert sale.topology.locate(event_id % SHARDS) == there.address
            event = await sale.office.get_event(event_id)
            assert event is not None
            assert event.tickets_sold == 1
            assert await sale.book(event_id)
            await sale.check()


async def bytes_of_a_connection(proxy: LossyProxy) -> int:
    """The bytes that a server sends before the first call of a ScriptConnection is answered."""
    proxy.lose_after(1_000_000)
    connection = open_pool(proxy.address, None).make_connection()  # type: ignore[no-untyped-call]  # redis-py's
    await connection.connect()
    await execute(connection, [("SCRIPT", "LOAD", script.source) for script in all_scripts()])
    await connection.disconnect()
    return proxy.reply_bytes


def slot_of(node: Node, event_id: int) -> int:
    """The slot of an event's shard."""
    return int(node.run("CLUSTER", "KEYSLOT", keys.epoch(event_id % SHARDS)))


async def test_script_flush_on_every_node_needs_no_restart(sale: Sale, clean_cluster: Cluster) -> None:
    async with sale.under_load():
        for _ in range(3):
            await sale.sells_on()
            for node in clean_cluster.nodes:
                node.run("SCRIPT", "FLUSH")
        await sale.sells_on()
    assert sale.errors == []


async def test_a_sale_starts_and_goes_on_with_a_dead_seed(clean_cluster: Cluster) -> None:
    (unused,) = free_ports(1)
    async with selling(f"redis+cluster://127.0.0.1:{unused},{clean_cluster.nodes[0].location}") as sale:
        await sale.topology.refresh()
        assert all(await asyncio.gather(*map(sale.book, EVENTS)))


async def test_the_failover_of_sentinels_is_followed_without_a_restart() -> None:
    with running_sentinels() as watched:
        async with selling(watched.url) as sale:
            first = watched.nodes[0]
            assert sale.topology.addresses() == [first.address]
            async with sale.under_load():
                await sale.sells_on()
            assert first.run("WAIT", 2, 5_000) == 2
            async with sale.under_load():
                first.send(signal.SIGKILL)
                await sale.sells_on()
            assert sale.topology.addresses() == [watched.primary().address]
            first.start()  # empty, and as a primary, until the Sentinels make it a replica
            await eventually_async(lambda: first.tells("replication", "role:master"), "the first primary answers")
            async with sale.under_load():
                await sale.topology.refresh()
                await sale.sells_on()
            assert sale.topology.addresses() == [watched.primary().address] != [first.address]
            await sale.check()
