"""A change names who caused it: the caller, whoever's call freed the tickets, or the clock."""

import time
from collections.abc import AsyncIterator

import pytest

from booking.domain.changes import Change, actor_of
from booking.domain.model import Rules
from booking.inventory import keys
from booking.inventory.box_office import Acting
from booking.inventory.streams import ChangeStreams
from tests.fixtures.stock import EPOCHS, SHARDS, Stock
from tests.fixtures.waiting import eventually_async

EVENT = 1
ADMIN = "the\norganizer 1"


@pytest.fixture
async def streams(clean_valkey: str) -> AsyncIterator[ChangeStreams]:
    opened = ChangeStreams(clean_valkey)
    yield opened
    await opened.close()


async def told(streams: ChangeStreams) -> list[tuple[str, str | None, str | None, str | None]]:
    """The kind, the booking's user, the actor and the reason of each change, but the creation."""
    start = {shard: (epoch, "0-0") for shard, epoch in enumerate(EPOCHS)}
    changes = [change for batch in (await streams.read(start, 1_000)).batches for change in batch.changes]
    return [row(change) for change in changes[1:]]


def row(change: Change) -> tuple[str, str | None, str | None, str | None]:
    return change.kind, getattr(change, "user_id", None), actor_of(change), getattr(change, "reason", None)


async def test_an_organizer_who_cancels_is_the_actor_of_all_that_follows(stock: Stock, streams: ChangeStreams) -> None:
    await stock.office.create(EVENT, Rules("one", 1), ADMIN)
    await stock.office.book(EVENT, "ada")
    await stock.office.book(EVENT, "bob")
    await stock.office.cancel(EVENT, "ada", acting=Acting(ADMIN), reason="Sold twice: sorry")
    await stock.office.cancel(EVENT, "bob")
    assert await told(streams) == [
        ("booked", "ada", "ada", None),
        ("joined", "bob", "bob", None),
        ("cancelled", "ada", ADMIN, "Sold twice: sorry"),
        ("promoted", "bob", ADMIN, None),
        ("cancelled", "bob", "bob", None),
    ]


async def test_a_hold_that_ends_and_its_promotion_have_no_actor(stock: Stock, streams: ChangeStreams) -> None:
    await stock.office.create(EVENT, Rules("one", 1, hold_seconds=1), ADMIN)
    held = await stock.office.book(EVENT, "ada")
    await stock.office.book(EVENT, "bob")
    assert held.booking is not None
    expires_at_ms = held.booking.expires_at_ms or 0
    await eventually_async(lambda: time.time() * 1000 > expires_at_ms, "the hold has ended")
    await stock.office.book(EVENT, "cy")
    assert (await told(streams))[2:] == [
        ("expired", "ada", None, None),
        ("promoted", "bob", None, None),
        ("joined", "cy", "cy", None),
    ]


async def test_a_capacity_names_who_changed_it_also_in_what_it_promotes(stock: Stock, streams: ChangeStreams) -> None:
    await stock.office.create(EVENT, Rules("one", 1, max_per_user=2), ADMIN)
    await stock.office.book(EVENT, "ada")
    await stock.office.book(EVENT, "bob")
    await stock.office.change(EVENT, {"capacity": 2}, caller_id="admin")
    await stock.office.book(EVENT, "pair", 2)
    await stock.office.change(EVENT, {"paused": 1}, caller_id=ADMIN)
    assert (await told(streams))[2:] == [
        ("changed", None, "admin", None),
        ("promoted", "bob", "admin", None),
        ("joined", "pair", "pair", None),
        ("changed", None, ADMIN, None),
    ]


async def test_a_change_by_the_bookings_own_user_is_one_field_in_the_stream(stock: Stock) -> None:
    await stock.office.create(EVENT, Rules("one", 1, hold_seconds=60), ADMIN)
    for call in (stock.office.book, stock.office.confirm, stock.office.cancel):
        await call(EVENT, "ada")
    _, *entries = await stock.redis.xrange(keys.changes(keys.shard_of(EVENT, SHARDS)))
    assert [list(fields) for _, fields in entries] == [[b"c"], [b"c"], [b"c"]]


async def test_no_entry_has_more_fields_than_an_older_persister_reads(stock: Stock) -> None:
    await stock.office.create(EVENT, Rules("one", 1), ADMIN)
    await stock.office.book(EVENT, "ada")
    await stock.office.book(EVENT, "bob")
    await stock.office.cancel(EVENT, "ada", acting=Acting(ADMIN), reason="Sold twice")
    entries = await stock.redis.xrange(keys.changes(keys.shard_of(EVENT, SHARDS)))
    assert [len(fields) for _, fields in entries] == [2, 1, 1, 2, 2]
