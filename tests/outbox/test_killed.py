"""Nothing is missing, out of order or under another id, whatever is killed, on SQLite and PostgreSQL."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from booking.cli.main import main
from booking.ledger.ledger import Ledger
from booking.ledger.outbox import Cursor, write_cursors
from booking.ledger.tables import outbox_cursors
from booking.ledger.webhooks import WebhookLedger
from booking.settings import Settings
from tests.fixtures.forks import ForkedProgram
from tests.fixtures.waiting import eventually, eventually_async
from tests.outbox.ledgers import Books
from tests.outbox.receiver import Message, Receiver, receiving

EVENTS = range(1, 21)
ROUNDS = 5
WAITS_SECONDS = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 14_400)
"""After failures in a row (contract)."""

STOPPED = {0, -signal.SIGTERM}
"""The exit codes of a process that was stopped; the second one if it had only just started."""

GO_ON_SECONDS = 15
"""After a crash deliveries go on within this time (contract)."""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Books]:
    """An empty ledger."""
    ledger = Ledger.open(Settings.read({"BOOKING_DATABASE_URL": url}).database_address)
    await ledger.initialize_shards(["first"])
    try:
        yield Books(ledger)
    finally:
        await ledger.close()


@pytest.fixture
async def books(migrated_url: str) -> AsyncIterator[Books]:
    """An empty ledger on each kind of database."""
    async with opened(migrated_url) as books:
        yield books


@pytest.fixture
def environment(migrated_url: str, tmp_path: Path) -> dict[str, str]:
    """The settings of a process of the outbox."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BOOKING_")}
    return {
        **kept,
        "BOOKING_DATABASE_URL": migrated_url,
        "BOOKING_DATA_DIR": str(tmp_path / "data"),
        "BOOKING_WEBHOOK_ALLOW": "127.0.0.0/8",
    }


def start(environment: Mapping[str, str], tmp_path: Path) -> ForkedProgram:
    """A `booking notify`."""
    return ForkedProgram(main, ["notify"], environment, output=tmp_path / "notify.log")


@contextmanager
def notifying(environment: Mapping[str, str], tmp_path: Path) -> Iterator[ForkedProgram]:
    """A `booking notify` that has to stop in order at the end of the block."""
    process = start(environment, tmp_path)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code in STOPPED, (tmp_path / "notify.log").read_text()


def has_more(receiver: Receiver, seen: int) -> bool:
    """Whether more messages than these have come."""
    return len(receiver.messages) > seen


def same_ids(receiver: Receiver) -> bool:
    """Whether each change came under one id, however often it came."""
    ids: dict[tuple[int, int], set[str]] = {}
    for message in receiver.messages:
        ids.setdefault(message.place, set()).add(message.id)
    return all(len(some) == 1 for some in ids.values())


async def test_nothing_is_missing_or_out_of_order_while_processes_and_receiver_are_killed(
    books: Books, environment: dict[str, str], tmp_path: Path, receiver: Receiver, seed: int
) -> None:
    chance = random.Random(seed)
    webhook = await books.webhook(receiver.url)
    # Some answers are lost, after the message was noted.
    receiver.answer = lambda _: 0 if chance.random() < 0.02 else 204
    processes = [start(environment, tmp_path) for _ in range(2)]
    try:
        for _ in range(ROUNDS):
            await books.book(EVENTS, times=chance.randrange(1, 6))
            await eventually_async(partial(has_more, receiver, len(receiver.messages)), "deliveries go on", 60)
            killed = chance.randrange(2)
            processes[killed].send_signal(signal.SIGKILL)
            processes[killed].wait(60)
            processes[killed] = start(environment, tmp_path)
        await WebhookLedger(books.ledger).change(webhook.id, {}, repaired=True)
        receiver.answer = lambda _: 204
        await repaired_until(books, webhook.id, lambda: set(receiver.told) >= books.places)
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
    assert {process.wait(60) for process in processes} <= STOPPED
    assert set(receiver.told) == books.places
    assert receiver.in_order()
    assert same_ids(receiver)


async def repaired_until(books: Books, webhook_id: int, holds: object) -> None:
    """Repeats what failed at once, and not after 5 s and more, until it `holds`."""
    assert callable(holds)
    while not holds():
        await WebhookLedger(books.ledger).change(webhook_id, {}, repaired=True)
        await asyncio.sleep(0.2)


async def test_after_a_crash_another_process_goes_on_within_15_seconds(
    books: Books, environment: dict[str, str], tmp_path: Path, receiver: Receiver
) -> None:
    await books.webhook(receiver.url)
    first = start(environment, tmp_path)
    await books.book(range(1, 2))
    await eventually_async(lambda: len(receiver.told) == 1, "the first one tells")
    with notifying(environment, tmp_path):
        first.send_signal(signal.SIGKILL)
        first.wait(60)
        await books.book(range(1, 2))
        await eventually_async(lambda: len(receiver.told) == 2, "the other one tells", GO_ON_SECONDS)


async def test_a_process_that_was_stopped_for_long_moves_no_cursor_of_its_successor(
    books: Books, environment: dict[str, str], tmp_path: Path, receiver: Receiver
) -> None:
    await books.webhook(receiver.url)
    stopped = start(environment, tmp_path)
    await books.book(range(1, 4))
    await eventually_async(lambda: len(receiver.told) == 3, "the first one tells")
    stopped.send_signal(signal.SIGSTOP)
    with notifying(environment, tmp_path):
        await books.book(range(1, 4), times=3)
        await eventually_async(lambda: len(receiver.told) == 12, "the other one tells")
        stopped.send_signal(signal.SIGCONT)
        await books.book(range(1, 4))
        await eventually_async(lambda: len(receiver.told) == 15, "all is told")
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(60) == 0
    assert receiver.in_order()


async def test_a_backlog_made_while_nothing_ran_is_told_in_order(
    books: Books, environment: dict[str, str], tmp_path: Path, receiver: Receiver
) -> None:
    await books.webhook(receiver.url)
    await books.book(range(1, 51), times=5)
    await books.book(range(1, 2), times=500)
    with notifying(environment, tmp_path):
        await eventually_async(lambda: len(receiver.messages) >= len(books.places), "all is told", 100)
    assert (set(receiver.told), len(receiver.messages)) == (books.places, len(books.places))
    assert receiver.in_order()


async def test_a_dead_receiver_costs_a_live_one_nothing(
    books: Books, environment: dict[str, str], tmp_path: Path, receiver: Receiver
) -> None:
    silent = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(_: Message) -> int:
        asyncio.run_coroutine_threadsafe(silent.wait(), loop).result()
        return 0

    with receiving() as dead:
        dead.answer = hang
        for _ in range(8):
            await books.webhook(dead.url)
        await books.webhook(receiver.url)
        with notifying(environment, tmp_path):
            for _ in range(5):
                await books.book(range(1, 101))
            told = books.places
            await eventually_async(lambda: set(receiver.told) == told, "the live one is told of all")
            assert len(dead.told) < len(told)
            silent.set()
    assert receiver.in_order()


async def test_a_stop_repeats_nothing_that_was_answered(
    books: Books, environment: dict[str, str], tmp_path: Path, receiver: Receiver
) -> None:
    await books.webhook(receiver.url)
    for times in range(1, 4):
        with notifying(environment, tmp_path):
            await books.book(EVENTS, times=5)
            eventually(partial(has_more, receiver, 100 * (times - 1) + 10), "it tells")
    with notifying(environment, tmp_path):
        await eventually_async(lambda: set(receiver.told) == books.places, "all is told")
    assert len(receiver.messages) == len(books.places)


async def test_the_waits_between_attempts_are_those_of_the_contract(
    books: Books, environment: dict[str, str], tmp_path: Path, receiver: Receiver
) -> None:
    def refuse_slowly(_: Message) -> int:
        time.sleep(0.2)
        return 500

    receiver.answer = refuse_slowly
    webhooks = [await books.webhook(receiver.url) for _ in WAITS_SECONDS]
    await books.book(range(1, 2))
    now_ms = round(time.time() * 1000)
    failed = [Cursor(one.id, 1, 1, attempts=times, failing_since_ms=now_ms) for times, one in enumerate(webhooks)]
    async with books.ledger.writing() as connection:
        await write_cursors(connection, failed)
    deliveries = WebhookLedger(books.ledger).deliveries

    async def all_were_tried() -> bool:
        return all([await deliveries(one.id) for one in webhooks])

    with notifying(environment, tmp_path):
        await eventually_async(all_were_tried, "each was tried once more")
    async with books.ledger.reading() as connection:
        rows = list(await connection.execute(select(outbox_cursors).order_by(outbox_cursors.c.consumer)))
    for row, seconds in zip(rows, WAITS_SECONDS, strict=True):
        delivery = (await deliveries(row.consumer))[0]
        late_ms = row.retry_at_ms - 1000 * seconds - delivery.at_ms - delivery.duration_ms
        assert -1 <= late_ms < 4_000, "a wait begins when its attempt has failed"
        assert delivery.duration_ms >= 200
    assert [row.attempts for row in rows] == list(range(1, len(rows) + 1))


async def test_a_webhook_that_has_failed_for_three_days_is_disabled_and_nothing_is_dropped(
    books: Books, environment: dict[str, str], tmp_path: Path, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 500
    webhook = await books.webhook(receiver.url)
    await books.book(range(1, 2))
    since_ms = round(time.time() * 1000) - 3 * 86_400_000
    async with books.ledger.writing() as connection:
        await write_cursors(connection, [Cursor(webhook.id, 1, 1, attempts=24, failing_since_ms=since_ms)])
    ledger = WebhookLedger(books.ledger)

    async def is_disabled() -> bool:
        found = await ledger.find(webhook.id)
        return found is not None and found.disabled_reason is not None

    with notifying(environment, tmp_path):
        await eventually_async(is_disabled, "it is disabled")
        assert list((await ledger.disabled()).values()) == [
            "It has failed for three days. The last time: It has answered 500."
        ]
        receiver.answer = lambda _: 204
        seen = len(receiver.messages)
        await ledger.change(webhook.id, {"disabled_reason": None}, repaired=True)
        await eventually_async(partial(has_more, receiver, seen), "it goes on")
    assert receiver.told == [(1, 2)]
