"""The checks of the proof find each fault, and nothing where there is none."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from booking.domain.changes import BookingChange, ChangeKind
from booking.domain.model import BookingStatus, Source
from tests.examples.checks import Accounts, Outage, payment_faults, roll_on

EVENT, HELD_UNTIL_MS, LIMIT_MS = 1, 10_000, 1_000
HELD, CONFIRMED, EXPIRED = BookingStatus.HELD, BookingStatus.CONFIRMED, BookingStatus.EXPIRED


def change(
    seq: int, kind: ChangeKind, status: BookingStatus, payment: str | None = None, at_ms: int = 0, number: int = 2
) -> BookingChange:
    expires_at_ms = HELD_UNTIL_MS if status is HELD else None
    who = number, f"user-{number}", 1, status, Source.SALE, 0, expires_at_ms
    return BookingChange(EVENT, seq, kind, at_ms, *who, payment_id=payment)


BOOKED = change(4, ChangeKind.CONFIRMED, CONFIRMED, "a")
REFUND = change(5, ChangeKind.REFUND_DUE, EXPIRED, "b", number=3)
SOUND = Accounts(
    paid={"a": 9000, "b": 4500},
    refunds={"a": 4500, "b": 4500},
    orders={"a": "booked", "b": "settled", "c": "open", "d": "charged"},
    payments={"a": ("booking", False), "b": ("refund_due", True), "c": (None, False)},
    changes=[change(3, ChangeKind.CHECKOUT, HELD, "a"), BOOKED, REFUND],
    price=4500,
)


@pytest.mark.parametrize(
    ("spoil", "payment"),
    [
        (lambda a: a, None),
        (lambda a: replace(a, changes=[REFUND]), "a"),
        (lambda a: replace(a, changes=[BOOKED, BOOKED, REFUND]), "a"),
        (lambda a: replace(a, changes=[BOOKED, REFUND, replace(REFUND, payment_id="a")]), "a"),
        (lambda a: replace(a, payments=a.payments | {"a": (None, False)}), "a"),
        (lambda a: replace(a, payments=a.payments | {"b": ("booking", True)}), "b"),
        (lambda a: replace(a, payments=a.payments | {"b": ("refund_due", False)}), "b"),
        (lambda a: replace(a, orders=a.orders | {"a": "settled"}), "a"),
        (lambda a: replace(a, orders=a.orders | {"b": "refunded"}), "b"),
        (lambda a: replace(a, orders={"b": "settled"}), "a"),
        (lambda a: replace(a, refunds=a.refunds | {"b": 9000}), "b"),
        (lambda a: replace(a, refunds={"a": 4500}), "b"),
        (lambda a: replace(a, refunds={"b": 4500}), "a"),
        (lambda a: replace(a, refunds=a.refunds | {"a": 9000}), "a"),
        (lambda a: replace(a, changes=[replace(BOOKED, quantity=2), REFUND]), "a"),
        (lambda a: replace(a, paid={"b": 4500}), "a"),
        (lambda a: replace(a, refunds=a.refunds | {"c": 4500}), "c"),
        (lambda a: replace(a, payments=a.payments | {"c": ("booking", False)}), "c"),
        (lambda a: replace(a, payments=a.payments | {"d": ("refund_due", True)}), "d"),
        (lambda a: replace(a, orders=a.orders | {"c": "booked"}), "c"),
        (lambda a: replace(a, orders=a.orders | {"e": "settled"}), "e"),
        (lambda a: replace(a, changes=[*a.changes, replace(BOOKED, payment_id="c")]), "c"),
    ],
)
def test_a_payment_without_exactly_one_end_is_found(spoil: Callable[[Accounts], Accounts], payment: str | None) -> None:
    found = payment_faults(spoil(SOUND))
    assert [fault.partition(":")[0] for fault in found] == ([] if payment is None else [payment]), found


@pytest.mark.parametrize(
    ("at_ms", "outages", "is_found"),
    [
        (HELD_UNTIL_MS, [], False),
        (HELD_UNTIL_MS + LIMIT_MS, [], False),
        (HELD_UNTIL_MS + LIMIT_MS + 1, [], True),
        (HELD_UNTIL_MS + 5_000, [Outage(HELD_UNTIL_MS - 500, HELD_UNTIL_MS + 4_500)], False),
        (HELD_UNTIL_MS + 5_000, [Outage(HELD_UNTIL_MS + 900, HELD_UNTIL_MS + 4_500)], False),
        (HELD_UNTIL_MS + 5_000, [Outage(HELD_UNTIL_MS - 500, HELD_UNTIL_MS + 3_500)], True),
        (HELD_UNTIL_MS + 5_000, [Outage(HELD_UNTIL_MS - 3_000, HELD_UNTIL_MS - 1)], True),
        (HELD_UNTIL_MS + 5_000, [Outage(HELD_UNTIL_MS + LIMIT_MS + 1, HELD_UNTIL_MS + 4_500)], True),
    ],
)
def test_a_hold_that_keeps_its_tickets_too_long_is_found(at_ms: int, outages: list[Outage], is_found: bool) -> None:
    offer = change(3, ChangeKind.PROMOTED, HELD)
    ended = roll_on([offer, change(4, ChangeKind.EXPIRED, EXPIRED, at_ms=at_ms)], outages, at_ms, LIMIT_MS)
    assert (bool(ended.faults), ended.offers) == (is_found, 1)
    held = roll_on([offer], outages, at_ms, LIMIT_MS)
    assert bool(held.faults) == is_found, "it is still held"


def test_a_hold_that_was_extended_counts_from_its_new_end() -> None:
    extended = replace(change(4, ChangeKind.CHECKOUT, HELD, "a"), expires_at_ms=HELD_UNTIL_MS + 60_000)
    expired = change(5, ChangeKind.EXPIRED, EXPIRED, "a", at_ms=HELD_UNTIL_MS + 60_200)
    measured = roll_on([change(3, ChangeKind.HELD, HELD), extended, expired], [], expired.at_ms, LIMIT_MS)
    assert (measured.late_ms, measured.offers, measured.faults) == ([200], 0, [])
