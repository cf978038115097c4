"""A freed ticket goes to the head of the waiting list in the step that frees it, whatever freed it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from booking.domain.model import Event
from tests.fixtures.stock import EPOCHS, Stock, open_stock

from .dead_holds import end_hold

EVENT = 1
WAITING = {"two": 2, "one": 1, "four": 4, "last": 1}
"""Who waits in the tests, in this order, and for how many tickets. Four freed ones satisfy two heads: 2 + 1."""


async def cancels(stock: Stock) -> None:
    await stock.office.cancel(EVENT, "owner")


async def expires(stock: Stock) -> None:
    await end_hold(stock, EVENT, "owner")
    await stock.office.get_event(EVENT)


async def grows(stock: Stock) -> None:
    await stock.office.change(EVENT, {"capacity": 8})


@pytest.mark.parametrize("frees", [cancels, expires, grows])
async def test_four_freed_tickets_serve_as_many_heads_as_they_satisfy_in_one_step_and_nobody_behind(
    stock: Stock, frees: Callable[[Stock], Awaitable[None]]
) -> None:
    await stock.sale(EVENT, capacity=4, hold_seconds=60)
    await stock.office.book(EVENT, "owner", 4)
    for user, quantity in WAITING.items():
        await stock.office.book(EVENT, user, quantity)
    entries, scripts = len(await stock.entries()), await stock.calls()
    await frees(stock)
    assert await stock.calls() == scripts + 1
    told = [entry.split(" ") for entry in (await stock.entries())[entries:]]
    assert [(entry[2], entry[-1]) for entry in told][1:] == [("promoted", "two"), ("promoted", "one")]
    assert len({entry[3] for entry in told}) == 1, "all at one time"
    outcomes = [(await stock.office.get_booking(EVENT, user)).booking for user in ("four", "last")]
    assert [booking and booking.position for booking in outcomes] == [1, 2]
    event = await stock.office.get_event(EVENT)
    assert event is not None
    assert (event.available, event.waiting_count) == (1, 2)


async def test_a_head_that_leaves_lets_the_smaller_groups_behind_it_in_as_far_as_they_fit(stock: Stock) -> None:
    await stock.sale(EVENT, capacity=4)
    await stock.office.book(EVENT, "owner", 2)
    for user, quantity in {"three": 3, "one": 1, "another": 1, "last": 1}.items():
        await stock.office.book(EVENT, user, quantity)
    entries, scripts = len(await stock.entries()), await stock.calls()
    await stock.office.cancel(EVENT, "three")
    assert await stock.calls() == scripts + 1
    told = [entry.split(" ") for entry in (await stock.entries())[entries:]]
    assert [(entry[2], entry[-1]) for entry in told] == [
        ("left", "three"), ("promoted", "one"), ("promoted", "another"),
    ]  # fmt: skip


async def test_an_entry_made_impossible_by_a_smaller_capacity_is_cancelled_by_that_change_and_lets_the_next_in(
    stock: Stock,
) -> None:
    await stock.sale(EVENT, capacity=4)
    await stock.office.book(EVENT, "owner", 1)
    for user, quantity in {"four": 4, "three": 3, "two": 2, "one": 1}.items():
        await stock.office.book(EVENT, user, quantity)
    entries, scripts = len(await stock.entries()), await stock.calls()
    await stock.office.change(EVENT, {"capacity": 3})
    assert await stock.calls() == scripts + 1
    told = [entry.split(" ") for entry in (await stock.entries())[entries:]]
    assert [entry[2] for entry in told] == ["changed", "left"]
    assert told[1][-1] == "four"
    await stock.office.change(EVENT, {"capacity": 2})
    told = [entry.split(" ") for entry in (await stock.entries())[entries + 2 :]]
    assert [entry[2] for entry in told] == ["changed", "left"]
    event = await stock.office.get_event(EVENT)
    assert event is not None
    assert (event.available, event.waiting_count, event.tickets_sold) == (1, 2, 1)
    head = (await stock.office.get_booking(EVENT, "two")).booking
    assert head is not None
    assert head.position == 1


async def test_nobody_ever_sees_a_ticket_free_while_somebody_waits_for_one(stock: Stock, clean_valkey: str) -> None:
    people = 120
    await stock.sale(EVENT, capacity=people // 2)
    users = [f"user-{n}" for n in range(people)]
    await asyncio.gather(*(stock.office.book(EVENT, user) for user in users))
    async with open_stock(clean_valkey, epochs=EPOCHS) as another:
        seen: list[Event] = []
        gone = asyncio.Event()

        async def watch() -> None:
            while not gone.is_set():
                event = await another.office.get_event(EVENT)
                assert event is not None
                seen.append(event)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch())
            for user in users:
                await stock.office.cancel(EVENT, user)
            gone.set()
    assert len({event.seq for event in seen}) > 20, "it was looked at in between"
    assert [event for event in seen if event.available and event.waiting_count] == []
    last = await stock.office.get_event(EVENT)
    assert last is not None
    assert (last.available, last.waiting_count) == (people // 2, 0)
