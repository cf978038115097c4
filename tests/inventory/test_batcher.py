"""The batcher against a real server: order, sharing of calls, bounds, and isolation of callers from each other."""

import asyncio
import random
from typing import Any

import pytest
import uvloop

from booking.domain.model import Event
from booking.domain.outcomes import IdempotencyKey, Outcome, Status
from booking.inventory.batcher import BATCH_MAX
from booking.inventory.errors import InventoryUnavailable, Overloaded
from tests.fixtures.stock import Stock, open_stock
from tests.fixtures.waiting import eventually_async


async def busy(stock: Stock) -> "asyncio.Task[object]":
    """Occupies the batcher with one call, so that all commands submitted next wait together."""
    task: asyncio.Task[object] = asyncio.create_task(stock.office.last_event_id())
    await asyncio.sleep(0)
    while len(stock.batcher):
        await asyncio.sleep(0)
    return task


async def test_commands_about_one_event_run_in_the_order_of_submission(
    stock: Stock,
) -> None:
    await stock.sale(2, capacity=1)
    await stock.sale(4, capacity=1)  # of the same shard, so that one stream shows the order
    office = stock.office
    asked = [
        office.book(2, "ann"), office.book(4, "ann"), office.book(2, "bob"), office.cancel(2, "ann"),
        office.book(2, "cid"), office.cancel(4, "ann"), office.book(2, "ann"), office.book(4, "bob"),
    ]  # fmt: skip
    outcomes = await asyncio.gather(*asked)
    assert [outcome.status.name for outcome in outcomes] == [
        "BOOKED", "BOOKED", "JOINED", "CANCELLED", "JOINED", "CANCELLED", "JOINED", "BOOKED",
    ]  # fmt: skip
    changes = [
        (words[0], words[2], words[-1]) for words in (entry.split(" ") for entry in (await stock.entries(2))[2:])
    ]
    assert [entry for entry in changes if entry[0] == "2"] == [
        ("2", "booked", "ann"), ("2", "joined", "bob"), ("2", "cancelled", "ann"), ("2", "promoted", "bob"),
        ("2", "joined", "cid"), ("2", "joined", "ann"),
    ]  # fmt: skip
    assert [entry for entry in changes if entry[0] == "4"] == [
        ("4", "booked", "ann"), ("4", "cancelled", "ann"), ("4", "booked", "bob"),
    ]  # fmt: skip


async def test_reads_and_commands_about_other_events_do_not_split_a_call(stock: Stock) -> None:
    await stock.sale(2)
    await stock.sale(4)
    first = await busy(stock)
    before = await stock.calls()
    asked: list[Any] = [first]
    for number in range(5):
        asked += [
            stock.office.book(2, f"buyer-{number}"), stock.office.get_event(2), stock.office.book(4, f"buyer-{number}"),
        ]  # fmt: skip
    _, *outcomes = await asyncio.gather(*asked)
    assert await stock.calls() - before <= 4  # three targets, and the first call may be counted
    assert {event.tickets_sold for event in outcomes[1::3]} == {5}, "the reads miss commands of their batch"


async def test_the_first_caller_gets_the_last_ticket_whatever_the_batches(stock: Stock) -> None:
    await stock.sale(capacity=300)
    asked = [asyncio.create_task(stock.office.book(1, f"buyer-{place}")) for place in range(700)]
    outcomes = await asyncio.gather(*asked)
    assert [outcome.status for outcome in outcomes] == [Status.BOOKED] * 300 + [Status.JOINED] * 400
    places = [outcome.booking.position for outcome in outcomes[300:] if outcome.booking]
    assert places == list(range(1, 401))
    numbers = [outcome.booking.number for outcome in outcomes if outcome.booking]
    assert numbers == sorted(numbers)


async def test_waiting_commands_of_one_kind_about_one_event_share_one_call(stock: Stock) -> None:
    await stock.sale()
    first = await busy(stock)
    before = await stock.calls()
    await asyncio.gather(first, *(stock.office.book(1, f"buyer-{number}") for number in range(100)))
    assert await stock.calls() - before <= 3  # two calls at most, and the first call may be counted


async def test_a_call_holds_at_most_256_items(stock: Stock) -> None:
    await stock.sale(capacity=8 * BATCH_MAX)
    first = await busy(stock)
    await first
    before = await stock.calls()
    asked = [asyncio.create_task(stock.office.book(1, f"buyer-{number}")) for number in range(5 * BATCH_MAX)]
    outcomes = await asyncio.gather(*asked)
    assert {outcome.status for outcome in outcomes} == {Status.BOOKED}
    # At most 256 items in a call. The first call is an early one, and the last two share the rest.
    assert 6 <= await stock.calls() - before <= 8


def test_a_call_is_timed_to_less_than_a_millisecond(clean_valkey: str) -> None:
    """uvloop's clock, on which the service runs, stands still for a turn and counts whole milliseconds."""

    async def timed() -> float:
        async with open_stock(clean_valkey) as stock:
            for _ in range(20):
                await stock.office.last_event_id()
            return stock.batcher.metrics.histograms["booking_exchange_duration_seconds", ""].total

    milliseconds = 1_000 * uvloop.run(timed())
    assert milliseconds > 0
    assert abs(milliseconds - round(milliseconds)) > 1e-6


async def test_readers_of_one_event_share_one_read_and_one_object(stock: Stock) -> None:
    await stock.sale()
    first = await busy(stock)
    _, *events = await asyncio.gather(first, *(stock.office.get_event(1) for _ in range(50)))
    assert len({id(event) for event in events}) == 1
    assert isinstance(events[0], Event)
    assert events[0].available == 10


async def test_readers_of_the_event_and_of_bookings_in_one_call_each_get_their_own(stock: Stock) -> None:
    await stock.sale()
    await stock.office.book(1, "ann", 3)
    event, ann, again, nobody, last = await asyncio.gather(
        stock.office.get_event(1),
        stock.office.get_booking(1, "ann"),
        stock.office.get_event(1),
        stock.office.get_booking(1, "nobody"),
        stock.office.get_event(1),
    )
    assert event is again is last
    assert ann.booking is not None
    assert (ann.booking.user_id, ann.booking.quantity) == ("ann", 3)
    assert nobody.status is Status.BOOKING_NOT_FOUND


async def test_every_reader_of_an_unknown_event_in_a_call_gets_nothing(stock: Stock) -> None:
    event, ann, bob = await asyncio.gather(
        stock.office.get_event(99), stock.office.get_booking(99, "ann"), stock.office.get_booking(99, "bob")
    )
    assert event is None
    assert ann.status is bob.status is Status.EVENT_NOT_FOUND


async def test_a_full_queue_refuses_the_next_command_and_serves_those_in_it(clean_valkey: str) -> None:
    async with open_stock(clean_valkey, queue_limit=5) as stock:
        await stock.sale()
        waiting = [asyncio.create_task(stock.office.book(1, f"buyer-{number}")) for number in range(9)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(outcome, Overloaded) for outcome in outcomes] == [False] * 5 + [True] * 4
        assert (await stock.office.book(1, "late")).status is Status.BOOKED
        assert [entry.split(" ")[-1] for entry in (await stock.entries())[1:]] == [
            "buyer-0", "buyer-1", "buyer-2", "buyer-3", "buyer-4", "late",
        ]  # fmt: skip


async def test_a_refused_command_does_not_affect_others_in_its_call(stock: Stock) -> None:
    await stock.sale(capacity=100)
    await stock.office.book(1, "twice")
    outcomes = await asyncio.gather(
        stock.office.book(1, "ann"),
        stock.office.book(1, "twice"),
        stock.office.book(1, "greedy", 5),
        stock.office.book(1, "enormous", 2**64 - 1),
        stock.office.book(1, "bob"),
    )
    assert [outcome.status.name for outcome in outcomes] == [
        "BOOKED", "ALREADY_BOOKED", "QUANTITY_OVER_LIMIT", "QUANTITY_OVER_LIMIT", "BOOKED",
    ]  # fmt: skip


async def test_a_failed_call_does_not_affect_other_calls_of_its_batch(stock: Stock) -> None:
    await stock.sale(1)
    await stock.sale(2)
    await stock.sale(3)
    await stock.redis.delete(b"booking:{1}:3:waiting")
    await stock.redis.set(b"booking:{1}:3:waiting", "planted")
    one, two, three, four = await asyncio.gather(
        stock.office.book(1, "ann"),
        stock.office.book(3, "ann"),
        stock.office.book(2, "ann"),
        stock.office.book(1, "bob"),
        return_exceptions=True,
    )
    assert isinstance(two, InventoryUnavailable)
    assert all(isinstance(outcome, Outcome) and outcome.status is Status.BOOKED for outcome in (one, three, four))


async def test_a_command_is_not_sent_if_its_caller_leaves_first(stock: Stock) -> None:
    await stock.sale()
    first = await busy(stock)
    asked = [asyncio.create_task(stock.office.book(1, f"buyer-{number}")) for number in range(6)]
    await asyncio.sleep(0)
    assert len(stock.batcher) == 6
    for task in asked[1::2]:
        task.cancel()
    await asyncio.gather(first, *asked, return_exceptions=True)
    assert [task.cancelled() for task in asked] == [False, True] * 3
    assert [entry.split(" ")[-1] for entry in (await stock.entries())[1:]] == ["buyer-0", "buyer-2", "buyer-4"]


async def test_a_batch_whose_callers_have_all_left_does_no_harm(stock: Stock) -> None:
    await stock.sale()
    first = await busy(stock)
    asked = [asyncio.create_task(stock.office.book(1, f"buyer-{number}")) for number in range(3)]
    await asyncio.sleep(0)
    for task in asked:
        task.cancel()
    await asyncio.gather(first, *asked, return_exceptions=True)
    assert len(await stock.entries()) == 1
    assert (await stock.office.book(1, "ann")).status is Status.BOOKED


async def test_a_change_is_whole_if_its_caller_leaves_after_it_was_sent(stock: Stock) -> None:
    await stock.sale()
    await stock.redis.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
    gone = asyncio.create_task(stock.office.book(1, "gone"))
    await eventually_async(lambda: is_blocked(stock), "the command waits on the server")
    beside = asyncio.create_task(stock.office.book(1, "beside"))
    gone.cancel()
    await stock.redis.execute_command("CLIENT", "UNPAUSE")
    assert (await beside).status is Status.BOOKED
    assert gone.cancelled()
    found = await stock.office.get_booking(1, "gone")
    assert found.booking is not None
    assert [entry.split(" ")[-1] for entry in (await stock.entries())[1:]] == ["gone", "beside"]


async def is_blocked(stock: Stock) -> bool:
    return int((await stock.redis.info("clients"))["blocked_clients"]) > 0


async def test_no_caller_gets_anothers_answer_while_thousands_leave_at_random(stock: Stock, seed: int) -> None:
    chance = random.Random(seed)
    await stock.sale(1, capacity=1_000)
    await stock.sale(2, capacity=1_000)

    async def call(number: int) -> tuple[str, Outcome | None]:
        user = f"nonce-{number}-{chance.getrandbits(32):x}"
        event_id, quantity = 1 + number % 2, 1 + number % 3
        await asyncio.sleep(chance.random() * 0.3)
        booked = await stock.office.book(event_id, user, quantity, IdempotencyKey(user, f"request-{user}"))
        assert booked.booking is not None
        assert (booked.booking.user_id, booked.booking.event_id) == (user, event_id)
        assert booked.booking.quantity == quantity
        seen = await stock.office.get_booking(event_id, user)
        assert seen.booking is not None
        assert (seen.booking.user_id, seen.booking.number) == (user, booked.booking.number)
        return user, booked

    tasks = [asyncio.create_task(call(number)) for number in range(3_000)]
    going = set()
    while True:
        open_tasks = [task for task in tasks if not task.done()]
        if not open_tasks:
            break
        for task in chance.sample(open_tasks, max(1, len(open_tasks) // 50)):
            going.add(task)
            task.cancel()
        await asyncio.sleep(0.003)
    answers = [task.result() for task in tasks if not task.cancelled()]
    assert answers, "no caller stayed"
    assert len(answers) < len(tasks), "no caller left"

    for event_id in (1, 2):
        event = await stock.office.get_event(event_id)
        assert event is not None
        texts = [entry.split(" ") for entry in await stock.entries(event_id)]
        made = {words[-1]: int(words[6]) for words in texts if words[2] in ("booked", "joined")}
        sold = sum(int(words[6]) for words in texts if words[2] == "booked")
        assert len(made) == sum(words[2] in ("booked", "joined") for words in texts), "a user has two bookings"
        assert (event.tickets_sold, event.available) == (sold, 1_000 - sold)
        assert [int(words[1]) for words in texts] == list(range(1, len(texts) + 1))
        for user, outcome in answers:
            if outcome is not None and outcome.booking is not None and outcome.booking.event_id == event_id:
                assert user in made


async def test_closing_answers_every_queued_command_and_refuses_later_ones(clean_valkey: str) -> None:
    async with open_stock(clean_valkey) as stock:
        await stock.sale(capacity=1_000)
        asked = [asyncio.create_task(stock.office.book(1, f"buyer-{number}")) for number in range(600)]
        await asyncio.sleep(0)
        await stock.office.close()
        outcomes = await asyncio.gather(*asked)
        assert {outcome.status for outcome in outcomes} == {Status.BOOKED}
        with pytest.raises(InventoryUnavailable):
            await stock.office.book(1, "late")


async def test_a_command_that_cannot_be_sent_does_not_affect_later_ones(stock: Stock) -> None:
    """The web layer refuses such values. If one ended the batcher, every caller would wait for ever."""
    await stock.sale()
    with pytest.raises(InventoryUnavailable):
        await stock.office.book(1, "half a pair: \ud800")
    assert (await stock.office.book(1, "ann")).status is Status.BOOKED
