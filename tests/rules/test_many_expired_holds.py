"""More ended holds than one call expires, as after an hour without the service: they hold no ticket."""

import asyncio
from collections import Counter

import pytest

from booking.domain.model import Rules
from booking.domain.outcomes import Status
from tests.fixtures.stock import Stock

from .expired_holds import end_hold

EVENT = 1
OTHER_EVENT = 999
QUANTITY = 100
HOLDERS = [f"holder {number:02}" for number in range(60)]
STEP = 2
"""Holds that one call expires, given their quantity."""


@pytest.fixture
async def held(stock: Stock) -> Stock:
    """A sale whose tickets are all on holds. The tests end them with `end_all_holds`."""
    await stock.office.create(EVENT, Rules("Night", QUANTITY * len(HOLDERS), QUANTITY, hold_seconds=60))
    await book_all(stock, HOLDERS)
    return stock


async def book_all(stock: Stock, users: list[str]) -> Counter[Status]:
    """Books for all users at once. Returns how often each status was given."""
    return Counter(outcome.status for outcome in await asyncio.gather(
        *(stock.office.book(EVENT, user, QUANTITY) for user in users)
    ))  # fmt: skip


async def end_all_holds(stock: Stock) -> None:
    for user in HOLDERS:
        await end_hold(stock, EVENT, user)


async def users_with(stock: Stock, kind: str) -> list[str]:
    """The users of the stream's entries of this kind, in order."""
    return [entry.split(" ", 11)[11] for entry in await stock.entries() if entry.split(" ")[2] == kind]


async def test_one_call_expires_at_most_one_step_of_holds_oldest_first(held: Stock) -> None:
    await end_all_holds(held)
    assert (await held.office.confirm(EVENT, "stranger")).status is Status.BOOKING_NOT_FOUND
    assert await users_with(held, "expired") == HOLDERS[:STEP]


async def test_a_read_of_the_event_shows_no_ended_hold(held: Stock) -> None:
    await end_all_holds(held)
    event = await held.office.get_event(EVENT)
    assert event is not None
    assert (event.available, event.tickets_held, event.held_count) == (QUANTITY * len(HOLDERS), 0, 0)
    assert await users_with(held, "expired") == HOLDERS


async def test_the_last_ended_hold_is_expired_for_its_user_in_the_first_call(held: Stock) -> None:
    await end_all_holds(held)
    assert (await held.office.confirm(EVENT, HOLDERS[-1])).status is Status.HOLD_EXPIRED
    assert await users_with(held, "expired") == [*HOLDERS[:STEP], HOLDERS[-1]]


async def test_an_ended_hold_can_be_neither_cancelled_nor_read(held: Stock) -> None:
    await end_all_holds(held)
    assert (await held.office.cancel(EVENT, HOLDERS[-1])).status is Status.BOOKING_NOT_FOUND
    assert (await held.office.get_booking(EVENT, HOLDERS[-2])).status is Status.BOOKING_NOT_FOUND


async def test_the_user_of_an_ended_hold_may_book_again_and_confirm(held: Stock) -> None:
    await end_all_holds(held)
    assert (await held.office.book(EVENT, HOLDERS[-1], QUANTITY)).status is Status.HELD
    event = await held.office.get_event(EVENT)
    assert event is not None
    assert (event.tickets_held, event.held_count) == (QUANTITY, 1)
    assert (await held.office.confirm(EVENT, HOLDERS[-1])).status is Status.CONFIRMED


async def test_no_buyer_is_refused_or_waits_because_of_ended_holds(held: Stock) -> None:
    await end_all_holds(held)
    buyers = [f"buyer {number:02}" for number in range(len(HOLDERS))]
    assert await book_all(held, buyers) == {Status.HELD: len(buyers)}
    assert await users_with(held, "held") == HOLDERS + buyers


async def test_a_waiting_list_that_ended_holds_will_empty_is_not_full(held: Stock) -> None:
    await held.office.change(EVENT, {"waitlist_limit": 30 * QUANTITY})
    waiting = [f"waiting {number:02}" for number in range(30)]
    assert await book_all(held, waiting) == {Status.JOINED: 30}
    await end_all_holds(held)
    buyers = [f"buyer {number:02}" for number in range(30)]
    statuses = await book_all(held, buyers)
    assert statuses[Status.HELD] + statuses[Status.JOINED] == 30
    event = await held.office.get_event(EVENT)
    assert event is not None
    assert (event.available, event.waiting_count, event.held_count) == (0, 0, 60)
    assert (await users_with(held, "promoted"))[:30] == waiting, "not in join order"


async def test_a_user_who_joins_in_the_call_that_empties_the_list_is_served_last(held: Stock) -> None:
    # One waiting user is left after a call has expired its step. Then one call brings three more. The second needs
    # another hold to expire, which serves the waiting user; the third needs one more, which serves the first.
    waiting = [f"waiting {number:02}" for number in range(STEP + 1)]
    assert await book_all(held, waiting) == {Status.JOINED: STEP + 1}
    await held.office.change(EVENT, {"waitlist_limit": 2 * QUANTITY})
    await end_all_holds(held)
    busy = asyncio.create_task(held.office.get_event(OTHER_EVENT))  # so that the three share the next call
    await asyncio.sleep(0)
    assert await book_all(held, ["first", "second", "third"]) == {Status.JOINED: 3}
    await busy
    assert await users_with(held, "promoted") == [*waiting, "first"]
    event = await held.office.get_event(EVENT)
    assert event is not None
    assert (event.waiting_count, event.held_count) == (0, STEP + 4)
    assert await users_with(held, "promoted") == [*waiting, "first", "second", "third"]


async def test_a_second_request_in_a_call_that_promotes_gets_the_new_position(held: Stock) -> None:
    # Three waiting users are left after a call has expired its step. The first new user joins behind them. The third
    # needs another hold to expire, which serves one of the three, and so does the fourth item.
    assert await book_all(held, [f"waiting {number:02}" for number in range(STEP + 3)]) == {Status.JOINED: STEP + 3}
    await held.office.change(EVENT, {"waitlist_limit": 5 * QUANTITY})
    await end_all_holds(held)
    busy = asyncio.create_task(held.office.get_event(OTHER_EVENT))  # so that they share the next call
    await asyncio.sleep(0)
    outcomes = await asyncio.gather(
        *(held.office.book(EVENT, user, QUANTITY) for user in ("first", "second", "third", "first"))
    )
    await busy
    assert [outcome.status for outcome in outcomes] == [Status.JOINED] * 3 + [Status.ALREADY_WAITING]
    assert [outcome.booking and outcome.booking.position for outcome in outcomes] == [4, 5, 5, 2]


async def test_the_capacity_may_be_reduced_to_the_live_bookings(held: Stock) -> None:
    await held.office.confirm(EVENT, HOLDERS[-1])
    for user in HOLDERS[:-1]:
        await end_hold(held, EVENT, user)
    outcome = await held.office.change(EVENT, {"capacity": QUANTITY - 1})
    assert (outcome.status, outcome.tickets_taken) == (Status.CAPACITY_BELOW_SOLD, QUANTITY)
    outcome = await held.office.change(EVENT, {"capacity": QUANTITY})
    assert outcome.status is Status.CHANGED
    assert outcome.event is not None
    assert (outcome.event.available, outcome.event.tickets_sold) == (0, QUANTITY)
