"""A history gives the same tables, however it is cut into batches."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from booking.domain.changes import BookingChange, ChangeKind, EventChange
from booking.domain.model import BookingStatus, Rules
from booking.ledger import Ledger, LedgerConflict
from booking.ledger.fold import fold, rules_from_text, rules_to_text
from tests.ledger.sale import Sale

NEXT = {
    BookingStatus.HELD: [ChangeKind.CONFIRMED, ChangeKind.EXPIRED, ChangeKind.CANCELLED],
    BookingStatus.WAITING: [ChangeKind.PROMOTED, ChangeKind.LEFT],
    BookingStatus.CONFIRMED: [ChangeKind.CANCELLED],
}
FIRST = [ChangeKind.BOOKED, ChangeKind.HELD, ChangeKind.JOINED]


@st.composite
def sales(draw: st.DrawFn) -> Sale:
    """Any history: bookings are made and change their state, and rules change in between."""
    sale = Sale()
    for _ in range(draw(st.integers(0, 25))):
        standing = {change.number: change for change in sale.changes if not isinstance(change, EventChange)}
        live = [change for change in standing.values() if change.status in NEXT]
        what = draw(st.sampled_from(["ask", "move", "move", "rules"]))
        if what == "rules":
            sale.change_rules(capacity=draw(st.integers(1, 10_000_000)), paused=draw(st.booleans()))
        elif what == "move" and live:
            booking = draw(st.sampled_from(live))
            sale.move(booking, draw(st.sampled_from(NEXT[booking.status])))
        else:
            user_id = draw(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
            sale.ask(user_id, draw(st.sampled_from(FIRST)), draw(st.integers(1, 100)))
    return sale


async def apply_cut(ledger: Ledger, sale: Sale, cuts: list[int]) -> None:
    edges = sorted({0, sale.seq, *(cut for cut in cuts if cut < sale.seq)})
    for start, stop in pairwise(edges):
        await ledger.apply([sale.batch(start, stop)])


async def tables(ledger: Ledger) -> dict[str, list[tuple[object, ...]]]:
    """All that is in the tables that changes are folded into."""
    async with ledger.reading() as connection:
        return {
            table: sorted(map(tuple, await connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1, 2")))
            for table in ("events", "bookings", "changes", "shards")
        }


async def empty(ledger: Ledger) -> None:
    async with ledger._writing() as connection:
        for table in ("events", "bookings", "changes"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")
        await connection.exec_driver_sql("UPDATE shards SET cursor = '0-0'")


# The database outlives an example, and each example begins by emptying it.
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sale=sales(), cuts=st.lists(st.integers(1, 26), max_size=6))
async def test_any_history_in_any_batches_gives_the_same_tables(ledger: Ledger, sale: Sale, cuts: list[int]) -> None:
    await empty(ledger)
    await apply_cut(ledger, sale, [])
    at_once = await tables(ledger)
    await empty(ledger)
    await apply_cut(ledger, sale, cuts)

    assert await tables(ledger) == at_once
    assert await ledger.changes(1) == sale.changes
    assert await ledger.seq_gaps(1) == []
    last = {change.number: change for change in sale.changes if isinstance(change, BookingChange)}
    assert {booking.number: (booking.user_id, booking.quantity, booking.status) async for booking in
            ledger.live_bookings(1)} == {
        number: (change.user_id, change.quantity, change.status)
        for number, change in last.items()
        if change.status in NEXT
    }  # fmt: skip


def test_rules_come_back_from_their_text_as_they_were() -> None:
    rules = Rules('Ünï 🎟 "quoted"\n', 10_000_000, 100, 86_400, 0, -1, 2**53, paused=True)
    assert rules_from_text(rules_to_text(rules)) == (rules, True)
    assert rules_from_text(rules_to_text(rules, has_details=False)) == (rules, False)


@pytest.mark.parametrize("seqs", [(2, 4), (2, 2), (3, 2)], ids=["skips", "repeats", "goes back"])
def test_a_fold_refuses_a_seq_that_does_not_follow(seqs: tuple[int, int]) -> None:
    sale = Sale()
    booking = sale.ask("ada")
    with pytest.raises(LedgerConflict) as conflict:
        fold([replace(booking, seq=seq) for seq in seqs])
    assert (conflict.value.seq, conflict.value.expected) == (seqs[1], seqs[0] + 1)
