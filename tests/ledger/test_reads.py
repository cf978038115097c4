"""What is read is what was applied: in order, whole, and a page at a time."""

from typing import cast

import pytest
from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.changes import ChangeKind
from booking.ledger import Ledger, SeqGap, reads
from booking.ledger.ledger import LIVE_SPAN
from tests.ledger.sale import Sale


async def test_an_empty_ledger_answers_with_nothing(ledger: Ledger) -> None:
    assert await ledger.event(1) is None
    assert await ledger.event_ids() == []
    assert await ledger.last_event_id() == 0
    assert [booking async for booking in ledger.live_bookings(1)] == []
    assert {count.bookings for count in (await ledger.counts(1)).values()} == {0}
    assert await ledger.seq_gaps(1) == []
    assert await ledger.changes(1) == []
    assert await ledger.user_bookings("ada", 10) == []


async def test_events_are_listed_in_order(ledger: Ledger) -> None:
    for event_id in (2, 11, 5):
        cursor = (await ledger.shards())[0].cursor
        batch = Sale(event_id).all()
        await ledger.apply([type(batch)(0, "first", cursor, f"{event_id}-1", batch.changes)])
    assert await ledger.event_ids() == [2, 5, 11]
    assert await ledger.last_event_id() == 11


async def test_live_bookings_come_in_join_order_over_many_spans(ledger: Ledger) -> None:
    sale = Sale()
    asked = [sale.ask(str(number), ChangeKind.JOINED) for number in range(2 * LIVE_SPAN + 10)]
    for change in asked[::7]:
        sale.move(change, ChangeKind.LEFT)
    await ledger.apply([sale.all()])
    numbers = [booking.number async for booking in ledger.live_bookings(1)]
    assert numbers == [change.number for index, change in enumerate(asked) if index % 7]


async def test_commits_during_a_read_are_no_gap(ledger: Ledger) -> None:
    """In PostgreSQL each statement of a reader sees everything that was committed before the statement."""
    sale = Sale()
    for number in range(9):
        sale.ask(str(number))
    await ledger.apply([sale.batch(0, 2)])

    class Meanwhile:
        """A connection that commits another change before each statement."""

        def __init__(self, connection: AsyncConnection) -> None:
            self._connection = connection
            self._upto = 2

        async def execute(self, statement: Executable) -> object:
            await ledger.apply([sale.batch(self._upto, self._upto + 1)])
            self._upto += 1
            return await self._connection.execute(statement)

    async with ledger.reading() as connection:
        assert await reads.seq_gaps(cast("AsyncConnection", Meanwhile(connection)), 1) == []


async def test_changes_are_read_in_pages(ledger: Ledger) -> None:
    sale = Sale()
    for number in range(9):
        sale.ask(str(number))
    await ledger.apply([sale.all()])
    assert await ledger.changes(1, 0, 4) == sale.changes[:4]
    assert await ledger.changes(1, 4, 4) == sale.changes[4:8]
    assert await ledger.changes(1, 8, 4) == sale.changes[8:]
    assert await ledger.changes(1, 10, 4) == []


@pytest.mark.parametrize(
    ("gone", "gaps"),
    [("seq = 1", [(1, 1)]), ("seq IN (3, 4, 7)", [(3, 4), (7, 7)]), ("seq >= 9", [(9, 10)]), ("seq > 0", [(1, 10)])],
)
async def test_a_missing_change_is_found_at_any_position(
    ledger: Ledger, gone: str, gaps: list[tuple[int, int]]
) -> None:
    sale = Sale()
    for number in range(9):
        sale.ask(str(number))
    await ledger.apply([sale.all()])
    async with ledger._writing() as connection:
        await connection.exec_driver_sql(f"DELETE FROM changes WHERE {gone}")
    assert await ledger.seq_gaps(1) == [SeqGap(first, last) for first, last in gaps]


async def test_a_user_reads_their_own_history_newest_first(ledger: Ledger) -> None:
    one, two = Sale(1), Sale(2)
    for _ in range(3):
        for sale in (one, two):  # at the same time in both, so that the time alone is no order
            sale.ask("ada")
            sale.ask("bob")
    await ledger.apply([one.all(0, "first"), two.all(1, "second")])

    everything = await ledger.user_bookings("ada", 100)
    assert everything is not None
    assert {booking.user_id for booking in everything} == {"ada"}
    keys = [(booking.created_at_ms, booking.event_id, booking.number) for booking in everything]
    assert len(keys) == 6
    assert keys == sorted(keys, reverse=True)

    for size in (1, 2, 3):
        paged = everything[:1]
        while page := await ledger.user_bookings("ada", size, (paged[-1].event_id, paged[-1].number)):
            paged += page
        assert paged == everything


async def test_a_history_does_not_start_after_another_users_booking(ledger: Ledger) -> None:
    sale = Sale()
    other = sale.ask("bob")
    sale.ask("ada")
    await ledger.apply([sale.all()])
    assert await ledger.user_bookings("ada", 10, (1, other.number)) is None
    assert await ledger.user_bookings("ada", 10, (1, 999)) is None
