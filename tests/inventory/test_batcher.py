"""The batcher's promises, against a real server: order, sharing, bounds, and nobody harmed by somebody else."""

import asyncio
import random
from typing import Any

import pytest

from booking.domain.model import Event
from booking.domain.outcomes import IdempotencyKey, Outcome, Status
from booking.inventory.batcher import BATCH_MAX
from booking.inventory.errors import InventoryUnavailable, Overloaded
from tests.fixtures.stock import Stock, open_stock


async def busy(stock: Stock) -> "asyncio.Task[object]":
    """Occupies the lane with one call, so that everything submitted next waits together."""
    task: asyncio.Task[object] = asyncio.create_task(stock.office.last_event_id())
    await asyncio.sleep(0)
    while len(stock.batcher):
        await asyncio.sleep(0)
    return task


async def test_commands_about_an_event_reach_the_scripts_in_the_order_they_were_asked_in(
    stock: Stock,
) -> None:
    await stock.sale(2, capacity=1)
    await stock.sale(4, capacity=1)  # of the same shard, so that one stream tells the order
    office = stock.office
    asked = [
        office.book(2, "ann"), office.book(4, "ann"), office.book(2, "bob"), office.cancel(2, "ann"),
        office.book(2, "cid"), office.cancel(4, "ann"), office.book(2, "ann"), office.book(4, "bob"),
    ]  # fmt: skip
    outcomes = await asyncio.gather(*asked)
    assert [outcome.status.name for outcome in outcomes] == [
        "BOOKED", "BOOKED", "JOINED", "CANCELLED", "JOINED", "CANCELLED", "JOINED", "BOOKED",
    ]  # fmt: skip
    told = [(words[0], words[2], words[-1]) for words in (entry.split(" ") for entry in (await stock.entries(2))[2:])]
    assert [entry for entry in told if entry[0] == "2"] == [
        ("2", "booked", "ann"), ("2", "joined", "bob"), ("2", "cancelled", "ann"), ("2", "promoted", "bob"),
        ("2", "joined", "cid"), ("2", "joined", "ann"),
    ]  # fmt: skip
    assert [entry for entry in told if entry[0] == "4"] == [
        ("4", "booked", "ann"), ("4", "cancelled", "ann"), ("4", "booked", "bob"),
    ]  # fmt: skip


async def test_those_who_look_and_those_who_want_another_event_break_up_no_call(stock: Stock) -> None:
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
    assert await stock.calls() - before <= 4  # two verbs about one event, one about another; the first may count, too
    assert {event.tickets_sold for event in outcomes[1::3]} == {5}, "they see what was asked for together with them"


async def test_whoever_asks_first_gets_the_last_ticket_however_the_callers_are_batched(stock: Stock) -> None:
    await stock.sale(capacity=300)
    asked = [asyncio.create_task(stock.office.book(1, f"buyer-{place}")) for place in range(700)]
    outcomes = await asyncio.gather(*asked)
    assert [outcome.status for outcome in outcomes] == [Status.BOOKED] * 300 + [Status.JOINED] * 400
    places = [outcome.booking.position for outcome in outcomes[300:] if outcome.booking]
    assert places == list(range(1, 401))
    numbers = [outcome.booking.number for outcome in outcomes if outcome.booking]
    assert numbers == sorted(numbers)


async def test_commands_about_one_target_that_wait_together_share_one_call(stock: Stock) -> None:
    await stock.sale()
    first = await busy(stock)
    before = await stock.calls()
    await asyncio.gather(first, *(stock.office.book(1, f"buyer-{number}") for number in range(100)))
    assert await stock.calls() - before <= 3  # half and half; the first call may count before or after


async def test_a_call_holds_no_more_than_its_share(stock: Stock) -> None:
    await stock.sale(capacity=8 * BATCH_MAX)
    first = await busy(stock)
    await first
    before = await stock.calls()
    asked = [asyncio.create_task(stock.office.book(1, f"buyer-{number}")) for number in range(5 * BATCH_MAX)]
    outcomes = await asyncio.gather(*asked)
    assert {outcome.status for outcome in outcomes} == {Status.BOOKED}
    # No more than 256 at a time; the first call is an early one, and the last two share what is left.
    assert 6 <= await stock.calls() - before <= 8


async def test_readers_of_one_event_share_one_reading_and_one_object(stock: Stock) -> None:
    await stock.sale()
    first = await busy(stock)
    _, *events = await asyncio.gather(first, *(stock.office.get_event(1) for _ in range(50)))
    assert len({id(event) for event in events}) <= 2  # in one call or, half and half, in two
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


async def test_of_an_event_that_is_not_there_everybody_in_the_call_hears_that(stock: Stock) -> None:
    event, ann, bob = await asyncio.gather(
        stock.office.get_event(99), stock.office.get_booking(99, "ann"), stock.office.get_booking(99, "bob")
    )
    assert event is None
    assert ann.status is bob.status is Status.EVENT_NOT_FOUND


async def test_a_full_queue_refuses_one_more_and_serves_those_in_it(clean_valkey: str) -> None:
    async with open_stock(clean_valkey, queue_limit=5) as stock:
        await stock.sale()
        waiting = [asyncio.create_task(stock.office.book(1, f"buyer-{number}")) for number in range(9)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(outcome, Overloaded) for outcome in outcomes] == [False] * 5 + [True] * 4
        assert (await stock.office.book(1, "late")).status is Status.BOOKED
        assert [entry.split(" ")[-1] for entry in (await stock.entries())[1:]] == [
            "buyer-0", "buyer-1", "buyer-2", "buyer-3", "buyer-4", "late",
        ]  # fmt: skip


async def test_one_commands_refusal_touches_nobody_else_in_its_call(stock: Stock) -> None:
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


async def test_a_call_that_fails_touches_no_other_call_of_its_batch(stock: Stock) -> None:
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


async def test_a_caller_that_goes_before_its_command_was_sent_takes_it_along(stock: Stock) -> None:
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


async def test_a_batch_of_which_every_caller_has_gone_does_no_harm(stock: Stock) -> None:
    await stock.sale()
    first = await busy(stock)
    asked = [asyncio.create_task(stock.office.book(1, f"buyer-{number}")) for number in range(3)]
    await asyncio.sleep(0)
    for task in asked:
        task.cancel()
    await asyncio.gather(first, *asked, return_exceptions=True)
    assert len(await stock.entries()) == 1
    assert (await stock.office.book(1, "ann")).status is Status.BOOKED


async def test_a_caller_that_goes_after_its_command_was_sent_leaves_the_change_whole(stock: Stock) -> None:
    await stock.sale()
    await stock.redis.execute_command("CLIENT", "PAUSE", 150, "WRITE")
    gone = asyncio.create_task(stock.office.book(1, "gone"))
    while not await blocked_clients(stock):
        await asyncio.sleep(0.001)
    beside = asyncio.create_task(stock.office.book(1, "beside"))
    gone.cancel()
    assert (await beside).status is Status.BOOKED
    assert gone.cancelled()
    found = await stock.office.get_booking(1, "gone")
    assert found.booking is not None
    assert [entry.split(" ")[-1] for entry in (await stock.entries())[1:]] == ["gone", "beside"]


async def blocked_clients(stock: Stock) -> int:
    return int((await stock.redis.info("clients"))["blocked_clients"])


async def test_thousands_that_go_at_random_moments_never_show_anybody_another_ones_answer(stock: Stock) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    print(f"seed {seed}")
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
    assert answers, "nobody stayed"
    assert len(answers) < len(tasks), "nobody went"

    for event_id in (1, 2):
        event = await stock.office.get_event(event_id)
        assert event is not None
        texts = [entry.split(" ") for entry in await stock.entries(event_id)]
        made = {words[-1]: int(words[6]) for words in texts if words[2] in ("booked", "joined")}
        sold = sum(int(words[6]) for words in texts if words[2] == "booked")
        assert len(made) == sum(words[2] in ("booked", "joined") for words in texts), "somebody has two bookings"
        assert (event.tickets_sold, event.available) == (sold, 1_000 - sold)
        assert [int(words[1]) for words in texts] == list(range(1, len(texts) + 1))
        for user, outcome in answers:
            if outcome is not None and outcome.booking is not None and outcome.booking.event_id == event_id:
                assert user in made


async def test_closing_answers_everything_that_was_queued_and_refuses_what_comes_later(clean_valkey: str) -> None:
    async with open_stock(clean_valkey) as stock:
        await stock.sale(capacity=1_000)
        asked = [asyncio.create_task(stock.office.book(1, f"buyer-{number}")) for number in range(600)]
        await asyncio.sleep(0)
        await stock.office.close()
        outcomes = await asyncio.gather(*asked)
        assert {outcome.status for outcome in outcomes} == {Status.BOOKED}
        with pytest.raises(InventoryUnavailable):
            await stock.office.book(1, "late")


async def test_a_command_that_cannot_be_sent_harms_nobody_after_it(stock: Stock) -> None:
    """Nothing of the kind comes past the web's checks; a lane that died of it would leave everybody hanging."""
    await stock.sale()
    with pytest.raises(InventoryUnavailable):
        await stock.office.book(1, "half a pair: \ud800")
    assert (await stock.office.book(1, "ann")).status is Status.BOOKED
