"""Published mistakes in selling tickets from Redis. Each class names one and shows that it is not made here."""

import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest

from booking.domain.model import BookingStatus
from booking.domain.outcomes import IdempotencyKey, Status
from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable
from tests.fixtures.stock import SHARDS, Stock, contents

EVENT = 1
FAR_MS = 4_000_000_000_000
KEYS = dict(zip(keys.EVENT_KEY_NAMES, keys.event_keys(EVENT, SHARDS), strict=True))
COUNTERS = ("available", "held", "sold", "bookings", "holding", "backlog", "seq")


async def statuses(stock: Stock, *users: str, quantity: int = 1) -> list[Status]:
    return [outcome.status for outcome in await asyncio.gather(*(stock.office.book(EVENT, u, quantity) for u in users))]


async def end_hold(stock: Stock, user: str) -> None:
    """Moves the end of the user's hold to the year 1970."""
    record = await stock.redis.hget(KEYS["bookings"], user)
    await stock.redis.hset(KEYS["bookings"], user, record.rsplit(b" ", 1)[0] + b" 1")
    await stock.redis.zadd(KEYS["holds"], {user: 1})


async def available(stock: Stock) -> int:
    event = await stock.office.get_event(EVENT)
    assert event is not None
    assert event.rules.capacity == event.available + event.tickets_held + event.tickets_sold
    return event.available


class TestZeroIsTrueInLua:
    """`if stock then` is true for a stock of 0."""

    async def test_a_stock_of_0_sells_nothing(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=1)
        assert await statuses(stock, "ann", "bob") == [Status.BOOKED, Status.JOINED]

    async def test_a_waiting_list_limit_of_0_means_no_waiting_list(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=1, waitlist_limit=0)
        assert await statuses(stock, "ann", "bob") == [Status.BOOKED, Status.SOLD_OUT]

    async def test_a_hold_of_0_seconds_is_a_confirmed_booking(self, stock: Stock) -> None:
        await stock.sale(EVENT, hold_seconds=0)
        assert await statuses(stock, "ann") == [Status.BOOKED]

    async def test_a_sale_that_is_not_paused_is_open(self, stock: Stock) -> None:
        await stock.sale(EVENT)
        await stock.office.change(EVENT, {"paused": 1})
        assert await statuses(stock, "ann") == [Status.SALE_PAUSED]
        await stock.office.change(EVENT, {"paused": 0})
        assert await statuses(stock, "ann") == [Status.BOOKED]

    async def test_the_first_millisecond_of_1970_is_a_time_and_not_a_missing_time(self, stock: Stock) -> None:
        await stock.sale(EVENT, closes_at_ms=0)
        assert await statuses(stock, "ann") == [Status.SALE_CLOSED]


class TestACounterThatWasNeverSet:
    """`tonumber(redis.call('GET', key))` is nil or raises an error until the counter is set."""

    async def test_a_new_event_has_all_of_its_counters(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=3)
        stored = dict(zip(COUNTERS, await stock.redis.hmget(KEYS["event"], COUNTERS), strict=True))
        assert stored == dict.fromkeys(COUNTERS, b"0") | {"available": b"3", "seq": b"1"}

    async def test_an_unknown_event_sells_nothing_and_leaves_no_key(self, stock: Stock) -> None:
        before = await contents(stock.redis)
        assert await statuses(stock, "ann") == [Status.EVENT_NOT_FOUND]
        assert (await stock.office.cancel(EVENT, "ann")).status is Status.EVENT_NOT_FOUND
        assert (await stock.office.confirm(EVENT, "ann")).status is Status.EVENT_NOT_FOUND
        assert await contents(stock.redis) == before

    @pytest.mark.parametrize("counter", COUNTERS)
    async def test_a_missing_counter_is_not_read_as_0(self, stock: Stock, counter: str) -> None:
        await stock.sale(EVENT, capacity=2, hold_seconds=60)
        await stock.office.book(EVENT, "ann")
        await stock.redis.hdel(KEYS["event"], counter)
        before = await contents(stock.redis)
        with suppress(InventoryUnavailable):
            assert (await stock.office.book(EVENT, "bob")).status is Status.EVENT_NOT_FOUND
        assert await contents(stock.redis) == before


class TestDecrBelowZero:
    """The ticket is taken before the check and not given back if the check fails."""

    async def test_many_buyers_at_once_leave_the_stock_at_0(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=3, waitlist_limit=0)
        found = await statuses(stock, *(f"user-{n}" for n in range(100)))
        assert found == [Status.BOOKED] * 3 + [Status.SOLD_OUT] * 97
        assert await available(stock) == 0

    async def test_a_group_that_does_not_fit_takes_nothing(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=3, waitlist_limit=0)
        assert await statuses(stock, "ann", "bob", quantity=2) == [Status.BOOKED, Status.SOLD_OUT]
        assert await available(stock) == 1

    async def test_a_capacity_cannot_fall_below_what_is_sold(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=3)
        await statuses(stock, "ann", quantity=2)
        outcome = await stock.office.change(EVENT, {"capacity": 1})
        assert (outcome.status, outcome.tickets_taken) == (Status.CAPACITY_BELOW_SOLD, 2)
        assert await available(stock) == 1


class TestAPurchaseLimitCheckedOnlyByThePage:
    """The page limits a user to four tickets, but a direct request for forty is accepted. Here no page is in front."""

    @pytest.mark.parametrize("quantity", [5, 11, 101, 0, -1, -4])
    async def test_the_script_itself_refuses_a_quantity_over_the_limit(self, stock: Stock, quantity: int) -> None:
        await stock.sale(EVENT, capacity=10)
        assert await statuses(stock, "ann", quantity=quantity) == [Status.QUANTITY_OVER_LIMIT]
        assert await available(stock) == 10

    @pytest.mark.parametrize("quantity", ["1.5", "nan", "inf", "many", ""])
    async def test_the_script_refuses_a_fraction_and_serves_the_other_items(self, stock: Stock, quantity: str) -> None:
        await stock.sale(EVENT, capacity=10)
        asked: tuple[int | str, ...] = (1, quantity, 1)
        outcomes = await asyncio.gather(
            *(stock.office.book(EVENT, f"user-{n}", q) for n, q in enumerate(asked))  # type: ignore[arg-type]  # the wrong type is the point
        )
        assert [o.status for o in outcomes] == [Status.BOOKED, Status.QUANTITY_OVER_LIMIT, Status.BOOKED]
        assert await available(stock) == 8

    async def test_one_user_with_many_requests_at_once_gets_one_booking(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=100)
        assert await statuses(stock, *["ann"] * 50) == [Status.BOOKED] + [Status.ALREADY_BOOKED] * 49
        assert await available(stock) == 99


class TestRequestsBeforeTheOpeningReduceTheStock:
    """The stock is reduced before the opening time is checked."""

    async def test_nothing_is_booked_joined_or_written_before_the_opening(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=2, opens_at_ms=FAR_MS)
        entries = await stock.entries(EVENT)
        assert await statuses(stock, *(f"user-{n}" for n in range(20))) == [Status.SALE_NOT_OPEN] * 20
        assert await available(stock) == 2
        assert await stock.redis.exists(KEYS["bookings"], KEYS["waiting"], KEYS["holds"]) == 0
        assert await stock.entries(EVENT) == entries


class TestTheLastToJoinIsServedFirst:
    """LPUSH with LPOP, or a score that is equal for all users who joined in one millisecond."""

    async def test_users_who_join_at_once_are_served_in_their_order(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=1)
        line = [f"user-{n}" for n in (9, 3, 10, 1, 2, 8)]
        await statuses(stock, "first", *line)
        for leaving, next_in_line in pairwise(["first", *line]):
            await stock.office.cancel(EVENT, leaving)
            booking = (await stock.office.get_booking(EVENT, next_in_line)).booking
            assert booking is not None
            assert booking.status is BookingStatus.CONFIRMED


class TestAWaitingListPlaceThatCannotBeLeft:
    """Only bookings can be cancelled, so a waiting user is given a ticket that they no longer want."""

    async def test_a_user_who_leaves_is_skipped_and_the_others_move_up(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=1)
        await statuses(stock, "ann", "bob", "cid", "dee")
        assert (await stock.office.cancel(EVENT, "bob")).status is Status.LEFT
        places = [(await stock.office.get_booking(EVENT, user)).booking for user in ("cid", "dee")]
        assert [booking and booking.position for booking in places] == [1, 2]
        await stock.office.cancel(EVENT, "ann")
        assert (await stock.office.get_booking(EVENT, "bob")).status is Status.BOOKING_NOT_FOUND
        assert (await stock.office.book(EVENT, "cid")).status is Status.ALREADY_BOOKED

    async def test_a_user_who_left_joins_again_at_the_end(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=1)
        await statuses(stock, "ann", "bob", "cid")
        await stock.office.cancel(EVENT, "bob")
        booking = (await stock.office.book(EVENT, "bob")).booking
        assert booking is not None
        assert booking.position == 2

    async def test_if_the_head_leaves_a_smaller_group_gets_the_free_tickets(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=3)
        await stock.office.book(EVENT, "ann", 2)
        await stock.office.book(EVENT, "bob", 2)
        await stock.office.book(EVENT, "cid", 1)
        await stock.office.cancel(EVENT, "bob")
        assert (await stock.office.book(EVENT, "cid")).status is Status.ALREADY_BOOKED
        assert await available(stock) == 0


class TestStockGivenBackTwice:
    """A second cancellation, or an expiry after a cancellation, adds a ticket that does not exist."""

    async def test_only_one_of_many_simultaneous_cancellations_counts(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=5)
        await stock.office.book(EVENT, "ann", 2)
        outcomes = await asyncio.gather(*(stock.office.cancel(EVENT, "ann") for _ in range(20)))
        assert [o.status for o in outcomes] == [Status.CANCELLED] + [Status.BOOKING_NOT_FOUND] * 19
        assert await available(stock) == 5

    async def test_leaving_the_waiting_list_frees_no_ticket(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=1)
        await statuses(stock, "ann", "bob")
        await stock.office.cancel(EVENT, "bob")
        assert await available(stock) == 0

    async def test_an_expired_hold_cannot_also_be_cancelled(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=5, hold_seconds=60)
        await stock.office.book(EVENT, "ann", 2)
        await end_hold(stock, "ann")
        outcomes = await asyncio.gather(
            *(stock.office.cancel(EVENT, "ann") for _ in range(3)), stock.office.get_event(EVENT)
        )
        assert [getattr(o, "status", None) for o in outcomes[:3]] == [Status.BOOKING_NOT_FOUND] * 3
        assert (await stock.office.confirm(EVENT, "ann")).status is Status.HOLD_EXPIRED
        assert await available(stock) == 5

    async def test_a_confirmed_hold_does_not_also_expire(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=5, hold_seconds=60)
        await stock.office.book(EVENT, "ann", 2)
        await stock.office.confirm(EVENT, "ann")
        assert await stock.redis.exists(KEYS["holds"]) == 0
        assert await available(stock) == 3

    async def test_a_replayed_cancellation_does_not_cancel_a_later_booking(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=5)
        await stock.office.book(EVENT, "ann", 2)
        first = await stock.office.cancel(EVENT, "ann", key=IdempotencyKey("k", "one"))
        await stock.office.book(EVENT, "ann", 3)
        again = await stock.office.cancel(EVENT, "ann", key=IdempotencyKey("k", "two"))
        assert (again.status, again.booking, again.first_request_id) == (first.status, first.booking, "one")
        assert await available(stock) == 2

    async def test_each_change_is_in_the_stream_once_and_in_order(self, stock: Stock) -> None:
        await stock.sale(EVENT, capacity=1)
        await statuses(stock, "ann", "bob")
        await asyncio.gather(*(stock.office.cancel(EVENT, user) for user in ("ann", "ann", "bob", "bob")))
        entries = [entry.split(" ") for entry in await stock.entries(EVENT)]
        kinds = [kind for _, _, kind, *_ in entries]
        assert kinds == ["created", "booked", "joined", "cancelled", "promoted", "cancelled"]
        assert all(int(after[1]) - int(before[1]) == 1 for before, after in pairwise(entries))
