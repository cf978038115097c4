"""A record begins with its version. Records from before there were versions are still read everywhere."""

from collections.abc import Awaitable, Callable

import pytest

from booking.domain.changes import BookingChange
from booking.domain.model import Booking, BookingStatus, Source
from booking.domain.outcomes import IdempotencyKey, Outcome, Status
from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable, ShardFenced
from booking.inventory.records import read_change, read_epoch, read_record, stored_epoch, write_record
from booking.inventory.streams import ChangeStreams
from tests.fixtures.stock import EPOCHS, SHARDS, Stock, contents

EVENT = 1
SHARD = keys.shard_of(EVENT, SHARDS)
KEYS = dict(zip(keys.EVENT_KEY_NAMES, keys.event_keys(EVENT, SHARDS), strict=True))
BOOKING = Booking(EVENT, 4, "g h", 2, BookingStatus.HELD, Source.WAITLIST, 1_800_000_000_000, 1_800_000_060_000)
TEXT = b"h 2 4 1800000000000 w 1800000060000"


async def records(stock: Stock) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = await stock.redis.hgetall(KEYS["bookings"])
    return found


@pytest.fixture
async def unversioned(stock: Stock) -> Stock:
    """A sale whose records all have no version, as an older release wrote them."""
    await stock.redis.set(keys.epoch(SHARD), EPOCHS[SHARD])
    await stock.sale(EVENT, capacity=3, hold_seconds=3_600)
    for user in ("confirmed", "held", "dead", "first", "second"):
        await stock.office.book(EVENT, user)
    await stock.office.confirm(EVENT, "confirmed")
    await stock.redis.hset(KEYS["bookings"], "dead", (await records(stock))[b"dead"].rpartition(b" ")[0] + b" 1")
    await stock.redis.zadd(KEYS["holds"], {"dead": 1})
    assert {text[:2] for text in (await records(stock)).values()} == {b"c ", b"h ", b"w "}
    await stock.redis.set(keys.epoch(SHARD), stored_epoch(EPOCHS[SHARD]))
    return stock


CommandEndpoint = Callable[[Stock], Awaitable[Outcome]]
VERBS: dict[str, tuple[CommandEndpoint, Status]] = {
    "book, having one": (lambda stock: stock.office.book(EVENT, "confirmed"), Status.ALREADY_BOOKED),
    "book, waiting": (lambda stock: stock.office.book(EVENT, "second"), Status.ALREADY_WAITING),
    "book, after a dead hold": (lambda stock: stock.office.book(EVENT, "dead"), Status.JOINED),
    "cancel": (lambda stock: stock.office.cancel(EVENT, "confirmed"), Status.CANCELLED),
    "leave": (lambda stock: stock.office.cancel(EVENT, "second"), Status.LEFT),
    "confirm": (lambda stock: stock.office.confirm(EVENT, "held"), Status.CONFIRMED),
    "confirm, promoted": (lambda stock: stock.office.confirm(EVENT, "first"), Status.CONFIRMED),
    "confirm, too late": (lambda stock: stock.office.confirm(EVENT, "dead"), Status.HOLD_EXPIRED),
    "read": (lambda stock: stock.office.get_booking(EVENT, "held"), Status.FOUND),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_record_without_a_version_is_read_by_every_command(unversioned: Stock, verb: str) -> None:
    do, status = VERBS[verb]
    assert (await do(unversioned)).status is status
    assert (await records(unversioned))[b"dead"][:4] in (b"1 x ", b"1 w "), "a new record has no version"
    event = await unversioned.office.get_event(EVENT)
    assert event is not None
    assert event.available + event.tickets_held + event.tickets_sold == 3


async def test_a_capacity_change_reads_records_without_a_version(unversioned: Stock) -> None:
    await unversioned.office.cancel(EVENT, "held")
    await unversioned.office.cancel(EVENT, "first")
    assert (await unversioned.office.change(EVENT, {"capacity": 2})).status is Status.CHANGED
    larger = await unversioned.office.change(EVENT, {"capacity": 5})
    assert larger.event is not None
    assert (larger.event.waiting_count, larger.event.available) == (0, 3)


async def test_a_kept_answer_without_a_version_is_replayed(stock: Stock) -> None:
    await stock.redis.set(keys.epoch(SHARD), EPOCHS[SHARD])
    await stock.sale(EVENT)
    first = await stock.office.book(EVENT, "ann", 2, IdempotencyKey("key", "first"))
    await stock.redis.set(keys.epoch(SHARD), stored_epoch(EPOCHS[SHARD]))
    again = await stock.office.book(EVENT, "ann", 2, IdempotencyKey("key", "second"))
    assert (again.status, again.booking, again.first_request_id) == (Status.BOOKED, first.booking, "first")


async def test_a_stream_with_both_record_forms_is_read_in_order(unversioned: Stock, clean_valkey: str) -> None:
    await unversioned.office.cancel(EVENT, "confirmed")
    streams = ChangeStreams(clean_valkey)
    try:
        (batch,) = (await streams.read({SHARD: (EPOCHS[SHARD], "0-0")}, 1_000)).batches
    finally:
        await streams.close()
    kinds_and_users = [
        (change.kind.value, change.user_id) for change in batch.changes if isinstance(change, BookingChange)
    ]
    assert kinds_and_users[4:] == [
        ("joined", "second"), ("confirmed", "confirmed"), ("expired", "dead"), ("promoted", "first"),
        ("cancelled", "confirmed"), ("promoted", "second"),
    ]  # fmt: skip
    assert {entry.split(" ")[4] for entry in await unversioned.entries() if entry.split(" ")[2] == "promoted"} == {"1"}


async def test_a_shard_whose_epoch_has_no_version_gets_records_without_one(stock: Stock) -> None:
    await stock.redis.set(keys.epoch(SHARD), EPOCHS[SHARD])
    await stock.sale(EVENT)
    await stock.office.book(EVENT, "ann", 2)
    assert (await records(stock))[b"ann"].startswith(b"c 2 ")
    assert (await stock.entries())[-1].split(" ")[4] == "c"


async def test_code_without_versions_is_fenced_off_from_versioned_records(stock: Stock) -> None:
    """Older code compares the epoch's key with its own epoch, and sells only if the two are equal."""
    stored = await stock.redis.get(keys.epoch(SHARD))
    assert stored != EPOCHS[SHARD].encode()
    assert read_epoch(stored) == EPOCHS[SHARD]


@pytest.mark.parametrize("text", [b"2 c 2 3 1800000000000 s 0", b"c 2", b"", b"1 1 c 2 3 1800000000000 s 0"])
async def test_an_unreadable_record_is_an_error_and_not_a_missing_booking(stock: Stock, text: bytes) -> None:
    await stock.sale(EVENT)
    await stock.office.book(EVENT, "ann")
    await stock.redis.hset(KEYS["bookings"], "ann", text)
    before = await contents(stock.redis)
    for verb in (stock.office.book, stock.office.cancel, stock.office.confirm, stock.office.get_booking):
        with pytest.raises(InventoryUnavailable, match="DAMAGED"):
            await verb(EVENT, "ann")
    assert await contents(stock.redis) == before
    with pytest.raises((KeyError, ValueError)):
        read_record(EVENT, "ann", text)


async def test_nothing_is_sold_from_a_shard_of_an_unknown_version(stock: Stock) -> None:
    await stock.sale(EVENT)
    await stock.redis.set(keys.epoch(SHARD), f"2 {EPOCHS[SHARD]}")
    with pytest.raises(ShardFenced):
        await stock.office.book(EVENT, "ann")


def test_a_record_is_written_with_its_version_and_read_in_both_forms() -> None:
    assert write_record(BOOKING).encode() == b"1 " + TEXT
    assert read_record(EVENT, "g h", b"1 " + TEXT) == read_record(EVENT, "g h", TEXT) == BOOKING


def test_an_entry_is_read_in_both_forms() -> None:
    head = b"1 9 promoted 1800000000500 "
    read = read_change(head + b"1 " + TEXT + b" g h")
    assert read == read_change(head + TEXT + b" g h")
    assert isinstance(read, BookingChange)
    assert (read.user_id, read.quantity, read.number) == ("g h", 2, 4)
    with pytest.raises((KeyError, ValueError)):
        read_change(head + b"2 " + TEXT + b" g h")
