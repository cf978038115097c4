"""Idempotency keys cost bounded memory: how many answers of a user are kept on an event, and how long each."""

import asyncio
from typing import Any

import pytest

from booking.domain.model import Rules
from booking.domain.outcomes import IdempotencyKey, Outcome, Status
from booking.inventory import keys
from booking.inventory.box_office import BoxOffice
from tests.fixtures.stock import SHARDS, Stock

from .settable_office import NOON_MS, office_with_clock, set_clock

EVENT = 1
KEPT = 64
MINUTE_MS = 60_000
DAY_MS = 86_400_000


def key(text: object, request: str = "first") -> IdempotencyKey:
    return IdempotencyKey(str(text), request)


async def refused(office: BoxOffice, text: object, request: str = "first") -> Outcome:
    """A call that is refused, because the user has no booking."""
    return await office.cancel(EVENT, "ann", key=key(text, request))


async def create(office: BoxOffice) -> None:
    await office.create(EVENT, Rules("Night", 10, 4))


async def is_replayed(office: BoxOffice, text: object) -> bool:
    return (await refused(office, text, "again")).first_request_id == "first"


async def test_the_last_64_keys_by_first_use_are_replayed_and_older_ones_decided_again(stock: Stock) -> None:
    await stock.sale(EVENT)
    for number in range(KEPT):
        await refused(stock.office, number)
    assert await is_replayed(stock.office, 0)
    await refused(stock.office, KEPT)
    assert await stock.redis.llen(keys.answers(EVENT, SHARDS, "ann")) == KEPT
    assert await is_replayed(stock.office, 1), "a replay of key 0 has pushed out key 1"
    assert not await is_replayed(stock.office, 0)


async def test_keys_of_one_call_push_each_other_out_as_those_of_several_calls_do(stock: Stock) -> None:
    await stock.sale(EVENT)
    together = [*range(KEPT + 1), 0, KEPT]
    outcomes = await asyncio.gather(*(refused(stock.office, text, f"{at}") for at, text in enumerate(together)))
    assert [outcome.first_request_id for outcome in outcomes[-2:]] == [None, str(KEPT)]


async def test_a_user_who_sends_20_000_refused_calls_with_new_keys_costs_bounded_memory(stock: Stock) -> None:
    await stock.sale(EVENT)

    async def used() -> int:
        return int(await stock.redis.memory_usage(keys.answers(EVENT, SHARDS, "ann"), samples=0))

    for start in range(0, 20_000, 1_000):
        await asyncio.gather(*(refused(stock.office, f"{number:0255}") for number in range(start, start + 1_000)))
        assert await used() < 64 * 1_024
    assert len(await stock.redis.keys("*answers*")) == 1


@pytest.mark.parametrize("rules", [{"paused": 1}, {"opens_at": 4_000_000_000_000}])
async def test_a_sale_that_is_paused_or_not_open_yet_is_asked_again_under_the_same_key(
    stock: Stock, rules: dict[str, Any]
) -> None:
    await stock.sale(EVENT)
    await stock.office.change(EVENT, rules)
    first = await stock.office.book(EVENT, "ann", 1, key("k"))
    assert first.status in (Status.SALE_PAUSED, Status.SALE_NOT_OPEN)
    assert await stock.redis.keys("*answers*") == []
    await stock.office.change(EVENT, {"paused": 0, "opens_at": None})
    second = await stock.office.book(EVENT, "ann", 1, key("k", "second"))
    assert (second.status, second.first_request_id) == (Status.BOOKED, None)


async def test_a_refusal_is_replayed_for_10_minutes_and_a_change_for_a_day(clean_valkey: str) -> None:
    async with office_with_clock(clean_valkey) as (office, redis):
        await set_clock(redis, NOON_MS)
        await create(office)
        assert (await office.book(EVENT, "ann", 1, key("change"))).status is Status.BOOKED
        assert (await office.book(EVENT, "ann", 1, key("refusal"))).status is Status.ALREADY_BOOKED
        await set_clock(redis, NOON_MS + 10 * MINUTE_MS - 1)
        assert (await office.book(EVENT, "ann", 1, key("refusal", "2"))).first_request_id == "first"
        await set_clock(redis, NOON_MS + 10 * MINUTE_MS)
        assert (await office.book(EVENT, "ann", 1, key("refusal", "3"))).first_request_id is None
        assert (await office.book(EVENT, "ann", 1, key("refusal", "4"))).first_request_id == "3"
        await set_clock(redis, NOON_MS + DAY_MS - 1)
        assert (await office.book(EVENT, "ann", 1, key("change", "5"))).first_request_id == "first"
        await set_clock(redis, NOON_MS + DAY_MS)
        assert (await office.book(EVENT, "ann", 1, key("change", "6"))).status is Status.ALREADY_BOOKED


async def test_redis_forgets_a_users_answers_when_none_can_be_replayed_any_more(stock: Stock) -> None:
    await stock.sale(EVENT)
    kept = keys.answers(EVENT, SHARDS, "ann")
    await refused(stock.office, "refusal")
    assert 9 * MINUTE_MS < await stock.redis.pttl(kept) <= 10 * MINUTE_MS
    await stock.office.book(EVENT, "ann", 1, key("change"))
    await stock.office.book(EVENT, "ann", 1, key("another refusal"))
    assert DAY_MS - MINUTE_MS < await stock.redis.pttl(kept) <= DAY_MS


async def test_a_refusal_of_a_clock_that_was_ahead_is_decided_again_and_a_change_replayed(clean_valkey: str) -> None:
    async with office_with_clock(clean_valkey) as (office, redis):
        await set_clock(redis, NOON_MS)
        await create(office)
        await set_clock(redis, NOON_MS + 60 * MINUTE_MS)
        await refused(office, "refusal")
        await office.book(EVENT, "ann", 1, key("change"))
        await set_clock(redis, NOON_MS)
        assert (await office.book(EVENT, "ann", 1, key("change", "again"))).first_request_id == "first"
        assert (await office.cancel(EVENT, "ann", key=key("refusal", "again"))).status is Status.CANCELLED
