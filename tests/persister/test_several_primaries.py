"""The persister in front of a cluster or Sentinels: a primary that is away, fails over or gives up a slot."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.persister import persister as module
from tests.fixtures.cluster import Cluster, Node, running_cluster, running_sentinels
from tests.fixtures.notes import Notes, take_notes
from tests.fixtures.several_primaries import EVENTS, SHARDS, Sale, open_sale
from tests.fixtures.waiting import eventually, eventually_async


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    return take_notes(monkeypatch, module)


@pytest.fixture
async def sale(clean_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Sale]:
    async with open_sale(clean_cluster.url, tmp_path) as opened:
        yield opened


def events_at(sale: Sale, address: str) -> list[int]:
    """The events whose shard the primary has now."""
    shards = sale.topology.shards_at(address)
    return [event_id for event_id in EVENTS if keys.shard_of(event_id, SHARDS) in shards]


async def replicated(node: Node) -> None:
    """Waits until a replica of the primary has everything."""

    def has_all() -> bool:
        found = node.run("INFO", "replication")
        return bool(found["slave0"]["offset"] >= found["master_repl_offset"])

    eventually(has_all, "the replica has everything")


async def test_every_shard_of_a_cluster_is_persisted_once(sale: Sale) -> None:
    assert len(sale.topology.addresses()) == 3
    async with sale.persister():
        await sale.book("ann")
        await eventually_async(lambda: sale.persisted("ann"), "SQL has ann's bookings")
    assert await sale.differences() == {}


async def test_a_server_that_is_not_the_primary_yet_fails_no_call(tmp_path: Path) -> None:
    """In a planned failover some server may say that a replica has the shards before the replica says so."""
    with running_cluster(3, 1) as cluster:
        async with open_sale(cluster.url, tmp_path) as sale:
            primary = cluster.nodes[0]
            (replica,) = cluster.replicas_of(primary)
            for number, event_id in enumerate(events_at(sale, primary.address)):
                slot = key_slot(keys.epoch(keys.shard_of(event_id, SHARDS)))
                sale.topology.moved(f"MOVED {slot} {replica.location}")
                outcome = await sale.office.book(event_id, f"buyer-{number}")  # before the map is refreshed
                assert outcome.status is Status.BOOKED


async def test_a_stopped_primary_stops_only_its_own_shards_persistence(
    sale: Sale, clean_cluster: Cluster, notes: Notes
) -> None:
    address = sale.topology.addresses()[0]
    stopped = clean_cluster.node_at(address)
    its_own = events_at(sale, address)
    others = [event_id for event_id in EVENTS if event_id not in its_own]
    async with sale.persister() as persister:
        await sale.book("ann")
        await eventually_async(lambda: sale.persisted("ann"), "SQL has ann's bookings")
        stopped.send(signal.SIGSTOP)
        try:
            for user in ("bob", "cleo"):
                await sale.book(user, others)
                await eventually_async(lambda: sale.persisted(user, others), "the others go on")  # noqa: B023 - awaited here
            (told,) = [
                fields for _, text, fields in notes.lines if text == "these shards cannot be read; the others are"
            ]
            assert told["shards"] == sale.topology.shards_at(address)
            assert persister.health.is_failing
        finally:
            stopped.send(signal.SIGCONT)
        eventually(clean_cluster.is_whole, "the cluster is whole again")
        await sale.books_again("dora", EVENTS)
        await eventually_async(lambda: sale.persisted("dora"), "SQL has dora's bookings")
    assert await sale.differences() == {}


async def test_a_failover_in_a_cluster_is_followed_and_each_change_persisted_once(tmp_path: Path) -> None:
    with running_cluster(3, 1) as cluster:
        async with open_sale(cluster.url, tmp_path) as sale, sale.persister():
            await sale.book("ann")
            await eventually_async(lambda: sale.persisted("ann"), "SQL has ann's bookings")
            address = sale.topology.addresses()[0]
            primary = cluster.node_at(address)
            await replicated(primary)
            its_own = events_at(sale, address)
            primary.send(signal.SIGKILL)
            await sale.books_again("bob", its_own)
            await eventually_async(lambda: sale.persisted("bob", its_own), "SQL has bob's bookings")
            assert address not in sale.topology.addresses()
            assert await sale.differences() == {}


async def test_sentinels_failover_is_followed_and_each_change_persisted_once(tmp_path: Path) -> None:
    with running_sentinels() as watched:
        async with open_sale(watched.url, tmp_path) as sale, sale.persister():
            await sale.book("ann")
            await eventually_async(lambda: sale.persisted("ann"), "SQL has ann's bookings")
            primary = watched.primary()
            await replicated(primary)
            primary.send(signal.SIGKILL)
            await sale.books_again("bob", EVENTS)
            await eventually_async(lambda: sale.persisted("bob"), "SQL has bob's bookings")
            assert watched.primary() is not primary
            assert await sale.differences() == {}


async def test_a_slot_that_moves_is_followed_and_each_change_persisted_once(sale: Sale, clean_cluster: Cluster) -> None:
    async with sale.persister():
        await sale.book("ann")
        await eventually_async(lambda: sale.persisted("ann"), "SQL has ann's bookings")
        first, second, _ = sale.topology.addresses()
        source, target = clean_cluster.node_at(first), clean_cluster.node_at(second)
        moved = sale.topology.shards_at(first)[0]
        clean_cluster.move_keys(source, target, key_slot(keys.epoch(moved)))
        try:
            await eventually_async(lambda: moved in sale.topology.shards_at(second), "the persister has noticed")
            await sale.books_again("bob", EVENTS)
            await eventually_async(lambda: sale.persisted("bob"), "SQL has bob's bookings")
            assert await sale.differences() == {}
        finally:
            clean_cluster.move_keys(target, source, key_slot(keys.epoch(moved)))
