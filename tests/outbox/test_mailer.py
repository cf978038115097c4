"""The queue of mails at a real mail server: nothing is lost, and nothing is sent for ever."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from booking.domain.mails import Lane
from booking.domain.reset_tokens import hash_of, new_nonce, reset_token
from booking.ledger import Ledger, migrate
from booking.ledger.mails import MailQueue
from booking.ledger.tables import mails
from booking.metrics import Metrics
from booking.outbox import mailer
from booking.outbox.mailer import Mailer
from booking.outbox.messages import Messages
from booking.outbox.smtp import MailServer
from tests.fixtures import mail_server as fake
from tests.fixtures.mail_server import HANGS_UP, STANDS_STILL, TAKEN, mail_server
from tests.fixtures.waiting import eventually_async

SECRET = b"the secret of these tests, of more than 32 bytes"
SENDER = "Tickets <tickets@example.com>"
NOW_MS = 10**14
"""Later than every mail."""


@pytest.fixture
def server() -> Iterator[fake.MailServer]:
    with mail_server() as running:
        yield running


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    address = f"sqlite+aiosqlite:///{tmp_path / 'booking.sqlite3'}"
    await migrate(address)
    ledger = Ledger.open(address)
    yield ledger
    await ledger.close()


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mails that are put off are due again at once."""
    monkeypatch.setattr(mailer, "WAITS_SECONDS", (0, 0, 0))
    monkeypatch.setattr(mailer, "LOOK_SECONDS", 0.01)


async def queue(ledger: Ledger, *names: str) -> None:
    """Queues a mail to a new account of each name."""
    for name in names:
        email = f"{name}@example.com"
        await ledger.add_account(email, email, "hash")
        nonce = new_nonce()
        await ledger.request_reset(email, hash_of(reset_token(SECRET, nonce)), nonce)


async def waiting(ledger: Ledger) -> dict[str, int]:
    """The mails that are still in the queue: the attempts that were made, by the beginning of the address."""
    found = await MailQueue(ledger).due(Lane.ACCOUNTS, NOW_MS, 1_000, ())
    return {str(one.facts["email_key"]).partition("@")[0]: one.attempts for one in found}


async def is_empty(ledger: Ledger) -> bool:
    return not await waiting(ledger)


@asynccontextmanager
async def sending(
    ledger: Ledger, url: str, metrics: Metrics | None = None, answer_seconds: float = 10
) -> AsyncIterator[tuple[asyncio.Event, "asyncio.Task[None]"]]:
    """Runs a mailer: its stop, and its task."""
    stop = asyncio.Event()
    made = Mailer(
        MailQueue(ledger),
        MailServer(url, SENDER, answer_seconds=answer_seconds),
        Messages(SENDER, "https://tickets.example.com", SECRET),
        metrics or Metrics(),
    )
    task = asyncio.create_task(made.run(stop))
    try:
        yield stop, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def counted(metrics: Metrics) -> dict[str, float]:
    """The mails by what became of them."""
    return {
        found[1]: value
        for (name, labels), value in metrics.counters.items()
        if name == mailer.SENT and (found := re.search(r'outcome="(\w+)"', labels))
    }


async def test_every_mail_of_the_queue_is_sent_once(ledger: Ledger, server: fake.MailServer) -> None:
    names = [f"user{number}" for number in range(20)]
    await queue(ledger, *names)
    metrics = Metrics()
    async with sending(ledger, server.url, metrics):
        await eventually_async(lambda: is_empty(ledger), "all mails are sent")
    assert sorted(server.asked) == sorted(f"{name}@example.com" for name in names)
    assert counted(metrics) == {"sent": 20}
    assert server.connections == 1


async def test_a_mail_that_is_deferred_is_sent_later_with_the_same_message_id(
    ledger: Ledger, server: fake.MailServer
) -> None:
    answers = iter(["451 4.3.0 later", "451 4.3.0 later", TAKEN])
    server.on_data = lambda _: next(answers)
    await queue(ledger, "ann")
    metrics = Metrics()
    async with sending(ledger, server.url, metrics):
        await eventually_async(lambda: is_empty(ledger), "the mail is sent")
    ids = {message["Message-ID"] for message in server.to("ann@example.com")}
    assert (len(ids), len(server.asked)) == (1, 3)
    assert counted(metrics) == {"deferred": 2, "sent": 1}


async def test_a_mail_that_is_always_deferred_is_given_up(ledger: Ledger, server: fake.MailServer) -> None:
    server.on_recipient = lambda address: "450 4.2.1 busy" if address.startswith("ann@") else TAKEN
    await queue(ledger, "ann", "bob")
    metrics = Metrics()
    with capture_logs() as lines:
        async with sending(ledger, server.url, metrics):
            await eventually_async(lambda: is_empty(ledger), "no mail is left")
    assert len([address for address in server.asked if address.startswith("ann@")]) == 4
    assert counted(metrics) == {"deferred": 3, "given_up": 1, "sent": 1}
    assert [line["reason"] for line in lines if line.get("outcome") == "given_up"] == ["it answered 450 4.2.1"]


async def test_a_refused_mail_is_not_sent_again_and_told_without_the_address(
    ledger: Ledger, server: fake.MailServer
) -> None:
    server.on_recipient = lambda address: f"550 5.1.1 <{address}> unknown" if address.startswith("ann@") else TAKEN
    await queue(ledger, "ann", "bob")
    metrics = Metrics()
    with capture_logs() as lines:
        async with sending(ledger, server.url, metrics):
            await eventually_async(lambda: is_empty(ledger), "no mail is left")
    assert sorted(server.asked) == ["ann@example.com", "bob@example.com"]
    assert counted(metrics) == {"refused": 1, "sent": 1}
    (told,) = [line for line in lines if line.get("outcome") == "refused"]
    assert (told["user"], told["domain"], told["reason"]) == ("account:1", "example.com", "it answered 550 5.1.1")
    assert "ann@" not in str(lines)


async def test_while_the_server_is_away_no_mail_is_lost_and_no_attempt_is_counted(ledger: Ledger) -> None:
    with mail_server() as server:
        port, url = server.port, server.url
    await queue(ledger, "ann", "bob")
    metrics = Metrics()
    async with sending(ledger, url, metrics):
        failed = ("booking_mail_server_failures_total", "")
        await eventually_async(lambda: metrics.counters.get(failed, 0) >= 2, "the server is asked again")
        assert await waiting(ledger) == {"ann": 0, "bob": 0}
        with mail_server(port=port) as server:
            await eventually_async(lambda: is_empty(ledger), "all mails are sent")
            assert sorted(server.asked) == ["ann@example.com", "bob@example.com"]
    assert counted(metrics) == {"sent": 2}


async def test_a_server_that_refuses_the_sender_is_like_one_that_is_away(
    ledger: Ledger, server: fake.MailServer
) -> None:
    refused = [2]

    def answer(_: str) -> str:
        refused[0] -= 1
        return "550 5.7.1 not from here" if refused[0] >= 0 else TAKEN

    server.on_sender = answer
    await queue(ledger, "ann")
    async with sending(ledger, server.url):
        await eventually_async(lambda: is_empty(ledger), "the mail is sent")
    assert server.asked == ["ann@example.com"]


@pytest.mark.parametrize("fault", [STANDS_STILL, HANGS_UP])
async def test_a_server_that_fails_in_the_middle_holds_no_other_mail_up_for_ever(
    ledger: Ledger, server: fake.MailServer, fault: str
) -> None:
    first = [True]

    def answer(_: str) -> str:
        failing, first[0] = first[0], False
        return fault if failing else TAKEN

    server.on_data = answer
    await queue(ledger, "ann", "bob")
    async with sending(ledger, server.url, answer_seconds=0.3):
        await eventually_async(lambda: is_empty(ledger), "all mails are sent")
    assert {message["Message-ID"] for message in server.to("ann@example.com")}
    assert len(server.to("bob@example.com")) == 1


async def test_a_mail_that_was_under_way_at_a_crash_is_sent_again_with_the_same_message_id(
    ledger: Ledger, server: fake.MailServer
) -> None:
    server.on_data = lambda _: STANDS_STILL
    await queue(ledger, "ann")
    async with sending(ledger, server.url):
        await eventually_async(lambda: len(server.taken) == 1, "the mail is under way")
    assert await waiting(ledger) == {"ann": 1}
    server.on_data = lambda _: TAKEN
    async with sending(ledger, server.url):
        await eventually_async(lambda: is_empty(ledger), "the mail is sent")
    first, second = server.to("ann@example.com")
    assert first["Message-ID"] == second["Message-ID"]
    assert first.get_body(("plain",)) is not None


async def test_a_stop_waits_for_the_mail_that_is_under_way(ledger: Ledger, server: fake.MailServer) -> None:
    await queue(ledger, *(f"user{number}" for number in range(10)))
    async with sending(ledger, server.url) as (stop, task):
        await eventually_async(lambda: len(server.taken) >= 1, "a mail is under way")
        stop.set()
        await task
    left = await waiting(ledger)
    assert len(left) + len(server.taken) == 10
    assert set(left.values()) <= {0}


async def test_what_is_of_no_use_any_more_is_not_sent(ledger: Ledger, server: fake.MailServer) -> None:
    await queue(ledger, "expired", "removed", "replaced", "ann")
    await ledger.remove_account("removed@example.com")
    nonce = new_nonce()
    await ledger.request_reset("replaced@example.com", hash_of(reset_token(SECRET, nonce)), nonce)
    async with ledger.writing() as connection:
        expired = mails.c.data.contains("expired@")
        await connection.execute(update(mails).where(expired).values(expires_at_ms=1))
    metrics = Metrics()
    async with sending(ledger, server.url, metrics):
        await eventually_async(lambda: is_empty(ledger), "no mail is left")
    assert sorted(server.asked) == ["ann@example.com", "replaced@example.com"]
    assert counted(metrics) == {"sent": 2, "expired": 1, "of_no_use": 2}
