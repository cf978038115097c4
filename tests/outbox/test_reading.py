"""The outbox reads each change once, and asks the database nothing for a receiver that does not answer."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from booking.domain.changes import ChangeKind
from booking.ledger.ledger import Ledger
from booking.ledger.outbox import Backlog, OutboxLedger, Page
from booking.ledger.webhooks import Delivery, WebhookLedger
from booking.outbox import context, webhooks
from booking.outbox.process import Health, Outbox
from booking.settings import Settings
from booking.web.responses import change_data
from tests.fixtures.waiting import eventually_async
from tests.outbox.ledgers import AT_MS, Books
from tests.outbox.receiver import Receiver


class Counting(OutboxLedger):
    """Counts what is read."""

    changes = 0
    questions = 0
    """How often it was asked for news."""

    async def version(self) -> str:
        self.questions += 1
        return await super().version()

    async def pages(self, backlogs: Sequence[Backlog], kinds: Collection[ChangeKind], most: int) -> dict[int, Page]:
        found = await super().pages(backlogs, kinds, most)
        self.changes += sum(len(page.changes) for page in found.values())
        return found


@pytest.fixture
async def books(migrated_url: str) -> AsyncIterator[Books]:
    """An empty ledger on each kind of database."""
    ledger = Ledger.open(Settings.read({"BOOKING_DATABASE_URL": migrated_url}).database_address)
    await ledger.initialize_shards(["first"])
    yield Books(ledger)
    await ledger.close()


@asynccontextmanager
async def telling(books: Books, folder: Path) -> AsyncIterator[Counting]:
    """An outbox in this process."""
    settings = Settings.read({"BOOKING_DATA_DIR": str(folder), "BOOKING_WEBHOOK_ALLOW": "127.0.0.0/8"})
    ledger, stop = Counting(books.ledger), asyncio.Event()
    running = asyncio.create_task(Outbox(settings, ledger, change_data, Health()).run(stop))
    try:
        yield ledger
    finally:
        stop.set()
        await running


async def test_each_change_is_read_once_however_often_an_events_turn_ends(
    books: Books, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "RUN_SECONDS", 0.0)
    await books.webhook(receiver.url)
    await books.book(range(1, 41), times=20)
    async with telling(books, tmp_path) as ledger:
        await eventually_async(lambda: len(receiver.messages) >= len(books.places), "all is told", 100)
    assert (ledger.changes, len(receiver.messages)) == (len(books.places), len(books.places))
    assert receiver.in_order()


async def test_more_of_an_event_is_read_before_its_last_change_is_told(
    books: Books, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "PAGE_MAX", 4)
    last_of_page = threading.Event()
    # The fourth change is answered when the one after it was read, which takes a page of its own.
    receiver.answer = lambda message: 204 if message.place[1] != 5 or last_of_page.wait(60) else 500
    await books.webhook(receiver.url)
    await books.book(range(1, 2), times=8)
    async with telling(books, tmp_path) as ledger:
        await eventually_async(lambda: ledger.changes == 8, "the next page is read", 60)
        last_of_page.set()
        await eventually_async(lambda: len(receiver.messages) >= 8, "all is told")
    assert receiver.told == [(1, seq) for seq in range(2, 10)]


async def test_while_a_receiver_does_not_answer_only_news_are_asked_for(
    books: Books, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "NEWS_SECONDS", 0.01)
    rounds = 0
    behind: Callable[..., Any] = WebhookLedger.behind

    async def counted(*arguments: Any) -> Any:
        nonlocal rounds
        rounds += 1
        return await behind(*arguments)

    monkeypatch.setattr(WebhookLedger, "behind", counted)
    answered = threading.Event()
    receiver.answer = lambda _: 204 if answered.wait(60) else 500
    await books.webhook(receiver.url)
    await books.book(range(1, 2), times=100)
    async with telling(books, tmp_path) as ledger:
        await eventually_async(lambda: len(receiver.messages) == 1, "a message is on its way")
        begun, seen = ledger.questions, rounds
        await eventually_async(lambda: ledger.questions >= begun + 50, "news are asked for")
        assert (rounds - seen, ledger.changes) == (0, 100)
        answered.set()
        await eventually_async(lambda: len(receiver.messages) >= 100, "all is told")


async def test_a_replay_begins_with_the_next_message_however_much_was_read_ahead(
    books: Books, receiver: Receiver, tmp_path: Path
) -> None:
    answered = threading.Event()
    receiver.answer = lambda message: 204 if message.place[1] != 10 or answered.wait(60) else 500
    webhook = await books.webhook(receiver.url)
    await books.book(range(1, 2), times=100)
    async with telling(books, tmp_path):
        await eventually_async(lambda: len(receiver.messages) == 9, "some are told")
        await WebhookLedger(books.ledger).replay(webhook.id, 1, 1)
        await books.book(range(2, 3))
        await eventually_async(lambda: (2, 2) in receiver.told, "another event was looked for")
        answered.set()
        await eventually_async(lambda: len(receiver.messages) >= 110, "all is told once more")
    seqs = [seq for event_id, seq in (message.place for message in receiver.messages) if event_id == 1]
    assert seqs == [*range(2, 11), *range(2, 102)]


async def test_replays_at_the_same_time_all_succeed(books: Books) -> None:
    await books.book(range(1, 2))
    webhook = await books.webhook("https://example.com/hook", event_id=2)
    await books.book(range(2, 3), times=9)
    await asyncio.gather(*(WebhookLedger(books.ledger).replay(webhook.id, 2, after) for after in range(8)))
    [backlog], _ = await WebhookLedger(books.ledger).behind([webhook.id], 0, 1)
    assert (backlog.cursor.seq, backlog.cursor.replays, backlog.upto) == (0, 8, 10)


async def test_deliveries_of_the_same_millisecond_are_listed_newest_first(books: Books) -> None:
    webhook = await books.webhook("https://shop.example.com")
    ledger = WebhookLedger(books.ledger)
    tries = [(seq, attempt) for seq in range(2, 7) for attempt in (1, 2)]
    random.Random(1).shuffle(tries)
    delivered = {
        (webhook.id, place): Delivery(webhook.id, "id", 1, seq, "booking.booked", AT_MS, attempt, 1, 500, "no", None)
        for place, (seq, attempt) in enumerate(tries)
    }
    async with books.ledger.writing() as connection:
        await ledger.recording(delivered, {})(connection)
    listed = [(one.seq, one.attempt) for one in await ledger.deliveries(webhook.id)]
    assert listed == sorted(tries, reverse=True)
    assert await ledger.newest_places() == {(webhook.id, False): tries.index((6, 2))}
