"""The box office: replayed answers, rate buckets, refusals, and a stream at its limit."""

import asyncio
from typing import Any

import pytest

from booking.domain.outcomes import IdempotencyKey, Outcome, Status
from booking.inventory import keys
from booking.inventory.box_office import Acting, RateLimit
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown
from tests.fixtures.stock import SHARDS, Stock, contents, open_stock
from tests.fixtures.waiting import eventually_async

DAY_MS = 86_400_000
YEAR_9999_MS = 253_402_300_799_999


def key(text: str = "key", request: str = "first") -> IdempotencyKey:
    return IdempotencyKey(text, request)


def same(first: Outcome, again: Outcome) -> bool:
    """Whether a caller would see the same answer both times."""
    return (first.status, first.booking, first.opens_at_ms, first.now_ms) == (
        again.status,
        again.booking,
        again.opens_at_ms,
        again.now_ms,
    )


async def test_requests_for_unknown_events_leave_no_key(stock: Stock) -> None:
    await stock.sale(1)
    office = stock.office
    for event_id in (1, 2):
        await office.get_event(event_id)
        await office.get_booking(event_id, "ann")
        await office.book(event_id, "ann")
        await office.confirm(event_id, "ann")
        await office.cancel(event_id, "ann")
    assert {event_id for _, event_id, _ in office._cached_calls} == {1}  # not visible otherwise


# Idempotency keys


async def test_an_answer_is_replayed_after_later_changes(stock: Stock) -> None:
    await stock.sale(capacity=1)
    office = stock.office
    booked = await office.book(1, "ann", 1, key("a"))
    joined = await office.book(1, "bob", 1, key("b"))
    assert (booked.status, joined.status) == (Status.BOOKED, Status.JOINED)
    cancelled = await office.cancel(1, "ann", key=key("c"))
    before = await stock.entries()
    for first, again in (
        (booked, await office.book(1, "ann", 1, key("a", "second"))),
        (joined, await office.book(1, "bob", 1, key("b", "second"))),
        (cancelled, await office.cancel(1, "ann", key=key("c", "second"))),
    ):
        assert same(first, again)
        assert (first.first_request_id, again.first_request_id) == (None, "first")
    assert await stock.entries() == before


async def test_a_waiting_position_is_replayed_as_it_was(stock: Stock) -> None:
    await stock.sale(capacity=1)
    await stock.office.book(1, "ann")
    await stock.office.book(1, "bob")
    joined = await stock.office.book(1, "cid", 1, key())
    assert joined.booking is not None
    assert joined.booking.position == 2
    await stock.office.cancel(1, "bob")
    again = await stock.office.book(1, "cid", 1, key(request="second"))
    assert same(joined, again)


async def test_refusals_of_the_script_are_kept_as_well(stock: Stock) -> None:
    await stock.sale(1, capacity=1, waitlist_limit=0)
    await stock.office.book(1, "ann")
    assert (await stock.office.book(1, "bob", 1, key())).status is Status.SOLD_OUT
    await stock.office.cancel(1, "ann")
    again = await stock.office.book(1, "bob", 1, key(request="second"))
    assert (again.status, again.first_request_id) == (Status.SOLD_OUT, "first")
    await stock.sale(2, opens_at_ms=YEAR_9999_MS)
    early = await stock.office.book(2, "ann", 1, key())
    assert (early.status, early.opens_at_ms) == (Status.SALE_NOT_OPEN, YEAR_9999_MS)
    assert 0 < early.now_ms < YEAR_9999_MS
    again = await stock.office.book(2, "ann", 1, key(request="second"))
    assert (again.status, again.first_request_id) == (Status.SALE_NOT_OPEN, None)


async def test_a_key_used_for_another_request_is_refused_and_changes_nothing(stock: Stock) -> None:
    await stock.sale(hold_seconds=60)
    office = stock.office
    await office.book(1, "ann", 1, key())
    before = await contents(stock.redis)
    for again in (
        office.book(1, "ann", 2, key(request="second")),
        office.cancel(1, "ann", key=key(request="second")),
        office.confirm(1, "ann", key(request="second")),
        office.cancel(1, "bob", None, key(request="second"), Acting("ann")),
    ):
        assert (await again).status is Status.IDEMPOTENCY_KEY_REUSED
    assert await contents(stock.redis) == before


async def test_a_key_belongs_to_one_caller_and_one_event(stock: Stock) -> None:
    await stock.sale(1)
    await stock.sale(3)
    for event_id, user in ((1, "ann"), (1, "bob"), (3, "ann")):
        outcome = await stock.office.book(event_id, user, 1, key())
        assert (outcome.status, outcome.first_request_id) == (Status.BOOKED, None)


async def test_users_with_colons_never_share_a_record_and_a_key_is_no_prefix_of_another(stock: Stock) -> None:
    assert keys.answers(11, SHARDS, "u") != keys.answers(1, SHARDS, "1:u")
    await stock.sale(capacity=100)
    for number, text in enumerate(("a:b", "a", "a:b:c", "a:")):
        booked = await stock.office.cancel(1, "ann", key=IdempotencyKey(text, f"request-{number}"))
        assert (booked.status, booked.first_request_id) == (Status.BOOKING_NOT_FOUND, None)


async def test_a_second_use_of_a_key_in_the_same_call_replays_the_first_answer(stock: Stock) -> None:
    await stock.sale()
    first, again, other = await asyncio.gather(
        stock.office.book(1, "ann", 1, key()),
        stock.office.book(1, "ann", 1, key(request="second")),
        stock.office.book(1, "ann", 2, key(request="third")),
    )
    assert (first.status, first.first_request_id) == (Status.BOOKED, None)
    assert (again.status, again.first_request_id) == (Status.BOOKED, "first")
    assert other.status is Status.IDEMPOTENCY_KEY_REUSED
    assert len(await stock.entries()) == 2


async def test_a_kept_answer_lasts_a_day_and_none_is_kept_without_a_key(stock: Stock) -> None:
    await stock.sale()
    await stock.office.book(1, "bob")
    assert await stock.redis.keys("*answers*") == []
    await stock.office.book(1, "ann", 1, key())
    (kept,) = await stock.redis.keys("*answers*")
    assert DAY_MS - 60_000 < await stock.redis.pttl(kept) <= DAY_MS


async def test_a_key_used_for_an_unknown_event_can_be_used_once_it_exists(stock: Stock) -> None:
    assert (await stock.office.book(1, "ann", 1, key())).status is Status.EVENT_NOT_FOUND
    assert await stock.redis.keys("*answers*") == []
    await stock.sale()
    assert (await stock.office.book(1, "ann", 1, key(request="second"))).status is Status.BOOKED


# Rate buckets

SLOW = RateLimit(burst=3, per_second=0.001)


async def test_a_burst_passes_at_once_and_the_next_call_has_to_wait(clean_valkey: str) -> None:
    async with open_stock(clean_valkey, rate_limit=SLOW) as stock:
        await stock.sale()
        outcomes = await asyncio.gather(*(stock.office.book(1, "ann") for _ in range(5)))
        assert [outcome.status for outcome in outcomes] == [
            Status.BOOKED, Status.ALREADY_BOOKED, Status.ALREADY_BOOKED, Status.RATE_LIMITED, Status.RATE_LIMITED,
        ]  # fmt: skip
        assert 900_000 < outcomes[-1].wait_ms <= 1_000_000


async def test_all_commands_and_invalid_calls_share_one_rate_bucket(clean_valkey: str) -> None:
    async with open_stock(clean_valkey, rate_limit=SLOW) as stock:
        await stock.sale(hold_seconds=60)
        assert (await stock.office.book(1, "ann")).status is Status.HELD
        assert (await stock.office.confirm(1, "ann")).status is Status.CONFIRMED
        assert await stock.office.take_token(1, "ann") == 0
        before = await contents(stock.redis)
        assert (await stock.office.cancel(1, "ann")).status is Status.RATE_LIMITED
        assert (await stock.office.book(1, "ann", 1, key())).status is Status.RATE_LIMITED
        assert await stock.office.take_token(1, "ann") > 0
        assert await contents(stock.redis) == before, "the answer of a rate-limited call was kept"


async def test_each_user_has_a_bucket_per_event_and_an_organizer_uses_their_own(clean_valkey: str) -> None:
    async with open_stock(clean_valkey, rate_limit=RateLimit(1, 0.001)) as stock:
        await stock.sale(1)
        await stock.sale(3)
        for event_id, user in ((1, "ann"), (1, "bob"), (3, "ann")):
            assert (await stock.office.book(event_id, user)).status is Status.BOOKED
        assert (await stock.office.cancel(1, "ann", acting=Acting("boss"))).status is Status.CANCELLED
        assert (await stock.office.cancel(1, "bob", acting=Acting("boss"))).status is Status.RATE_LIMITED


async def test_a_rate_window_contains_no_user_of_two_windows_ago(clean_valkey: str) -> None:
    """The hash of a window expires at the end of the millisecond in which its next turn begins."""
    async with open_stock(clean_valkey, rate_limit=SLOW) as stock:
        await stock.sale()
        buckets = keys.event_keys(1, SHARDS)[7:9]
        for bucket in buckets:
            await stock.redis.hset(bucket, "long ago", 1)
            await stock.redis.pexpire(bucket, 60_000)  # a window lasts 3,000 s
        assert (await stock.office.book(1, "ann")).status is Status.BOOKED
        kept = [await stock.redis.hkeys(bucket) for bucket in buckets]
        assert sorted(kept) == [[b"ann"], [b"long ago"]]


async def test_the_expiry_of_a_rate_window_is_set_once_and_not_by_every_call(clean_valkey: str) -> None:
    async with open_stock(clean_valkey, rate_limit=SLOW) as stock:
        await stock.sale()
        calls, before = await stock.calls(), await stock.calls("pexpire")
        for number in range(50):
            await stock.office.book(1, f"user-{number}")
        assert await stock.calls() - calls == 50
        assert 1 <= await stock.calls("pexpire") - before <= 5, "the expiry is not set once a window"


@pytest.mark.parametrize("seconds", [2_000, 100_000])
async def test_rate_buckets_with_a_wrong_expiry_are_kept_and_corrected(clean_valkey: str, seconds: int) -> None:
    """As after a start with another rate. A window lasts 3,000 s here, and its buckets last until the next ends."""
    async with open_stock(clean_valkey, rate_limit=SLOW) as stock:
        await stock.sale()
        await stock.office.book(1, "ann")
        (bucket,) = await stock.redis.keys("*rate*")
        await stock.redis.pexpire(bucket, seconds * 1_000)
        await stock.office.book(1, "bob")
        assert {b"ann", b"bob"} <= set(await stock.redis.hkeys(bucket))
        assert 2_990_000 < await stock.redis.pttl(bucket) <= 6_000_000


async def test_a_bucket_refills_and_leaves_no_key_when_it_is_full(clean_valkey: str) -> None:
    async with open_stock(clean_valkey, rate_limit=RateLimit(2, 50)) as stock:
        await stock.sale()
        first = await asyncio.gather(*(stock.office.take_token(1, "ann") for _ in range(3)))
        assert first[:2] == [0, 0]
        assert 0 < first[2] <= 20
        for bucket in await stock.redis.keys("*rate*"):
            assert await stock.redis.pttl(bucket) <= 80  # two windows, each as long as the bucket needs to fill

        async def has_token() -> bool:
            return await stock.office.take_token(1, "ann") == 0

        async def has_no_bucket() -> bool:
            return not await stock.redis.keys("*rate*")

        await eventually_async(has_token, "the bucket refills")
        await eventually_async(has_no_bucket, "a full bucket leaves no key")


async def test_calls_about_an_unknown_event_use_the_rate_bucket(clean_valkey: str) -> None:
    async with open_stock(clean_valkey, rate_limit=RateLimit(1, 0.001)) as stock:
        assert (await stock.office.book(99, "ann")).status is Status.EVENT_NOT_FOUND
        assert (await stock.office.book(99, "ann")).status is Status.RATE_LIMITED


async def test_without_a_rate_limit_no_bucket_is_stored(stock: Stock) -> None:
    await stock.sale()
    for _ in range(50):
        assert await stock.office.take_token(1, "ann") == 0
        assert (await stock.office.cancel(1, "ann")).status is Status.BOOKING_NOT_FOUND
    assert await stock.redis.keys("*rate*") == []


async def test_an_address_has_a_bucket_of_its_own(stock: Stock) -> None:
    assert [await stock.office.take_address_token("192.0.2.1", SLOW) for _ in range(3)] == [0, 0, 0]
    assert await stock.office.take_address_token("192.0.2.1", SLOW) > 0
    assert await stock.office.take_address_token("192.0.2.2", SLOW) == 0


@pytest.mark.parametrize(("limit", "interval_us"), [(RateLimit(20, 10), 100_000), (RateLimit(1, 10_000), 100)])
def test_a_rate_limits_interval_is_the_cost_of_one_call(limit: RateLimit, interval_us: int) -> None:
    assert limit.interval_us == interval_us


# Event ids, stream limit and counters


async def test_concurrent_callers_never_get_the_same_event_id(stock: Stock) -> None:
    assert await stock.office.last_event_id() == 0
    given = await asyncio.gather(*(stock.office.next_event_id() for _ in range(50)))
    assert sorted(given) == list(range(1, 51))
    assert await stock.office.last_event_id() == 50


async def test_an_event_is_not_created_twice(stock: Stock) -> None:
    await stock.sale()
    await stock.office.book(1, "ann")
    before = await contents(stock.redis)
    with pytest.raises(AssertionError):
        await stock.sale()
    assert await contents(stock.redis) == before


async def test_a_stream_at_its_limit_stops_sales_and_no_other_command(clean_valkey: str) -> None:
    async with open_stock(clean_valkey, unsaved_limit=4) as stock:
        await stock.sale(capacity=1)
        for user in ("ann", "bob", "cid", "dan"):
            assert (await stock.office.book(1, user)).status in (Status.BOOKED, Status.JOINED)
        refused = await stock.office.book(1, "eve", 1, key())
        assert refused.status is Status.LEDGER_BEHIND
        assert await stock.redis.keys("*answers*") == []
        assert (await stock.office.cancel(1, "ann")).status is Status.CANCELLED
        await stock.redis.xtrim(keys.changes(1), 0)
        assert (await stock.office.book(1, "eve", 1, key())).status is Status.JOINED


async def test_a_large_capacity_reaches_a_long_waiting_list_in_several_steps(stock: Stock) -> None:
    await stock.sale(capacity=1)
    await asyncio.gather(*(stock.office.book(1, f"buyer-{number}") for number in range(100)))
    outcome = await stock.office.change(1, {"capacity": 12_000, "name": "Larger night"})
    assert outcome.status is Status.CHANGED
    event = outcome.event
    assert event is not None
    assert (event.rules.capacity, event.rules.name) == (12_000, "Larger night")
    assert (event.tickets_sold, event.waiting_count, event.available) == (100, 0, 11_900)


async def test_a_change_interrupted_between_its_steps_has_an_unknown_outcome(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stock.sale(capacity=1)
    await asyncio.gather(*(stock.office.book(1, f"buyer-{number}") for number in range(3)))
    submit, steps = stock.batcher.submit, 0

    def until_the_second(*arguments: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > 1:
            raise InventoryUnavailable("Redis cannot be reached")
        return submit(*arguments, **named)

    monkeypatch.setattr(stock.batcher, "submit", until_the_second)
    with pytest.raises(OutcomeUnknown):
        await stock.office.change(1, {"capacity": 12_000})
    monkeypatch.undo()
    event = await stock.office.get_event(1)
    assert event is not None
    assert 1 < event.rules.capacity < 12_000


async def test_an_event_counts_its_refusals_without_showing_them(stock: Stock) -> None:
    await stock.sale(capacity=1, waitlist_limit=0)
    for user in ("ann", "ann", "bob", "cid"):
        await stock.office.book(1, user)
    counted = await stock.redis.hgetall(keys.event_keys(1, SHARDS)[0])
    assert counted[b"refused:%d" % Status.ALREADY_BOOKED] == b"1"
    assert counted[b"refused:%d" % Status.SOLD_OUT] == b"2"
