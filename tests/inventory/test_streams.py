"""The change streams: what the scripts write is what the persister reads, whole and in order, trimmed behind it."""

from collections.abc import AsyncIterator

import pytest

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange
from booking.domain.model import CAPACITY_MAX, HOLD_SECONDS_MAX, MAX_PER_USER_MAX, Rules
from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable, ShardFenced
from booking.inventory.streams import ChangeStreams, StreamRead
from booking.web.request_schemas import INTEGER_MAX
from booking.web.times import FIRST, LAST
from tests.fixtures.stock import EPOCHS, SHARDS, Stock, contents

START = {shard: (epoch, "0-0") for shard, epoch in enumerate(EPOCHS)}


@pytest.fixture
async def streams(clean_valkey: str) -> AsyncIterator[ChangeStreams]:
    opened = ChangeStreams(clean_valkey)
    yield opened
    await opened.close()


async def read(streams: ChangeStreams, shard: int = 1) -> list[Change]:
    batches = (await streams.read(START, 1_000)).batches
    return [change for batch in batches if batch.shard == shard for change in batch.changes]


@pytest.mark.parametrize(
    "rules",
    [
        Rules("x", 1),
        Rules("Night of 1,000 spaces ", 1_000, 1, 0, 0, None, None),
        Rules("größer ist größer\nzweite Zeile 🎟 -", CAPACITY_MAX, MAX_PER_USER_MAX, HOLD_SECONDS_MAX, INTEGER_MAX),
        Rules("before Christ, nearly", 7, 2, 3, 10**14, FIRST, FIRST + 1),
        Rules("the last second", 7, 2, 3, 10**15 + 1, LAST - 1, LAST),
    ],
)
async def test_an_events_rules_arrive_as_they_were_made_up_to_their_bounds(
    stock: Stock, streams: ChangeStreams, rules: Rules
) -> None:
    created = await stock.office.create(1, rules)
    assert created.event is not None
    assert created.event.rules == rules
    changed = await stock.office.change(1, {"max_per_user": 3})
    assert changed.event is not None
    first, second = await read(streams)
    assert isinstance(first, EventChange)
    assert isinstance(second, EventChange)
    assert (first.kind, first.seq, first.rules) == (ChangeKind.CREATED, 1, rules)
    assert (second.kind, second.seq, second.rules) == (ChangeKind.CHANGED, 2, changed.event.rules)


@pytest.mark.parametrize(
    "user", ["17", "a b  c ", " ", "line\nbreak\ttab", "größe-🎟", "1 booked 2", "x" * 128, "{0}:*"]
)
async def test_a_users_name_may_hold_anything_and_arrives_as_it_is(
    stock: Stock, streams: ChangeStreams, user: str
) -> None:
    await stock.sale(1)
    booked = await stock.office.book(1, user, 2)
    assert booked.booking is not None
    change = (await read(streams))[-1]
    assert isinstance(change, BookingChange)
    assert (change.user_id, change.quantity, change.number) == (user, 2, booked.booking.number)
    assert change.created_at_ms == booked.booking.created_at_ms
    seen = await stock.office.get_booking(1, user)
    assert seen.booking == booked.booking


async def test_entries_come_in_batches_that_join_without_a_gap(stock: Stock, streams: ChangeStreams) -> None:
    await stock.sale(1, capacity=100)
    for number in range(9):
        await stock.office.book(1, f"buyer-{number}")
    positions, seen = dict(START), list[int]()
    while True:
        reading = await streams.read(positions, 4)
        batches = reading.batches
        assert reading.lost == []
        if not batches:
            break
        (batch,) = batches
        assert batch.after == positions[1][1]
        assert len(batch.changes) <= 4
        seen += [change.seq for change in batch.changes]
        positions[1] = (batch.epoch, batch.upto)
    assert seen == list(range(1, 11))


async def test_trimming_lets_go_of_what_was_read_and_keeps_what_came_since(
    stock: Stock, streams: ChangeStreams
) -> None:
    await stock.sale(1)
    await stock.office.book(1, "ann")
    batches = (await streams.read(START, 1_000)).batches
    await stock.office.book(1, "bob")
    await streams.trim({batch.shard: (batch.epoch, batch.upto) for batch in batches})
    assert [entry.split(" ")[-1] for entry in await stock.entries()] == ["bob"]
    await streams.trim({batch.shard: (batch.epoch, batch.upto) for batch in batches})
    assert len(await stock.entries()) == 1


async def test_what_is_not_of_the_founding_that_was_carried_is_not_let_go_of(
    stock: Stock, streams: ChangeStreams
) -> None:
    await stock.sale(1)
    (batch,) = (await streams.read(START, 1_000)).batches
    await stock.redis.set(keys.epoch(1), "another")
    await streams.trim({1: (batch.epoch, batch.upto)})
    assert (len(await stock.entries()), await stock.redis.exists(keys.trimmed_to(1))) == (1, 0)


async def test_a_shard_of_another_founding_or_of_none_is_told_and_not_read(
    stock: Stock, streams: ChangeStreams
) -> None:
    await stock.sale(1)
    await stock.sale(2)
    await stock.redis.set(keys.epoch(0), "another")
    reading = await streams.read(START, 1_000)
    assert ([batch.shard for batch in reading.batches], reading.lost) == ([1], [0])
    await stock.redis.flushall()
    assert await streams.read(START, 1_000) == StreamRead(lost=list(range(SHARDS)))


async def test_what_is_wrong_with_one_stream_is_told_and_keeps_no_other_from_being_read(
    stock: Stock, streams: ChangeStreams
) -> None:
    await stock.sale(1)
    await stock.redis.xadd(keys.changes(0), {"c": "no words of ours"})
    await stock.sale(2)
    reading = await streams.read(START, 1_000)
    assert ([batch.shard for batch in reading.batches], list(reading.unreadable)) == ([1], [0])
    await stock.redis.set(keys.changes(0), "not a stream")
    reading = await streams.read(START, 1_000)
    assert ([batch.shard for batch in reading.batches], list(reading.unreadable)) == ([1], [0])


async def test_what_comes_before_an_entry_that_cannot_be_read_is_read_first(
    stock: Stock, streams: ChangeStreams
) -> None:
    await stock.sale(1)
    await stock.office.book(1, "ann")
    await stock.redis.xadd(keys.changes(1), {"c": "no words of ours"})
    await stock.redis.xadd(keys.changes(1), {"c": (await stock.entries())[1]})
    reading = await streams.read(START, 1_000)
    (batch,) = reading.batches
    assert ([change.seq for change in batch.changes], reading.unreadable) == ([1, 2], {})
    assert await streams.read_remaining(1, *START[1], 1_000) == (batch, True)
    reading = await streams.read(dict(START) | {1: (batch.epoch, batch.upto)}, 1_000)
    assert (reading.batches, list(reading.unreadable)) == ([], [1])
    assert await streams.read_remaining(1, batch.epoch, batch.upto, 1_000) == (None, False)


async def test_an_old_copy_is_not_vouched_for_even_after_it_was_sold_from(stock: Stock, streams: ChangeStreams) -> None:
    await stock.sale(1, capacity=100)
    dumps = {key: await stock.redis.dump(key) for key in await stock.redis.keys("*")}
    await stock.office.book(1, "ann")
    (batch,) = (await streams.read(START, 10)).batches
    positions = dict(START) | {1: (batch.epoch, batch.upto)}
    assert await streams.verify_or_fence(positions) == [], "the database has it, and its entry is still there"
    await streams.trim({1: (batch.epoch, batch.upto)})
    assert await streams.verify_or_fence(positions) == [], "nor is it when that was let go"
    assert await streams.verify_or_fence(START) == [], "nor for somebody who does not know yet how far the database is"
    await stock.redis.flushall()
    for key, dump in dumps.items():
        await stock.redis.restore(key, 0, dump)
    await stock.office.book(1, "bob")
    assert await streams.verify_or_fence(positions) == [1]
    with pytest.raises(ShardFenced):
        await stock.office.book(1, "cid")


async def test_an_old_copy_that_comes_back_between_a_commit_and_its_trimming_is_not_vouched_for(
    stock: Stock, streams: ChangeStreams
) -> None:
    await stock.sale(1, capacity=100)
    dumps = {key: await stock.redis.dump(key) for key in await stock.redis.keys("*")}
    await stock.office.book(1, "ann")
    (batch,) = (await streams.read(START, 10)).batches
    await stock.redis.flushall()
    for key, dump in dumps.items():
        await stock.redis.restore(key, 0, dump)
    before = await contents(stock.redis)
    await streams.trim({1: (batch.epoch, batch.upto)})
    assert await contents(stock.redis) == before, "a mark would say that ann's booking had been there"
    assert await streams.verify_or_fence(dict(START) | {1: (batch.epoch, batch.upto)}) == [1]


async def test_founding_gives_an_epoch_once(stock: Stock, streams: ChangeStreams) -> None:
    await streams.initialize_shards({shard: (f"later-{shard}", "0-0") for shard in range(SHARDS)})
    assert [await stock.redis.get(keys.epoch(shard)) for shard in range(SHARDS)] == [b"1 epoch-0", b"1 epoch-1"]


async def test_a_shard_that_has_sold_is_not_founded_again_where_its_epoch_is_missing(
    stock: Stock, streams: ChangeStreams
) -> None:
    await stock.sale(1)
    await stock.redis.delete(keys.epoch(1))
    await streams.initialize_shards(START)
    assert await stock.redis.get(keys.epoch(1)) is None, "its stream says that something was there"
    await stock.redis.flushall()
    await streams.initialize_shards({0: ("epoch-0", "5-0"), 1: ("epoch-1", "0-0")})
    assert await stock.redis.get(keys.epoch(0)) is None, "its cursor says that something was there"
    assert await stock.redis.get(keys.epoch(1)) == b"1 epoch-1"


async def test_a_shard_that_somebody_is_restoring_is_not_founded_meanwhile(
    stock: Stock, streams: ChangeStreams
) -> None:
    await stock.redis.delete(keys.epoch(1))
    await stock.redis.set(keys.restoring(1), "a restorer")
    await streams.initialize_shards(START)
    assert await stock.redis.get(keys.epoch(1)) is None


async def test_a_server_that_refuses_is_left_since_its_name_may_lead_to_another(
    stock: Stock, streams: ChangeStreams
) -> None:
    await stock.sale(1)
    (batch,) = (await streams.read(START, 10)).batches
    before = {client["id"] for client in await stock.redis.client_list()}
    await stock.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(InventoryUnavailable):
            await streams.trim({1: (batch.epoch, batch.upto)})
    finally:
        await stock.redis.execute_command("REPLICAOF", "NO", "ONE")
    await streams.trim({1: (batch.epoch, batch.upto)})
    after = {client["id"] for client in await stock.redis.client_list()}
    assert len(before - after) == len(after - before) == 1, "one connection was given up, and one made"


async def test_a_redis_that_is_away_is_unavailable_to_every_call() -> None:
    streams = ChangeStreams("unix:///nowhere/at-all.sock")
    with pytest.raises(InventoryUnavailable):
        await streams.initialize_shards(START)
    with pytest.raises(InventoryUnavailable):
        await streams.read(START, 1)
    await streams.close()


@pytest.mark.parametrize("limit", [10, 3])
async def test_the_lag_counts_what_nobody_has_carried_yet(stock: Stock, streams: ChangeStreams, limit: int) -> None:
    await stock.sale(1)
    await stock.office.book(1, "ann")
    lags = await stock.office.lags()
    assert [(lag.entries, lag.whole) for lag in lags] == [(0, True), (2, True)]
    assert lags[0].oldest_ms == 0
    batches = (await streams.read(START, limit)).batches
    await streams.trim({batch.shard: (batch.epoch, batch.upto) for batch in batches})
    assert [lag.entries for lag in await stock.office.lags()] == [0, 0]
