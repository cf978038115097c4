"""More dead holds than one call expires, as after an hour without the service: they hold no ticket all the same."""

import asyncio
from collections import Counter

import pytest

from booking.domain.model import Rules
from booking.domain.outcomes import Status
from tests.fixtures.stock import Stock

from .dead_holds import end_hold

EVENT = 1
OTHER_EVENT = 999
QUANTITY = 100
HOLDERS = [f"holder {number:02}" for number in range(60)]
STEP = 3
"""Holds that one call expires, by their tickets."""


@pytest.fixture
async def dead(stock: Stock) -> Stock:
    """A sale whose every ticket is on a hold that ended long ago."""
    await stock.office.create(EVENT, Rules("Night", QUANTITY * len(HOLDERS), QUANTITY, hold_seconds=60))
    await crowd(stock, HOLDERS)
    return stock


async def crowd(stock: Stock, users: list[str]) -> Counter[Status]:
    """Everybody books at once."""
    return Counter(outcome.status for outcome in await asyncio.gather(
        *(stock.office.book(EVENT, user, QUANTITY) for user in users)
    ))  # fmt: skip


async def end_all_holds(stock: Stock) -> None:
    for user in HOLDERS:
        await end_hold(stock, EVENT, user)


async def told(stock: Stock, kind: str) -> list[str]:
    """Whom the stream tells this about, in order."""
    return [entry.split(" ", 11)[11] for entry in await stock.entries() if entry.split(" ")[2] == kind]


async def test_one_call_expires_no_more_than_its_step_and_the_oldest_first(dead: Stock) -> None:
    await end_all_holds(dead)
    assert (await dead.office.confirm(EVENT, "somebody")).status is Status.BOOKING_NOT_FOUND
    assert await told(dead, "expired") == HOLDERS[:STEP]


async def test_whoever_reads_the_event_sees_none_of_them(dead: Stock) -> None:
    await end_all_holds(dead)
    event = await dead.office.get_event(EVENT)
    assert event is not None
    assert (event.available, event.tickets_held, event.held_count) == (QUANTITY * len(HOLDERS), 0, 0)
    assert await told(dead, "expired") == HOLDERS


async def test_the_last_of_them_is_dead_to_its_owner_in_the_first_call(dead: Stock) -> None:
    await end_all_holds(dead)
    assert (await dead.office.confirm(EVENT, HOLDERS[-1])).status is Status.HOLD_EXPIRED
    assert await told(dead, "expired") == [*HOLDERS[:STEP], HOLDERS[-1]]


async def test_it_can_neither_be_cancelled_nor_looked_at(dead: Stock) -> None:
    await end_all_holds(dead)
    assert (await dead.office.cancel(EVENT, HOLDERS[-1])).status is Status.BOOKING_NOT_FOUND
    assert (await dead.office.get_booking(EVENT, HOLDERS[-2])).status is Status.BOOKING_NOT_FOUND


async def test_its_owner_may_book_again_and_keeps_what_he_booked(dead: Stock) -> None:
    await end_all_holds(dead)
    assert (await dead.office.book(EVENT, HOLDERS[-1], QUANTITY)).status is Status.HELD
    event = await dead.office.get_event(EVENT)
    assert event is not None
    assert (event.tickets_held, event.held_count) == (QUANTITY, 1)
    assert (await dead.office.confirm(EVENT, HOLDERS[-1])).status is Status.CONFIRMED


async def test_nobody_is_turned_away_or_made_to_wait_for_them(dead: Stock) -> None:
    await end_all_holds(dead)
    buyers = [f"buyer {number:02}" for number in range(len(HOLDERS))]
    assert await crowd(dead, buyers) == {Status.HELD: len(buyers)}
    assert await told(dead, "held") == HOLDERS + buyers


async def test_a_waiting_list_that_they_will_empty_is_not_full(dead: Stock) -> None:
    await dead.office.change(EVENT, {"waitlist_limit": 30 * QUANTITY})
    waiting = [f"waiting {number:02}" for number in range(30)]
    assert await crowd(dead, waiting) == {Status.JOINED: 30}
    await end_all_holds(dead)
    buyers = [f"buyer {number:02}" for number in range(30)]
    statuses = await crowd(dead, buyers)
    assert statuses[Status.HELD] + statuses[Status.JOINED] == 30
    event = await dead.office.get_event(EVENT)
    assert event is not None
    assert (event.available, event.waiting_count, event.held_count) == (0, 0, 60)
    assert (await told(dead, "promoted"))[:30] == waiting, "strictly in join order"


async def test_who_joins_in_the_very_call_that_empties_the_list_is_served_behind_it(dead: Stock) -> None:
    # Of those who wait one is left when a call has expired its step. Three more come in one call. For the second there
    # is no place before another hold expires, which serves the one who waits; for the third, which serves the first.
    waiting = [f"waiting {number:02}" for number in range(STEP + 1)]
    assert await crowd(dead, waiting) == {Status.JOINED: STEP + 1}
    await dead.office.change(EVENT, {"waitlist_limit": 2 * QUANTITY})
    await end_all_holds(dead)
    busy = asyncio.create_task(dead.office.get_event(OTHER_EVENT))  # so that the three share the next call
    await asyncio.sleep(0)
    assert await crowd(dead, ["first", "second", "third"]) == {Status.JOINED: 3}
    await busy
    assert await told(dead, "promoted") == [*waiting, "first"]
    event = await dead.office.get_event(EVENT)
    assert event is not None
    assert (event.waiting_count, event.held_count) == (0, STEP + 4)
    assert await told(dead, "promoted") == [*waiting, "first", "second", "third"]


async def test_who_joins_and_asks_again_in_a_call_that_moves_the_line_up_is_told_the_new_place(dead: Stock) -> None:
    # Of those who wait three are left when a call has expired its step. The first newcomer stands behind those; for the
    # third there is no place before another hold expires, which serves one of the three; nor for the fourth item.
    assert await crowd(dead, [f"waiting {number:02}" for number in range(STEP + 3)]) == {Status.JOINED: STEP + 3}
    await dead.office.change(EVENT, {"waitlist_limit": 5 * QUANTITY})
    await end_all_holds(dead)
    busy = asyncio.create_task(dead.office.get_event(OTHER_EVENT))  # so that they share the next call
    await asyncio.sleep(0)
    outcomes = await asyncio.gather(
        *(dead.office.book(EVENT, user, QUANTITY) for user in ("first", "second", "third", "first"))
    )
    await busy
    assert [outcome.status for outcome in outcomes] == [Status.JOINED] * 3 + [Status.ALREADY_WAITING]
    assert [outcome.booking and outcome.booking.position for outcome in outcomes] == [4, 5, 5, 2]


async def test_the_capacity_may_fall_to_what_lives(dead: Stock) -> None:
    await dead.office.confirm(EVENT, HOLDERS[-1])
    for user in HOLDERS[:-1]:
        await end_hold(dead, EVENT, user)
    outcome = await dead.office.change(EVENT, {"capacity": QUANTITY - 1})
    assert (outcome.status, outcome.tickets_taken) == (Status.CAPACITY_BELOW_SOLD, QUANTITY)
    outcome = await dead.office.change(EVENT, {"capacity": QUANTITY})
    assert outcome.status is Status.CHANGED
    assert outcome.event is not None
    assert (outcome.event.available, outcome.event.tickets_sold) == (0, QUANTITY)
