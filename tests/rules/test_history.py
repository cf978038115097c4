"""The check of a history finds each broken rule, in changes that break it once."""

from collections.abc import Sequence

import pytest

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange
from booking.domain.model import BookingStatus, Rules, Source

from .history import checked_history

CAPACITY = 4
HOLD_MS = 2_000
ENDS_WITH_TICKETS = {ChangeKind.HELD, ChangeKind.PROMOTED}
Row = tuple[int, ChangeKind, str, int]
"""Time, kind, user and quantity of a change."""

A_SALE: list[Row] = [
    (10, ChangeKind.HELD, "ann", 2),
    (10, ChangeKind.HELD, "bob", 2),
    (20, ChangeKind.JOINED, "cid", 3),
    (30, ChangeKind.JOINED, "dan", 1),
    (40, ChangeKind.CONFIRMED, "bob", 2),
    (2_110, ChangeKind.EXPIRED, "ann", 2),
    (2_200, ChangeKind.LEFT, "cid", 3),
    (2_200, ChangeKind.PROMOTED, "dan", 1),
    (2_300, ChangeKind.CANCELLED, "dan", 1),
]


def history(rows: Sequence[Row]) -> list[Change]:
    """The changes with numbers as the scripts give them."""
    changes: list[Change] = [EventChange(1, 1, ChangeKind.CREATED, 1, Rules("Night", CAPACITY, 4, 2))]
    numbers: dict[str, int] = {}
    for seq, (at_ms, kind, user, quantity) in enumerate(rows, start=2):
        if kind in {ChangeKind.HELD, ChangeKind.JOINED}:
            numbers[user] = seq
        ends = at_ms + HOLD_MS if kind in ENDS_WITH_TICKETS else None
        change = BookingChange(
            1, seq, kind, at_ms, numbers[user], user, quantity, BookingStatus.HELD, Source.SALE, at_ms, ends
        )
        changes.append(change)
    return changes


def test_a_sale_that_keeps_the_rules_passes_and_is_counted() -> None:
    found = checked_history(history(A_SALE), CAPACITY)
    assert (found.available, found.queue, found.holds, found.late_ms) == (2, {}, {}, 100)
    assert set(found.owners) == {"bob"}
    assert found.kinds.total() == len(A_SALE)


@pytest.mark.parametrize(
    ("instead", "complaint"),
    [
        ([*A_SALE[:2], (15, ChangeKind.HELD, "eve", 1)], "were free"),
        ([*A_SALE[:2], (15, ChangeKind.JOINED, "ann", 1)], "two live bookings"),
        ([*A_SALE[:1], (15, ChangeKind.JOINED, "cid", 3), (15, ChangeKind.HELD, "bob", 2)], "overtook"),
        ([*A_SALE[:6], (2_110, ChangeKind.PROMOTED, "dan", 1)], "was not the head"),
        ([*A_SALE[:4], (2_010, ChangeKind.CONFIRMED, "bob", 2)], "confirmed too late"),
        ([*A_SALE[:5], (12_011, ChangeKind.EXPIRED, "ann", 2)], "expired 10001 ms after its end"),
        ([*A_SALE[:5], (2_009, ChangeKind.EXPIRED, "ann", 2)], "expired -1 ms after its end"),
        ([*A_SALE[:7], (2_201, ChangeKind.PROMOTED, "dan", 1)], "waited for 1 while 2 were free"),
        (A_SALE[:7], "waited for 1 while 2 were free"),
        ([*A_SALE[:2], (30, ChangeKind.CANCELLED, "ann", 3), (40, ChangeKind.CANCELLED, "bob", 2)], "were free"),
    ],
)
def test_a_broken_rule_is_found(instead: list[Row], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        checked_history(history(instead), CAPACITY)


def test_a_missing_change_is_found() -> None:
    changes = history(A_SALE)
    with pytest.raises(AssertionError, match="a change is missing"):
        checked_history([*changes[:4], *changes[5:]], CAPACITY)
