"""A freed ticket goes to the head of the waiting list in the step that frees it, whatever the reason."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from booking.domain.model import Event
from tests.fixtures.stock import EPOCHS, Stock, open_stock

from .expired_holds import end_hold

EVENT = 1
WAITING = {"two": 2, "one": 1, "four": 4, "last": 1}
"""The waiting users in join order, with their quantities. Four freed tickets satisfy the first two: 2 + 1."""


async def cancels(stock: Stock) -> None:
    await stock.office.cancel(EVENT, "owner")


async def expires(stock: Stock) -> None:
    await end_hold(stock, EVENT, "owner")
    await stock.office.get_event(EVENT)


async def grows(stock: Stock) -> None:
    await stock.office.change(EVENT, {"capacity": 8})


@pytest.mark.parametrize("frees", [cancels, expires, grows])
async def test_freed_tickets_serve_the_heads_they_satisfy_in_one_step_and_no_others(
    stock: Stock, frees: Callable[[Stock], Awaitable[None]]
) -> None:
    await stock.sale(EVENT, capacity=4, hold_seconds=60)
    await stock.office.book(EVENT, "owner", 4)
    for user, quantity in WAITING.items():
        await stock.office.book(EVENT, user, quantity)
    entries, scripts = len(await stock.entries()), await stock.calls()
    await frees(stock)
    assert await stock.calls() == scripts + 1
    words = [entry.split(" ") for entry in (await stock.entries())[entries:]]
    assert [(entry[2], entry[-1]) for entry in words][1:] == [("promoted", "two"), ("promoted", "one")]
    assert len({entry[3] for entry in words}) == 1, "the changes have different times"
    outcomes = [(await stock.office.get_booking(EVENT, user)).booking for user in ("four", "last")]
    assert [booking and booking.position for booking in outcomes] == [1, 2]
    event = await stock.office.get_event(EVENT)
    assert event is not None
    assert (event.available, event.waiting_count) == (1, 2)


async def test_if_the_head_leaves_the_next_groups_that_fit_are_promoted(stock: Stock) -> None:
    await stock.sale(EVENT, capacity=4)
    await stock.office.book(EVENT, "owner", 2)
    for user, quantity in {"three": 3, "one": 1, "another": 1, "last": 1}.items():
        await stock.office.book(EVENT, user, quantity)
    entries, scripts = len(await stock.entries()), await stock.calls()
    await stock.office.cancel(EVENT, "three")
    assert await stock.calls() == scripts + 1
    words = [entry.split(" ") for entry in (await stock.entries())[entries:]]
    assert [(entry[2], entry[-1]) for entry in words] == [
        ("left", "three"), ("promoted", "one"), ("promoted", "another"),
    ]  # fmt: skip


async def test_a_smaller_capacity_cancels_impossible_entries_and_promotes_the_next(
    stock: Stock,
) -> None:
    await stock.sale(EVENT, capacity=4)
    await stock.office.book(EVENT, "owner", 1)
    for user, quantity in {"four": 4, "three": 3, "two": 2, "one": 1}.items():
        await stock.office.book(EVENT, user, quantity)
    entries, scripts = len(await stock.entries()), await stock.calls()
    await stock.office.change(EVENT, {"capacity": 3})
    assert await stock.calls() == scripts + 1
    words = [entry.split(" ") for entry in (await stock.entries())[entries:]]
    assert [entry[2] for entry in words] == ["changed", "left"]
    assert words[1][-1] == "four"
    await stock.office.change(EVENT, {"capacity": 2})
    words = [entry.split(" ") for entry in (await stock.entries())[entries + 2 :]]
    assert [entry[2] for entry in words] == ["changed", "left"]
    event = await stock.office.get_event(EVENT)
    assert event is not None
    assert (event.available, event.waiting_count, event.tickets_sold) == (1, 2, 1)
    head = (await stock.office.get_booking(EVENT, "two")).booking
    assert head is not None
    assert head.position == 1


async def test_no_reader_sees_a_free_ticket_while_a_user_waits_for_one(stock: Stock, clean_valkey: str) -> None:
    people = 120
    await stock.sale(EVENT, capacity=people // 2)
    users = [f"user-{n}" for n in range(people)]
    await asyncio.gather(*(stock.office.book(EVENT, user) for user in users))
    async with open_stock(clean_valkey, epochs=EPOCHS) as other_worker:
        seen: list[Event] = []
        all_cancelled = asyncio.Event()

        async def watch() -> None:
            while not all_cancelled.is_set():
                event = await other_worker.office.get_event(EVENT)
                assert event is not None
                seen.append(event)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch())
            for user in users:
                await stock.office.cancel(EVENT, user)
            all_cancelled.set()
    assert len({event.seq for event in seen}) > 20, "the event was hardly read in between"
    assert [event for event in seen if event.available and event.waiting_count] == []
    last = await stock.office.get_event(EVENT)
    assert last is not None
    assert (last.available, last.waiting_count) == (people // 2, 0)
