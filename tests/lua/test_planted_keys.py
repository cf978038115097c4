"""A key of the wrong type is an error for its event, and never causes half a change."""

from collections.abc import Awaitable, Callable

import pytest

from booking.domain.outcomes import IdempotencyKey, Status
from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable
from tests.fixtures.stock import EPOCHS, SHARDS, Stock, contents

EVENT = 1
KEYS = dict(zip(keys.EVENT_KEY_NAMES, keys.event_keys(EVENT, SHARDS), strict=True))

CommandEndpoint = Callable[[Stock], Awaitable[object]]
VERBS: dict[str, CommandEndpoint] = {
    "book": lambda stock: stock.office.book(EVENT, "new"),
    "cancel": lambda stock: stock.office.cancel(EVENT, "ann"),
    "leave": lambda stock: stock.office.cancel(EVENT, "cid"),
    "checkout": lambda stock: stock.office.check_out(EVENT, "ann"),
    "confirm": lambda stock: stock.office.confirm(EVENT, "ann"),
    "enlarge": lambda stock: stock.office.change(EVENT, {"capacity": 5}),
    "get_event": lambda stock: stock.office.get_event(EVENT),
    "get_booking": lambda stock: stock.office.get_booking(EVENT, "cid"),
}
SURE_TO_FAIL = {
    # The keys that each command needs, with and without holds.
    "event": set(VERBS),
    "bookings": {"book", "cancel", "leave", "checkout", "confirm", "enlarge", "get_booking"},
    "waiting": set(VERBS),
    "changes": set(VERBS),
    "epoch": set(VERBS),
    "payments": {"checkout"},
}


async def plant(stock: Stock, name: str) -> None:
    key = KEYS[name]
    await stock.redis.delete(key)
    if name == "epoch":
        await stock.redis.rpush(key, "planted")
    else:
        await stock.redis.set(key, "planted")


async def prepare(stock: Stock, case: str) -> None:
    """Sells or holds two tickets and adds a waiting user. The holds of `dead` have expired before the command comes."""
    await stock.sale(EVENT, capacity=2, hold_seconds=0 if case == "sold" else 60)
    for user in ("ann", "bob", "cid"):
        await stock.office.book(EVENT, user)
    if case == "dead":
        record = await stock.redis.hget(KEYS["bookings"], "bob")
        await stock.redis.hset(KEYS["bookings"], "bob", record.rsplit(b" ", 1)[0] + b" 1")
        await stock.redis.zadd(KEYS["holds"], {"bob": 1})
        await stock.redis.zadd(KEYS["due"], {EVENT: 1})


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("case", ["sold", "held", "dead"])
async def test_a_command_on_a_wrongly_typed_key_does_all_or_nothing(stock: Stock, case: str, name: str) -> None:
    await stock.sale(2)
    before: dict[bytes, bytes] = {}
    for verb, call in VERBS.items():
        if await contents(stock.redis) != before:  # the command before this one has changed something
            await stock.redis.delete(*KEYS.values())
            await stock.redis.set(KEYS["epoch"], EPOCHS[keys.shard_of(EVENT, SHARDS)])
            await prepare(stock, case)
            await plant(stock, name)
            before = await contents(stock.redis)
        try:
            await call(stock)
        except InventoryUnavailable:
            assert await contents(stock.redis) == before, verb
        else:
            assert verb not in SURE_TO_FAIL.get(name, set())
            assert (await contents(stock.redis))[KEYS[name]] == before[KEYS[name]], f"{verb} overwrote the planted key"
    # An event of another shard is not affected.
    assert (await stock.office.book(2, "ann")).status is Status.BOOKED


@pytest.mark.parametrize("name", ["event", "waiting", "changes", "epoch"])
async def test_an_event_is_not_created_over_a_wrongly_typed_key(stock: Stock, name: str) -> None:
    await plant(stock, name)
    before = await contents(stock.redis)
    with pytest.raises(InventoryUnavailable):
        await stock.sale(EVENT)
    assert await contents(stock.redis) == before


@pytest.mark.parametrize(
    "field",
    ["held", "sold", "bookings", "holding", "backlog", "seq", "capacity", "max_per_user", "hold_ms", "paused"],
)
@pytest.mark.parametrize("how", ["missing", "no number"])
async def test_nothing_is_written_if_a_counter_is_missing_or_no_number(stock: Stock, field: str, how: str) -> None:
    await prepare(stock, "sold")
    if how == "missing":
        await stock.redis.hdel(KEYS["event"], field)
    else:
        await stock.redis.hset(KEYS["event"], field, "planted")
    before = await contents(stock.redis)
    for verb in VERBS.values():
        with pytest.raises(InventoryUnavailable, match=f"DAMAGED .* {field}"):
            await verb(stock)
    assert await contents(stock.redis) == before


async def test_nothing_is_written_if_a_waiting_user_has_no_booking(stock: Stock) -> None:
    await prepare(stock, "sold")
    await stock.redis.hdel(KEYS["bookings"], "cid")
    before = await contents(stock.redis)
    with pytest.raises(InventoryUnavailable, match="waiting list has a user without a booking"):
        await stock.office.cancel(EVENT, "ann")
    assert await contents(stock.redis) == before


async def test_answers_that_cannot_be_read_do_not_keep_a_user_from_cancelling(stock: Stock) -> None:
    await prepare(stock, "sold")
    await stock.redis.rpush(keys.answers(EVENT, SHARDS, "cid"), "planted", "key\nplanted")
    outcome = await stock.office.cancel(EVENT, "cid", key=IdempotencyKey("key", "request"))
    assert outcome.status is Status.LEFT
    again = await stock.office.cancel(EVENT, "cid", key=IdempotencyKey("key", "second"))
    assert (again.status, again.first_request_id) == (Status.LEFT, "request")


async def test_a_wrong_type_in_place_of_the_answers_never_leaves_half_a_change(stock: Stock) -> None:
    await prepare(stock, "sold")
    await stock.redis.set(keys.answers(EVENT, SHARDS, "cid"), "planted")
    before = await contents(stock.redis)
    with pytest.raises(InventoryUnavailable):
        await stock.office.cancel(EVENT, "cid", key=IdempotencyKey("key", "request"))
    assert await contents(stock.redis) == before
