"""The work of one call is bounded, however large the event is. A later call does the rest, invisibly to clients.

The work is counted in changes, one stream entry each. `python -m tests.model.large` prints the time that they take.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import pytest

from booking.domain.model import Rules
from booking.domain.outcomes import IdempotencyKey, Outcome, Status
from booking.inventory import keys
from booking.inventory.scripts import load
from tests.fixtures.stock import EPOCHS, SHARDS, Stock

EVENT = 1
GROUP = 100
GROUPS = 30
PEOPLE = 2_500
"""More than the scripts handle in any one step."""

CHANGES_MAX = 1_500
"""Maximum changes of one call: the work left by earlier calls, its own items, and the promotions after the last."""

HEAD: dict[str, tuple[object, ...]] = {
    "book": (0, 0, 1_000_000, ""),
    "cancel": (0, 0, ""),
    "confirm": (0, 0, ""),
    "checkout": (0, 0, ""),
}
NEW_COMMAND: dict[str, tuple[object, ...]] = {
    "book": ("late", 1, 0, ""),
    "cancel": ("waiting-1", "", "", "", 0, ""),
    "confirm": ("owner-0", "", 0, 0, ""),
    "checkout": ("owner-0", "p", 0, ""),
    "change": ("", "", "capacity", 90),
    "get_event": ("waiting-1",),
}

Rows = list[list[int]]


async def book_many(stock: Stock, name: str, size: int, quantity: int = 1) -> Counter[Status]:
    """Books for `size` users in groups of 500. Returns how often each status was given."""
    statuses: Counter[Status] = Counter()
    for start in range(0, size, 500):
        users = [f"{name}-{number}" for number in range(start, min(size, start + 500))]
        found = await asyncio.gather(*(stock.office.book(EVENT, user, quantity) for user in users))
        statuses.update(outcome.status for outcome in found)
    return statuses


async def users_with(stock: Stock, kind: str) -> list[str]:
    """The users of the stream's entries of this kind, in order."""
    return [entry.split(" ")[-1] for entry in await stock.entries() if entry.split(" ")[2] == kind]


async def call(stock: Stock, verb: str, *items: object) -> Rows:
    """Calls a script once, without repeating it. Fails if it makes more than CHANGES_MAX changes."""
    script = load(verb)
    names = keys.event_keys(EVENT, SHARDS)[: len(script.header.keys)]
    before = await stock.redis.xlen(keys.changes(EVENT % SHARDS))
    rows: list[Any] = await stock.redis.eval(
        script.source, len(names), *names, EPOCHS[EVENT % SHARDS], EVENT, *HEAD.get(verb, ()), *items
    )
    assert await stock.redis.xlen(keys.changes(EVENT % SHARDS)) - before <= CHANGES_MAX
    return [row for row in rows if isinstance(row, list)]  # the id of the newest entry follows them


async def until_done(stock: Stock, verb: str, *items: object) -> int:
    """Calls a script until it has nothing left to do. Returns the number of calls."""
    for calls in range(1, 100):
        if (await call(stock, verb, *items))[0][0] not in (Status.SEND_AGAIN, Status.MORE_TO_CHANGE):
            return calls
    raise AssertionError("the script still has work left after 99 calls")


async def test_many_groups_that_cancel_at_once_promote_in_several_calls(stock: Stock) -> None:
    await stock.office.create(EVENT, Rules("Night", GROUP * GROUPS, GROUP))
    assert await book_many(stock, "group", GROUPS, GROUP) == {Status.BOOKED: GROUPS}
    assert await book_many(stock, "waiting", PEOPLE) == {Status.JOINED: PEOPLE}
    users = [f"group-{number}" for number in range(GROUPS)]
    calls = 0
    while users:
        rows = await call(stock, "cancel", *(part for user in users for part in (user, "", "", "", 0, "")))
        statuses = [row[0] for row in rows]
        done = statuses.count(Status.CANCELLED)
        assert statuses == [Status.CANCELLED] * done + [Status.SEND_AGAIN] * (len(users) - done)
        event = await stock.office.get_event(EVENT)
        assert event is not None
        assert not (event.available and event.waiting_count), "freed tickets were not given to the waiting list"
        users, calls = users[done:], calls + 1
    assert calls > 1
    assert await users_with(stock, "cancelled") == [f"group-{number}" for number in range(GROUPS)]
    assert await users_with(stock, "promoted") == [f"waiting-{number}" for number in range(PEOPLE)]


async def test_the_batcher_resends_unfinished_items_and_each_caller_gets_one_answer(stock: Stock) -> None:
    await stock.office.create(EVENT, Rules("Night", GROUP * GROUPS, GROUP))
    await book_many(stock, "group", GROUPS, GROUP)
    await book_many(stock, "waiting", PEOPLE)
    outcomes = await asyncio.gather(*(stock.office.cancel(EVENT, f"group-{number}") for number in range(GROUPS)))
    assert [outcome.status for outcome in outcomes] == [Status.CANCELLED] * GROUPS
    assert [outcome.booking and outcome.booking.user_id for outcome in outcomes] == [
        f"group-{number}" for number in range(GROUPS)
    ]
    assert await users_with(stock, "promoted") == [f"waiting-{number}" for number in range(PEOPLE)]


@pytest.fixture
async def falling(stock: Stock) -> Stock:
    """The first call of a smaller capacity, which makes every second group of a long waiting list too large."""
    await stock.office.create(EVENT, Rules("Night", 3, 3, hold_seconds=3_600))
    assert await book_many(stock, "owner", 1) == {Status.HELD: 1}
    for start in range(0, PEOPLE, 500):
        users = range(start, start + 500)
        await asyncio.gather(*(stock.office.book(EVENT, f"waiting-{user}", 3 - user % 2) for user in users))
    assert (await call(stock, "change", "", "", "capacity", 2))[0][0] == Status.MORE_TO_CHANGE
    return stock


async def test_a_smaller_capacity_prunes_the_waiting_list_in_steps(falling: Stock) -> None:
    assert await until_done(falling, "change", "", "", "capacity", 2) > 1
    assert await users_with(falling, "left") == [f"waiting-{user}" for user in range(0, PEOPLE, 2)]
    event = await falling.office.get_event(EVENT)
    assert event is not None
    assert (event.waiting_count, event.available, event.rules.capacity) == (PEOPLE // 2, 1, 2)
    assert len(await users_with(falling, "changed")) == 1


@pytest.mark.parametrize("verb", NEW_COMMAND)
async def test_no_other_command_is_decided_until_a_smaller_capacity_is_fully_applied(falling: Stock, verb: str) -> None:
    rows = await call(falling, verb, *NEW_COMMAND[verb])
    assert [row[0] for row in rows] == [Status.SEND_AGAIN]
    assert {entry.split(" ")[2] for entry in (await falling.entries())[PEOPLE + 2 :]} == {"changed", "left"}


@pytest.mark.parametrize("verb", NEW_COMMAND)
async def test_any_command_finishes_an_interrupted_change(falling: Stock, verb: str) -> None:
    await until_done(falling, verb, *NEW_COMMAND[verb])
    assert await users_with(falling, "left") == [
        *(f"waiting-{user}" for user in range(0, PEOPLE, 2)),
        *(["waiting-1"] if verb == "cancel" else []),
    ]
    assert await falling.redis.hexists(keys.event_keys(EVENT, SHARDS)[0], "prune_from") == 0


async def test_a_user_whom_the_last_step_of_a_smaller_capacity_removes_may_book_again(falling: Stock) -> None:
    await until_done(falling, "book", f"waiting-{PEOPLE - 2}", 1, 0, "")
    again = (await falling.office.get_booking(EVENT, f"waiting-{PEOPLE - 2}")).booking
    assert again is not None
    assert again.quantity == 1


async def test_the_sweeper_is_given_events_with_an_interrupted_change(falling: Stock) -> None:
    assert await falling.office.events_to_expire(EVENT % SHARDS, "me", 1_000, 10) == [EVENT]
    await falling.office.get_event(EVENT)
    assert await falling.office.events_to_expire(EVENT % SHARDS, "me", 1_000, 10) == []


async def test_a_larger_capacity_promotes_in_steps(stock: Stock) -> None:
    await stock.office.create(EVENT, Rules("Night", 1))
    await book_many(stock, "waiting", PEOPLE)
    assert await until_done(stock, "change", "", "", "capacity", PEOPLE) > 1
    assert await users_with(stock, "promoted") == [f"waiting-{number}" for number in range(1, PEOPLE)]


@pytest.mark.parametrize("verb", NEW_COMMAND)
async def test_expired_holds_are_removed_in_steps_by_any_command(stock: Stock, verb: str) -> None:
    await stock.office.create(EVENT, Rules("Night", PEOPLE, hold_seconds=3_600))
    await book_many(stock, "owner", PEOPLE)
    await book_many(stock, "waiting", PEOPLE)
    _, bookings, _, holds, *_ = keys.event_keys(EVENT, SHARDS)
    records = await stock.redis.hgetall(bookings)
    ended = {user: text.rpartition(b" ")[0] + b" 1" for user, text in records.items() if user.startswith(b"owner")}
    await stock.redis.hset(bookings, mapping=ended)
    await stock.redis.zadd(holds, {f"owner-{number}": 1 for number in range(PEOPLE)})
    await call(stock, verb, *NEW_COMMAND[verb])
    await until_done(stock, verb, *NEW_COMMAND[verb])
    await until_done(stock, "get_event")
    assert sorted(await users_with(stock, "expired")) == sorted(f"owner-{number}" for number in range(PEOPLE))


@pytest.mark.parametrize("verb", ["book", "cancel", "confirm", "check_out"])
async def test_many_callers_with_many_answers_are_read_in_several_calls(stock: Stock, verb: str) -> None:
    await stock.sale(EVENT, capacity=1_000, hold_seconds=60)
    callers = [f"caller-{number}" for number in range(200)]
    now_ms = int((await stock.redis.time())[0]) * 1000
    for caller in callers:
        answers = [f"key-{number}\n{now_ms}\nfirst\n21\n0\n\n{asked(verb, caller)}" for number in range(64)]
        await stock.redis.rpush(keys.answers(EVENT, SHARDS, caller), *answers)
    before = await stock.calls("lrange")

    def ask(caller: str, key: str) -> Awaitable[Outcome]:
        command = getattr(stock.office, verb)
        outcome: Awaitable[Outcome] = command(EVENT, caller, key=IdempotencyKey(key, "again"))
        return outcome

    outcomes = await asyncio.gather(*(ask(caller, "key-0") for caller in callers), ask("someone", "new"))
    assert [outcome.first_request_id for outcome in outcomes] == ["first"] * len(callers) + [None]
    assert await stock.calls("lrange") - before == len(callers) + 1
    assert await stock.calls("evalsha") > 3, "one call has read all of the answers"


def asked(verb: str, caller: str) -> str:
    """What a call asks for, as it is stored with its answer."""
    return {"book": "book 1", "cancel": f"cancel {caller}", "confirm": "confirm", "check_out": "checkout"}[verb]
