"""The queue of mails, and what of an event's changes calls for mail."""

from dataclasses import replace

from booking.domain.changes import BookingChange, ChangeKind
from booking.domain.details import Details
from booking.domain.mails import Lane, Mail, MailKind
from booking.domain.model import BookingStatus, Rules
from booking.ledger import Ledger
from booking.ledger.mail_changes import MailChanges, Round, queued, went_on
from booking.ledger.mails import MailQueue
from booking.ledger.outbox import MAIL, OutboxLedger
from tests.ledger.sale import OPENING_MS, Sale

REMINDED_MS = 600_000
NOW_MS = OPENING_MS + 1_000_000


def mail(name: str, kind: MailKind = MailKind.PROMOTED, *, account_id: int | None = 1, due_at_ms: int = 0) -> Mail:
    return Mail(name, kind, account_id, 1, {"number": 2, "expires_at_ms": None}, 0, due_at_ms, 10**15)


async def add(ledger: Ledger, *mails: Mail, rounds: tuple[Round, ...] = ()) -> None:
    async with ledger.writing() as connection:
        await queued(mails, rounds)(connection)


async def names(ledger: Ledger, lane: Lane = Lane.OFFERS, now_ms: int = NOW_MS) -> list[str]:
    return [one.name for one in await MailQueue(ledger).due(lane, now_ms, 100, ())]


async def test_a_mail_of_the_same_name_is_queued_once(ledger: Ledger) -> None:
    await add(ledger, mail("a"), mail("b"))
    await add(ledger, mail("b"), mail("c"))
    assert await names(ledger) == ["a", "b", "c"]


async def test_the_due_mails_of_a_lane_come_in_the_order_of_their_times(ledger: Ledger) -> None:
    await add(ledger, mail("late", due_at_ms=20), mail("early", due_at_ms=10), mail("later", due_at_ms=NOW_MS + 1))
    await add(ledger, mail("other", MailKind.CHANGED))
    queue = MailQueue(ledger)
    first, second = await queue.due(Lane.OFFERS, NOW_MS, 100, ())
    assert (first.name, second.name) == ("early", "late")
    assert [one.name for one in await queue.due(Lane.OFFERS, NOW_MS, 1, (first.id,))] == ["late"]
    assert await queue.backlog(NOW_MS) == {
        Lane.ACCOUNTS: (0, 0),
        Lane.OFFERS: (2, NOW_MS - 10),
        Lane.CANCELLATIONS: (0, 0),
        Lane.EVENTS: (1, NOW_MS),
    }


async def test_of_two_processes_one_begins_an_attempt(ledger: Ledger) -> None:
    await add(ledger, mail("a"))
    queue = MailQueue(ledger)
    (seen,) = await queue.due(Lane.OFFERS, NOW_MS, 1, ())
    assert await queue.begin(seen)
    assert not await queue.begin(seen)
    await queue.give_back(seen)
    assert await queue.begin(seen)
    await queue.put_off(seen, NOW_MS + 1)
    assert await names(ledger) == []
    (later,) = await queue.due(Lane.OFFERS, NOW_MS + 1, 1, ())
    assert later.attempts == 1
    await queue.remove(later)
    assert await names(ledger, now_ms=NOW_MS + 1) == []
    assert not await queue.begin(later)


async def sold(ledger: Ledger) -> tuple[Sale, BookingChange]:
    """An event with one booking of each kind that calls for mail and of each that does not, and a promoted account."""
    sale = Sale(rules=Rules("Night", 100, details=Details(venue="Hall")))
    waiting = sale.ask("account:1", ChangeKind.JOINED)
    for user_id in ("ann", "accountant:1", "account:2"):
        held = sale.ask(user_id, ChangeKind.HELD)
        sale.changes[-1] = replace(held, expires_at_ms=held.at_ms + REMINDED_MS + (user_id != "account:2"))
    promoted = sale.move(waiting, ChangeKind.PROMOTED)
    sale.move(sale.ask("ann", ChangeKind.JOINED), ChangeKind.PROMOTED)
    for user_id, actor in (("account:3", "boss"), ("account:4", None), ("account:5", "account:5")):
        cancelled = sale.move(sale.ask(user_id), ChangeKind.CANCELLED)
        sale.changes[-1] = replace(cancelled, actor=actor, reason="Sold twice")
    reminded = sale.ask("account:6", ChangeKind.HELD)
    sale.changes[-1] = replace(reminded, expires_at_ms=reminded.at_ms + REMINDED_MS + 1)
    sale.change_rules(name="Another night")
    await ledger.apply([sale.batch(0, sale.seq)])
    return sale, promoted


async def test_the_database_leaves_out_what_calls_for_no_mail(ledger: Ledger) -> None:
    sale, _ = await sold(ledger)
    (backlog,) = await OutboxLedger(ledger).behind(MAIL, NOW_MS, 10)
    changes = MailChanges(ledger, REMINDED_MS)
    page = await changes.page(backlog, 100)
    told = [(one.kind, getattr(one, "user_id", "")) for one in page.changes]
    assert told == [
        (ChangeKind.PROMOTED, "account:1"),
        (ChangeKind.CANCELLED, "account:3"),
        (ChangeKind.HELD, "account:6"),
        (ChangeKind.CHANGED, ""),
    ]
    assert page.upto == sale.seq
    assert getattr(page.changes[1], "reason", "") == "Sold twice"
    first = await changes.page(backlog, 1)
    assert (first.upto, len(first.changes)) == (page.changes[0].seq, 1)


async def test_the_rules_before_and_after_a_change_have_the_details_that_an_older_version_left(ledger: Ledger) -> None:
    sale, _ = await sold(ledger)
    sale.change_rules_as_before_details(name="A third night")
    await ledger.apply([sale.batch(sale.seq - 1, sale.seq)])
    rules = await MailChanges(ledger, REMINDED_MS).rules_around(1, sale.seq)
    assert rules is not None
    assert [(one.name, one.details.venue) for one in rules] == [("Another night", "Hall"), ("A third night", "Hall")]


async def test_a_reader_has_the_address_the_booking_and_the_event_as_they_are_now(ledger: Ledger) -> None:
    _, promoted = await sold(ledger)
    account = await ledger.add_account("a@example.org", "a@example.org", "hash")
    queue = MailQueue(ledger)
    told = replace(mail("a", account_id=account.id), facts={"number": promoted.number})
    reader = await queue.reader(told)
    assert reader is not None
    assert (reader.user_id, reader.email) == (f"account:{account.id}", "a@example.org")
    assert reader.booking is not None
    assert (reader.booking.number, reader.booking.status) == (promoted.number, BookingStatus.CONFIRMED)
    assert reader.rules is not None
    assert reader.rules.name == "Another night"
    assert "example.org" not in repr(reader)
    await ledger.remove_account("a@example.org")
    assert await queue.reader(told) is None


async def test_a_round_goes_on_where_it_stood_and_ends(ledger: Ledger) -> None:
    await sold(ledger)
    changes = MailChanges(ledger, REMINDED_MS)
    assert await changes.next_round() is None
    await add(ledger, rounds=(Round(1, 9, 5, ["new_name"]),))
    begun = await changes.next_round()
    assert begun == Round(1, 9, 5, ["new_name"], 0)
    first, second = await changes.readers(1, 0, 2)
    assert (first.user_id, second.user_id) == ("account:1", "account:2")
    async with ledger.writing() as connection:
        await went_on([mail("a", MailKind.CHANGED)], begun, second.number)(connection)
    again = await changes.next_round()
    assert again == replace(begun, after_number=second.number)
    (last,) = await changes.readers(1, second.number, 2)
    assert last.user_id == "account:6"
    async with ledger.writing() as connection:
        await went_on([], begun, None)(connection)
    assert await changes.next_round() is None
    assert await names(ledger, Lane.EVENTS) == ["a"]


async def test_a_booking_that_is_over_is_no_readers(ledger: Ledger) -> None:
    sale = Sale()
    booked = sale.ask("account:1")
    sale.move(booked, ChangeKind.CANCELLED)
    await ledger.apply([sale.batch(0, sale.seq)])
    assert await MailChanges(ledger, REMINDED_MS).readers(1, 0, 10) == []
