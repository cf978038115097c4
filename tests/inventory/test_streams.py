"""The persister reads from the streams exactly what the scripts wrote, in order, and trims what it has read."""

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
async def test_an_events_rules_are_read_as_written_up_to_their_bounds(
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
async def test_a_user_id_may_contain_any_character_and_is_read_as_written(
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


async def test_entries_are_read_in_batches_without_a_gap(stock: Stock, streams: ChangeStreams) -> None:
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


async def test_trimming_removes_read_entries_and_keeps_later_ones(stock: Stock, streams: ChangeStreams) -> None:
    await stock.sale(1)
    await stock.office.book(1, "ann")
    batches = (await streams.read(START, 1_000)).batches
    await stock.office.book(1, "bob")
    await streams.trim({batch.shard: (batch.epoch, batch.upto) for batch in batches})
    assert [entry.split(" ")[-1] for entry in await stock.entries()] == ["bob"]
    await streams.trim({batch.shard: (batch.epoch, batch.upto) for batch in batches})
    assert len(await stock.entries()) == 1


async def test_a_long_stream_is_trimmed_in_calls_of_bounded_work(stock: Stock, streams: ChangeStreams) -> None:
    await stock.sale(1)
    fill = "for n = 1, ARGV[1] do redis.call('XADD', KEYS[1], '1-' .. n, 'c', 'x') end"
    await stock.redis.delete(keys.changes(1))
    await stock.redis.eval(fill, 1, keys.changes(1), 120_001)
    await stock.redis.config_resetstat()
    await streams.trim({1: (EPOCHS[1], "1-120000")})
    assert await stock.redis.xrange(keys.changes(1)) == [(b"1-120001", {b"c": b"x"})]
    calls = (await stock.redis.info("commandstats"))["cmdstat_eval"]["calls"]
    assert calls >= 3, "a call trims 50,000 entries at most"


async def test_entries_of_another_epoch_are_not_trimmed(stock: Stock, streams: ChangeStreams) -> None:
    await stock.sale(1)
    (batch,) = (await streams.read(START, 1_000)).batches
    await stock.redis.set(keys.epoch(1), "another")
    await streams.trim({1: (batch.epoch, batch.upto)})
    assert (len(await stock.entries()), await stock.redis.exists(keys.trimmed_to(1))) == (1, 0)


async def test_a_shard_with_another_or_no_epoch_is_reported_and_not_read(stock: Stock, streams: ChangeStreams) -> None:
    await stock.sale(1)
    await stock.sale(2)
    await stock.redis.set(keys.epoch(0), "another")
    reading = await streams.read(START, 1_000)
    assert ([batch.shard for batch in reading.batches], reading.lost) == ([1], [0])
    await stock.redis.flushall()
    assert await streams.read(START, 1_000) == StreamRead(lost=list(range(SHARDS)))


async def test_a_damaged_stream_is_reported_and_the_others_are_read(stock: Stock, streams: ChangeStreams) -> None:
    await stock.sale(1)
    await stock.redis.xadd(keys.changes(0), {"c": "no words of ours"})
    await stock.sale(2)
    reading = await streams.read(START, 1_000)
    assert ([batch.shard for batch in reading.batches], list(reading.unreadable)) == ([1], [0])
    await stock.redis.set(keys.changes(0), "not a stream")
    reading = await streams.read(START, 1_000)
    assert ([batch.shard for batch in reading.batches], list(reading.unreadable)) == ([1], [0])


async def test_entries_before_an_unreadable_one_are_read_first(stock: Stock, streams: ChangeStreams) -> None:
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


async def test_an_old_copy_is_fenced_off_even_if_tickets_were_sold_from_it(
    stock: Stock, streams: ChangeStreams
) -> None:
    await stock.sale(1, capacity=100)
    dumps = {key: await stock.redis.dump(key) for key in await stock.redis.keys("*")}
    await stock.office.book(1, "ann")
    (batch,) = (await streams.read(START, 10)).batches
    positions = dict(START) | {1: (batch.epoch, batch.upto)}
    assert await streams.verify_or_fence(positions) == [], "an old copy was accepted before its entry was trimmed"
    await streams.trim({1: (batch.epoch, batch.upto)})
    assert await streams.verify_or_fence(positions) == [], "an old copy was accepted after its entry was trimmed"
    assert await streams.verify_or_fence(START) == [], "an old copy was accepted without a known cursor"
    await stock.redis.flushall()
    for key, dump in dumps.items():
        await stock.redis.restore(key, 0, dump)
    await stock.office.book(1, "bob")
    assert await streams.verify_or_fence(positions) == [1]
    with pytest.raises(ShardFenced):
        await stock.office.book(1, "cid")


async def test_an_old_copy_restored_between_commit_and_trim_is_fenced_off(stock: Stock, streams: ChangeStreams) -> None:
    await stock.sale(1, capacity=100)
    dumps = {key: await stock.redis.dump(key) for key in await stock.redis.keys("*")}
    await stock.office.book(1, "ann")
    (batch,) = (await streams.read(START, 10)).batches
    await stock.redis.flushall()
    for key, dump in dumps.items():
        await stock.redis.restore(key, 0, dump)
    before = await contents(stock.redis)
    await streams.trim({1: (batch.epoch, batch.upto)})
    assert await contents(stock.redis) == before, "the trimmed position says that ann's booking was there"
    assert await streams.verify_or_fence(dict(START) | {1: (batch.epoch, batch.upto)}) == [1]


async def test_initializing_a_shard_sets_its_epoch_once(stock: Stock, streams: ChangeStreams) -> None:
    await streams.initialize_shards({shard: (f"later-{shard}", "0-0") for shard in range(SHARDS)})
    assert [await stock.redis.get(keys.epoch(shard)) for shard in range(SHARDS)] == [b"1 epoch-0", b"1 epoch-1"]


async def test_a_shard_with_sales_but_no_epoch_is_not_initialized_again(stock: Stock, streams: ChangeStreams) -> None:
    await stock.sale(1)
    await stock.redis.delete(keys.epoch(1))
    await streams.initialize_shards(START)
    assert await stock.redis.get(keys.epoch(1)) is None, "a shard with a stream was initialized again"
    await stock.redis.flushall()
    await streams.initialize_shards({0: ("epoch-0", "5-0"), 1: ("epoch-1", "0-0")})
    assert await stock.redis.get(keys.epoch(0)) is None, "a shard with a cursor was initialized again"
    assert await stock.redis.get(keys.epoch(1)) == b"1 epoch-1"


async def test_a_shard_is_not_initialized_during_a_restore(stock: Stock, streams: ChangeStreams) -> None:
    await stock.redis.delete(keys.epoch(1))
    await stock.redis.set(keys.restoring(1), "a restorer")
    await streams.initialize_shards(START)
    assert await stock.redis.get(keys.epoch(1)) is None


async def test_a_connection_to_a_refusing_server_is_replaced(stock: Stock, streams: ChangeStreams) -> None:
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
    assert len(before - after) == len(after - before) == 1, "the connection was not replaced"


async def test_a_redis_that_is_away_is_unavailable_to_every_call() -> None:
    streams = ChangeStreams("unix:///nowhere/at-all.sock")
    with pytest.raises(InventoryUnavailable):
        await streams.initialize_shards(START)
    with pytest.raises(InventoryUnavailable):
        await streams.read(START, 1)
    await streams.close()


@pytest.mark.parametrize("limit", [10, 3])
async def test_the_lag_counts_the_entries_that_are_not_persisted(
    stock: Stock, streams: ChangeStreams, limit: int
) -> None:
    await stock.sale(1)
    await stock.office.book(1, "ann")
    lags = await stock.office.lags()
    assert [(lag.entries, lag.whole) for lag in lags] == [(0, True), (2, True)]
    assert lags[0].oldest_ms == 0
    batches = (await streams.read(START, limit)).batches
    await streams.trim({batch.shard: (batch.epoch, batch.upto) for batch in batches})
    assert [lag.entries for lag in await stock.office.lags()] == [0, 0]
