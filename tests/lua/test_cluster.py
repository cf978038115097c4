"""Every call keeps to one slot of a Redis cluster, because the keys of a shard share a hash tag."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from redis import Redis

from booking.domain.outcomes import IdempotencyKey, Status
from booking.inventory import keys
from booking.inventory.batcher import PreparedCall
from booking.inventory.box_office import RateLimit
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.password_checks import PasswordChecks
from booking.inventory.script_connection import ANSWER_SECONDS_MAX, ScriptCall
from booking.inventory.scripts import all_scripts, load
from booking.inventory.streams import ChangeStreams
from tests.fixtures.stock import EPOCHS, SHARDS, Stock, open_stock
from tests.fixtures.valkey import running_valkey
from tests.fixtures.waiting import eventually

RATE = RateLimit(1_000, 1_000)
OF_THE_STREAMS = {"begin_term", "initialize_shard", "share_persisters", "trim", "verify_or_fence", "version_records"}
"""Scripts that only the persister's own connection calls, not the batcher."""


@contextmanager
def running_cluster() -> Iterator[str]:
    """Runs a cluster of one node. It checks the slots of each call as a node of a larger cluster does."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        bus = str(unused.getsockname()[1])  # the cluster bus; its default port would be the same for every test process
    with (
        running_valkey("--cluster-enabled", "yes", "--bind", "127.0.0.1", "--cluster-port", bus) as running,
        Redis.from_url(running.address, protocol=2) as client,
    ):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        eventually(
            lambda: b"cluster_state:ok" in bytes(client.execute_command("CLUSTER", "INFO")), "the cluster is ready"
        )
        yield running.address


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with running_cluster() as address:
        yield address


def test_two_clusters_can_run_side_by_side(cluster: str) -> None:
    """Needed if the tests of this module are spread over several processes."""
    with running_cluster() as another:
        assert another != cluster


@pytest.fixture
async def stock(cluster: str) -> AsyncIterator[Stock]:
    async with open_stock(cluster, rate_limit=RATE) as opened:
        yield opened
        await opened.redis.flushall()


async def test_every_command_works_in_a_cluster(stock: Stock, cluster: str) -> None:
    exchange, called = stock.connection.exchange, set[str]()

    def record(
        calls: Sequence[ScriptCall], answered: Callable[[bool], None], seconds_max: float = ANSWER_SECONDS_MAX
    ) -> None:
        called.update(call.script.name for call in calls)
        exchange(calls, answered, seconds_max)

    stock.connection.exchange = record  # type: ignore[method-assign]  # records the calls
    office = stock.office
    first = await office.next_event_id()
    for event_id in (first, first + 1, first + 2):
        await stock.sale(event_id, capacity=3, hold_seconds=60 if event_id == first + 1 else 0)
    booked = await asyncio.gather(
        *(
            office.book(event_id, user, 1, IdempotencyKey(f"{user}'s key", "request"))
            for event_id in (first, first + 1, first + 2)
            for user in ("ann", "bob", "cid", "dan")
        )
    )
    assert {outcome.status for outcome in booked} == {Status.BOOKED, Status.HELD, Status.JOINED}
    assert (await office.cancel(first, "ann", key=IdempotencyKey("again", "request"))).status is Status.CANCELLED
    assert (await office.check_out(first + 1, "ann")).status is Status.CHECKED_OUT
    assert (await office.confirm(first + 1, "ann")).status is Status.CONFIRMED
    seen = await office.get_event(first + 2)
    assert seen is not None
    assert (await office.change(first + 2, {"capacity": 4})).status is Status.CHANGED
    assert await office.changed_events(office.shard_of(first + 2), [seen]) == [first + 2]
    assert (await office.get_booking(first, "dan")).booking is not None
    assert await office.take_token(first, "ann") == 0
    assert await office.take_address_token("192.0.2.1", RATE) == 0
    checks = PasswordChecks(stock.batchers, RATE)
    assert await checks.begin("ann@example.com", "192.0.2.1") == (0, True)
    await checks.end("ann@example.com", "192.0.2.1", drew=True, was_right=True)
    for shard in range(SHARDS):
        assert await office.events_to_expire(shard, "me", 1_000, 10) == []
    assert all(lag.whole for lag in await office.lags())
    assert called == {script.name for script in all_scripts()} - OF_THE_STREAMS - {"claim_event_id"}

    streams = ChangeStreams(cluster)
    try:
        positions = {shard: (EPOCHS[shard], "0-0") for shard in range(SHARDS)}
        batches = (await streams.read(positions, 1_000)).batches
        assert sum(len(batch.changes) for batch in batches) == 3 + 12 + 2 + 2 + 2
        await streams.trim({batch.shard: (batch.epoch, batch.upto) for batch in batches})
        assert [lag.entries for lag in await office.lags()] == [0] * SHARDS
    finally:
        await streams.close()


async def test_a_call_with_keys_of_two_shards_is_refused_by_the_server(stock: Stock) -> None:
    """Shows that the server checks: a call that names another shard's key is refused as a whole."""
    await stock.sale(1)
    script = load("book")
    mixed = (*keys.event_keys(1, SHARDS)[:1], *keys.event_keys(2, SHARDS)[1 : len(script.header.keys)])
    with pytest.raises(InventoryUnavailable, match="CROSSSLOT"):
        await stock.batcher.submit(PreparedCall(script, mixed, (EPOCHS[1], 1, 0, 0, 1_000)), ("ann", 1))
    assert len(await stock.entries()) == 1


@pytest.mark.parametrize("shards", [1, 8, 64])
def test_all_keys_of_an_event_and_its_shard_are_in_one_slot(cluster: str, shards: int) -> None:
    with Redis.from_url(cluster, protocol=2) as client:
        for event_id in range(1, 20):
            shard = keys.shard_of(event_id, shards)
            of_shard = [keys.changes(shard), keys.epoch(shard), keys.trimmed_to(shard), keys.restoring(shard)]
            of_shard += [keys.due(shard), keys.sweeper(shard), keys.answers(event_id, shards, "a}{b").encode()]
            slots = {
                client.execute_command("CLUSTER", "KEYSLOT", key)
                for key in (*keys.event_keys(event_id, shards), *of_shard)
            }
            assert len(slots) == 1
