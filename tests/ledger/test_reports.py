"""The history of a sale: minutes and the moment it sold out, read span by span."""

import random
from collections import Counter

import pytest

from booking.domain.changes import BookingChange, ChangeKind, EventChange
from booking.ledger import Ledger, reports

from .sale import Sale

GIVES_BACK = {ChangeKind.CANCELLED, ChangeKind.EXPIRED}


def played(chance: random.Random, steps: int) -> Sale:
    """A sale with many changes of its capacity, in which the tickets taken now and then reach it."""
    sale = Sale()
    sale.change_rules(capacity=5)
    live: list[BookingChange] = []
    for step in range(steps):
        match chance.choice(("book", "book", "hold", "give back", "capacity", "pause")):
            case "book":
                live.append(sale.ask(f"u{step}", quantity=chance.randint(1, 3)))
            case "hold":
                live.append(sale.ask(f"u{step}", ChangeKind.HELD))
            case "give back" if live:
                sale.move(live.pop(chance.randrange(len(live))), chance.choice(sorted(GIVES_BACK)))
            case "capacity":
                sale.change_rules(capacity=chance.randint(5, 40))
            case _:
                sale.change_rules(paused=bool(step % 2))
    return sale


def first_sold_out_ms(sale: Sale) -> int | None:
    """The same by the definition, change by change."""
    capacity, taken = sale.rules.capacity, 0
    for change in sale.changes:
        if isinstance(change, EventChange):
            capacity = change.rules.capacity
        else:
            taken += 0 if change.kind is ChangeKind.CONFIRMED else change.quantity * (-1) ** (change.kind in GIVES_BACK)
        if taken >= capacity:
            return change.at_ms
    return None


async def test_the_history_is_that_of_the_changes_wherever_its_spans_end(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    for event_id in range(1, 5):
        sale = played(chance, 30 * event_id)
        for place, change in enumerate(sale.changes):
            object.__setattr__(change, "event_id", event_id)
            assert sale.changes[place].event_id == event_id
        epoch, cursor = "first", (await ledger.shards())[0].cursor
        batch = sale.all(0, epoch)
        object.__setattr__(batch, "after", cursor)
        object.__setattr__(batch, "upto", f"{event_id * 10_000}-0")
        await ledger.apply([batch])
        expected = Counter(one.kind for one in sale.changes if isinstance(one, BookingChange))
        for span in (1, 7, 50_000):
            monkeypatch.setattr(reports, "SPAN", span)
            history = await reports.history(ledger, event_id, sale.seq)
            counted: Counter[ChangeKind] = Counter()
            for minute in history.minutes:
                counted.update(minute.kinds)
            assert counted == expected
            assert history.sold_out_at_ms == first_sold_out_ms(sale)


async def test_an_event_that_the_database_does_not_have_has_an_empty_history(ledger: Ledger) -> None:
    assert await reports.history(ledger, 17, 5) == reports.History([], None)


async def test_a_report_that_nobody_waits_for_ends_at_the_next_span(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "SPAN", 2)
    sale = Sale()
    for number in range(9):
        sale.ask(str(number))
    await ledger.apply([sale.all()])
    spans = 0

    def check() -> None:
        nonlocal spans
        spans += 1
        if spans == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await reports.history(ledger, 1, sale.seq, check)
