"""A primary's term: a forgotten primary sells nothing, and a step that was interrupted is finished by any process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from booking.domain.changes import ShardBatch
from booking.domain.epochs import history_of, is_of, next_term
from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.box_office import BoxOffice
from booking.inventory.durability import REDIS
from booking.inventory.errors import InventoryUnavailable, ShardFenced
from booking.inventory.reader import InventoryReader
from booking.inventory.records import stored_epoch
from booking.inventory.streams import ChangeStreams, begin_terms, run_id
from booking.inventory.topology import open_topology
from booking.ledger.ledger import Ledger
from booking.operations.audit.comparison import audit_event
from booking.persister.bootstrap import initialize_shards
from booking.persister.terms import take_terms
from booking.persister.verification import Verifier, verified_connections
from booking.web.app import _follow_epochs
from tests.fixtures.backend import Backend
from tests.fixtures.stock import SHARDS, one_server
from tests.fixtures.valkey import ValkeyServer, running_valkey
from tests.fixtures.waiting import eventually_async
from tests.persister.test_verification import opened


@asynccontextmanager
async def node(backend: Backend, address: str) -> AsyncIterator[BoxOffice]:
    """What a web worker has to sell by: it follows the epochs in SQL, and verifies new connections."""
    topology = open_topology(address, SHARDS)
    verifier = Verifier(backend.ledger)
    connection = verified_connections(topology, verifier, REDIS)(address)
    records = await backend.ledger.shards()
    epochs = [records[shard].epoch for shard in range(SHARDS)]
    office = BoxOffice(one_server(address, connection), epochs, None, 1_000_000)
    following = asyncio.create_task(_follow_epochs(office, verifier, backend.ledger))
    try:
        yield office
    finally:
        following.cancel()
        await office.close()


async def is_refused(office: BoxOffice) -> bool:
    try:
        await office.get_event(1)
    except ShardFenced:
        return True
    return False


async def server_of(address: str) -> str:
    streams = ChangeStreams(address)
    try:
        found = await run_id(streams.executor(address))
        assert found is not None
        return found
    finally:
        await streams.close()


async def start(backend: Backend, address: str) -> list[str]:
    """Initializes the shards as a process does that starts at this server. Returns the epochs in SQL after that."""
    streams = ChangeStreams(address)
    try:
        records = await initialize_shards(backend.settings, backend.ledger, streams)
        return [records[shard].epoch for shard in sorted(records)]
    finally:
        await streams.close()


async def test_a_forgotten_primary_sells_nothing_once_its_nodes_know_the_epoch(
    tmp_path: Path, clean_valkey: str, second: ValkeyServer
) -> None:
    async with (
        opened(tmp_path, clean_valkey, second) as (failover, front),
        node(failover.backend, clean_valkey) as forgotten,
    ):
        await failover.stock.sale(1, capacity=50)
        for number in range(10):
            assert (await forgotten.book(1, f"early-{number}")).status is Status.BOOKED
        await failover.backend.drain()
        await failover.replicate()
        front.lead_to(second.socket)
        moved, settings = failover.stock.office, failover.backend.settings
        with suppress(InventoryUnavailable):
            await failover.drop()  # the forgotten node's connection, too: it comes back to the same server
        assert (await moved.book(1, "first")).status is Status.BOOKED
        failover.backend.settings = settings.model_copy(update={"redis_url": front.address})
        await failover.backend.drain()

        await eventually_async(lambda: is_refused(forgotten), "the forgotten node knows the epoch")
        for number in range(100):
            with pytest.raises(ShardFenced):
                await forgotten.book(1, f"late-{number}")
            await moved.book(1, f"buyer-{number}")
        await failover.backend.drain()
        reader = InventoryReader(second.address, SHARDS)
        try:
            assert (await audit_event(reader, failover.backend.ledger, 1)).differences == []
        finally:
            await reader.close()
        counts = await failover.backend.ledger.counts(1)
        assert sum(count.tickets for status, count in counts.items() if status.value == "confirmed") == 50
        there = await server_of(second.address)
        epochs = await start(failover.backend, clean_valkey)
        assert all(is_of(epoch, there) for epoch in epochs), "the forgotten one came back"


async def test_a_node_of_a_forgotten_primary_finds_the_new_one_without_a_restart(
    tmp_path: Path, clean_valkey: str, second: ValkeyServer
) -> None:
    async with (
        opened(tmp_path, clean_valkey, second) as (failover, front),
        node(failover.backend, front.address) as other,
    ):
        await failover.stock.sale(1, capacity=50)
        await other.book(1, "ann")
        await failover.replicate()
        front.lead_to(second.socket)  # but the connections to the first one stay
        await start(failover.backend, second.address)
        await eventually_async(lambda: is_refused(other), "the node knows the epoch")

        async def sells() -> bool:
            return not await is_refused(other)

        await eventually_async(sells, "the node has a connection to the new primary")
        assert (await other.book(1, "bob")).status is Status.BOOKED
        assert await failover.second.hexists(keys.event_keys(1, SHARDS)[1], "bob")


async def test_another_server_with_the_same_data_keeps_tags_and_takes_waiting_calls(
    tmp_path: Path, clean_valkey: str, second: ValkeyServer
) -> None:
    async with opened(tmp_path, clean_valkey, second) as (failover, front):
        await failover.stock.sale(1, capacity=50)
        before = await failover.stock.office.get_event(1)
        assert before is not None
        await failover.replicate()
        front.lead_to(second.socket)
        await failover.drop()
        assert (await failover.stock.office.book(1, "ann")).status is Status.BOOKED, "no call is refused"
        changed = await failover.stock.office.change(1, {"capacity": 60}, before.rules_tag)
        assert changed.status is Status.CHANGED
        assert changed.event is not None
        assert changed.event.epoch == before.epoch
        assert await failover.stock.office.changed_events(1, [changed.event]) == []
        records = await failover.backend.ledger.shards()
        there = await server_of(second.address)
        assert [is_of(record.epoch, there) for record in records.values()] == [True] * SHARDS
        assert history_of(records[1].epoch) == before.epoch


async def test_a_term_that_began_in_redis_alone_is_finished_by_the_next_process(
    tmp_path: Path, clean_valkey: str, second: ValkeyServer
) -> None:
    async with opened(tmp_path, clean_valkey, second) as (failover, _):
        await failover.stock.sale(1, capacity=50)
        await failover.stock.office.book(1, "ann")
        await failover.backend.drain()
        records = await failover.backend.ledger.shards()
        streams = ChangeStreams(clean_valkey)
        try:
            terms = {shard: (record.epoch, next_term(record.epoch, "f" * 40)) for shard, record in records.items()}
            assert await begin_terms(streams.executor(clean_valkey), terms) == list(terms)
        finally:
            await streams.close()
        await failover.replicate()  # to a replica that is promoted after that
        epochs = await start(failover.backend, second.address)
        there = await server_of(second.address)
        assert epochs == [next_term(terms[shard][1], there) for shard in range(SHARDS)]
        assert await failover.second.get(keys.epoch(1)) == stored_epoch(epochs[1]).encode()


async def test_of_two_servers_that_are_promoted_at_once_one_sells(
    tmp_path: Path, clean_valkey: str, second: ValkeyServer
) -> None:
    with running_valkey() as third:
        async with (
            opened(tmp_path, clean_valkey, second) as (failover, _),
            opened(tmp_path, clean_valkey, third) as (
                another,
                _,
            ),
        ):
            await failover.stock.sale(1, capacity=50)
            await failover.backend.drain()
            await failover.replicate()
            await another.replicate()
            await asyncio.gather(*(start(failover.backend, one.address) for one in (second, third)))
            epoch = (await failover.backend.ledger.shards())[1].epoch
            held = [await redis.get(keys.epoch(1)) for redis in (failover.first, failover.second, another.second)]
            assert held.count(stored_epoch(epoch).encode()) == 1


async def test_a_server_that_lacks_what_sql_has_never_becomes_the_primary(
    tmp_path: Path, clean_valkey: str, second: ValkeyServer
) -> None:
    async with opened(tmp_path, clean_valkey, second) as (failover, _):
        await failover.stock.sale(1, capacity=50)
        await failover.replicate()
        await failover.stock.office.book(1, "ann")
        await failover.backend.drain()
        records = await failover.backend.ledger.shards()
        await start(failover.backend, second.address)
        assert (await failover.backend.ledger.shards())[1] == records[1]
        assert await failover.second.get(keys.epoch(1)) is None


async def test_sql_names_no_server_that_was_verified_against_an_earlier_cursor(
    tmp_path: Path, clean_valkey: str, second: ValkeyServer
) -> None:
    async with opened(tmp_path, clean_valkey, second) as (failover, _):
        record = (await failover.backend.ledger.shards())[1]
        seen = replace(record, cursor="1-1")
        await failover.backend.ledger.replace_shards({1: (seen, replace(seen, epoch="another"))})
        assert (await failover.backend.ledger.shards())[1] == record


async def begin_another_term(backend: Backend) -> None:
    """As if another server had been the primary meanwhile."""
    address = backend.settings.redis_address
    streams = ChangeStreams(address)
    try:
        await take_terms(streams.executor(address), backend.ledger, range(SHARDS), "f" * 40, {})
    finally:
        await streams.close()


async def test_a_persister_takes_a_new_term_for_no_loss(sqlite_backend: Backend) -> None:
    await sqlite_backend.stock.sale(1, capacity=50)
    async with sqlite_backend.persister() as persister:
        assert await persister.consume() == 1
        await sqlite_backend.stock.office.book(1, "ann")
        await begin_another_term(sqlite_backend)
        with capture_logs() as logs:
            assert await persister.consume() == 1
        assert [line for line in logs if line["log_level"] == "error"] == []


async def test_what_was_persisted_as_a_term_began_is_trimmed_without_another_change(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, apply = sqlite_backend, Ledger.apply

    async def apply_slowly(ledger: Ledger, batches: Sequence[ShardBatch]) -> None:
        await apply(ledger, batches)
        await begin_another_term(backend)

    await backend.stock.sale(1, capacity=50)
    async with backend.persister() as persister:
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "apply", apply_slowly)
            assert await persister.consume() == 1
        assert await persister.consume() == 0
    assert sum(lag.entries for lag in await backend.stock.office.lags()) == 0


async def test_a_term_that_begins_after_a_restoration_refuses_no_call(sqlite_backend: Backend) -> None:
    backend, shard = sqlite_backend, keys.shard_of(1, SHARDS)
    await backend.stock.sale(1, capacity=50)
    async with node(backend, backend.settings.redis_address) as office:
        assert await office.get_event(1) is not None
        record = (await backend.ledger.shards())[shard]
        restored = replace(record, epoch="0123456789abcdef")
        await backend.stock.redis.set(keys.epoch(shard), stored_epoch(restored.epoch))
        await backend.ledger.replace_shards({shard: (record, restored)})

        async def is_followed() -> bool:
            return all(lag.whole for lag in await office.lags())

        await eventually_async(is_followed, "the worker knows the restored shard's epoch")
        await begin_another_term(backend)
        await backend.stock.redis.execute_command("CLIENT", "KILL", "TYPE", "normal")
        assert not await is_refused(office)


async def test_a_shard_with_a_key_of_another_type_does_not_stop_the_others(sqlite_backend: Backend) -> None:
    backend = sqlite_backend
    await backend.stock.redis.set(keys.changes(1), "something else")
    async with node(backend, backend.settings.redis_address) as office:
        assert await office.get_event(2) is None
