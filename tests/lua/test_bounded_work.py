"""A call does no more than so much, whatever the event holds; what it leaves undone is done by the next, and unseen.

The work is counted in changes, each an entry of the stream. `python -m tests.model.large` prints what they take.
"""

import asyncio
from collections import Counter

import pytest

from booking.domain.model import Rules
from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.scripts import load
from tests.fixtures.stock import EPOCHS, SHARDS, Stock

EVENT = 1
GROUP = 100
GROUPS = 30
PEOPLE = 2_500
"""More than any step of the scripts."""

CHANGES_MAX = 1_500
"""Changes that one call makes at most: what it does first, its items, and what the last of them frees."""

HEAD: dict[str, tuple[int, ...]] = {"book": (0, 0, 1_000_000), "cancel": (0, 0), "confirm": (0, 0)}
NEWCOMER: dict[str, tuple[object, ...]] = {
    "book": ("late", 1, 0, ""),
    "cancel": ("waiting-1", "waiting-1", 0, ""),
    "confirm": ("owner-0", 0, ""),
    "change": ("capacity", 90),
    "get_event": ("waiting-1",),
}

Rows = list[list[int]]


async def crowd(stock: Stock, name: str, size: int, quantity: int = 1) -> Counter[Status]:
    """Books for `size` users, some hundred at a time."""
    statuses: Counter[Status] = Counter()
    for start in range(0, size, 500):
        users = [f"{name}-{number}" for number in range(start, min(size, start + 500))]
        found = await asyncio.gather(*(stock.office.book(EVENT, user, quantity) for user in users))
        statuses.update(outcome.status for outcome in found)
    return statuses


async def told(stock: Stock, kind: str) -> list[str]:
    """Whom the stream tells this about, in order."""
    return [entry.split(" ")[-1] for entry in await stock.entries() if entry.split(" ")[2] == kind]


async def call(stock: Stock, verb: str, *items: object) -> Rows:
    """One call of a script, and no other one after it. Fails if it makes too many changes."""
    script = load(verb)
    names = keys.event_keys(EVENT, SHARDS)[: len(script.header.keys)]
    before = await stock.redis.xlen(keys.changes(EVENT % SHARDS))
    rows: Rows = await stock.redis.eval(
        script.source, len(names), *names, EPOCHS[EVENT % SHARDS], EVENT, *HEAD.get(verb, ()), *items
    )
    assert await stock.redis.xlen(keys.changes(EVENT % SHARDS)) - before <= CHANGES_MAX
    return rows


async def until_done(stock: Stock, verb: str, *items: object) -> int:
    """Calls a script until it has nothing left to do. Returns the number of calls."""
    for calls in range(1, 100):
        if (await call(stock, verb, *items))[0][0] not in (Status.SEND_AGAIN, Status.MORE_TO_CHANGE):
            return calls
    raise AssertionError("it never ends")


async def test_groups_that_cancel_at_once_do_not_promote_everybody_in_one_call(stock: Stock) -> None:
    await stock.office.create(EVENT, Rules("Night", GROUP * GROUPS, GROUP))
    assert await crowd(stock, "group", GROUPS, GROUP) == {Status.BOOKED: GROUPS}
    assert await crowd(stock, "waiting", PEOPLE) == {Status.JOINED: PEOPLE}
    users = [f"group-{number}" for number in range(GROUPS)]
    calls = 0
    while users:
        rows = await call(stock, "cancel", *(part for user in users for part in (user, user, 0, "")))
        statuses = [row[0] for row in rows]
        done = statuses.count(Status.CANCELLED)
        assert statuses == [Status.CANCELLED] * done + [Status.SEND_AGAIN] * (len(users) - done)
        event = await stock.office.get_event(EVENT)
        assert event is not None
        assert not (event.available and event.waiting_count), "what each of them freed was passed on"
        users, calls = users[done:], calls + 1
    assert calls > 1
    assert await told(stock, "cancelled") == [f"group-{number}" for number in range(GROUPS)]
    assert await told(stock, "promoted") == [f"waiting-{number}" for number in range(PEOPLE)]


async def test_the_batcher_sends_again_what_was_left_undone_and_each_caller_gets_one_answer(stock: Stock) -> None:
    await stock.office.create(EVENT, Rules("Night", GROUP * GROUPS, GROUP))
    await crowd(stock, "group", GROUPS, GROUP)
    await crowd(stock, "waiting", PEOPLE)
    outcomes = await asyncio.gather(*(stock.office.cancel(EVENT, f"group-{number}") for number in range(GROUPS)))
    assert [outcome.status for outcome in outcomes] == [Status.CANCELLED] * GROUPS
    assert [outcome.booking and outcome.booking.user_id for outcome in outcomes] == [
        f"group-{number}" for number in range(GROUPS)
    ]
    assert await told(stock, "promoted") == [f"waiting-{number}" for number in range(PEOPLE)]


@pytest.fixture
async def falling(stock: Stock) -> Stock:
    """A capacity has just fallen, in one call, below every second group of a long waiting list."""
    await stock.office.create(EVENT, Rules("Night", 3, 3, hold_seconds=3_600))
    assert await crowd(stock, "owner", 1) == {Status.HELD: 1}
    for start in range(0, PEOPLE, 500):
        users = range(start, start + 500)
        await asyncio.gather(*(stock.office.book(EVENT, f"waiting-{user}", 3 - user % 2) for user in users))
    assert (await call(stock, "change", "capacity", 2))[0][0] == Status.MORE_TO_CHANGE
    return stock


async def test_a_capacity_that_falls_goes_through_the_waiting_list_in_steps(falling: Stock) -> None:
    assert await until_done(falling, "change", "capacity", 2) > 1
    assert await told(falling, "left") == [f"waiting-{user}" for user in range(0, PEOPLE, 2)]
    event = await falling.office.get_event(EVENT)
    assert event is not None
    assert (event.waiting_count, event.available, event.rules.capacity) == (PEOPLE // 2, 1, 2)
    assert len(await told(falling, "changed")) == 1


@pytest.mark.parametrize("verb", NEWCOMER)
async def test_nothing_is_decided_or_seen_before_the_last_step_of_a_falling_capacity(falling: Stock, verb: str) -> None:
    rows = await call(falling, verb, *NEWCOMER[verb])
    assert [row[0] for row in rows] == [Status.SEND_AGAIN]
    assert {entry.split(" ")[2] for entry in (await falling.entries())[PEOPLE + 2 :]} == {"changed", "left"}


@pytest.mark.parametrize("verb", NEWCOMER)
async def test_any_verb_finishes_what_a_change_that_was_broken_off_has_left(falling: Stock, verb: str) -> None:
    await until_done(falling, verb, *NEWCOMER[verb])
    assert await told(falling, "left") == [
        *(f"waiting-{user}" for user in range(0, PEOPLE, 2)),
        *(["waiting-1"] if verb == "cancel" else []),
    ]
    assert await falling.redis.hexists(keys.event_keys(EVENT, SHARDS)[0], "prune_from") == 0


async def test_the_sweeper_is_told_of_a_change_that_was_broken_off(falling: Stock) -> None:
    assert await falling.office.events_to_expire(EVENT % SHARDS, "me", 1_000, 10) == [EVENT]
    await falling.office.get_event(EVENT)
    assert await falling.office.events_to_expire(EVENT % SHARDS, "me", 1_000, 10) == []


async def test_a_capacity_that_grows_promotes_in_steps(stock: Stock) -> None:
    await stock.office.create(EVENT, Rules("Night", 1))
    await crowd(stock, "waiting", PEOPLE)
    assert await until_done(stock, "change", "capacity", PEOPLE) > 1
    assert await told(stock, "promoted") == [f"waiting-{number}" for number in range(1, PEOPLE)]


@pytest.mark.parametrize("verb", NEWCOMER)
async def test_dead_holds_expire_in_steps_whatever_comes(stock: Stock, verb: str) -> None:
    await stock.office.create(EVENT, Rules("Night", PEOPLE, hold_seconds=3_600))
    await crowd(stock, "owner", PEOPLE)
    await crowd(stock, "waiting", PEOPLE)
    _, bookings, _, holds, *_ = keys.event_keys(EVENT, SHARDS)
    for user, record in (await stock.redis.hgetall(bookings)).items():
        if user.startswith(b"owner"):
            await stock.redis.hset(bookings, user, record.rpartition(b" ")[0] + b" 1")
    await stock.redis.zadd(holds, {f"owner-{number}": 1 for number in range(PEOPLE)})
    await call(stock, verb, *NEWCOMER[verb])
    await until_done(stock, verb, *NEWCOMER[verb])
    await until_done(stock, "get_event")
    assert sorted(await told(stock, "expired")) == sorted(f"owner-{number}" for number in range(PEOPLE))
