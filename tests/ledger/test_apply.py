"""Each change is applied exactly once, with the cursor that says so, or not at all."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from booking.domain.changes import ChangeKind, ShardBatch
from booking.domain.details import Details, Price
from booking.domain.model import Booking, BookingStatus, Rules, Source
from booking.ledger import (
    Count,
    CursorMoved,
    EventRecord,
    Ledger,
    LedgerConflict,
    LedgerError,
    LedgerUnavailable,
    ShardRecord,
)
from tests.ledger.sale import OPENING_MS, Sale

NONE = Count(0, 0)


async def live(ledger: Ledger, event_id: int = 1) -> list[Booking]:
    return [booking async for booking in ledger.live_bookings(event_id)]


async def test_a_batch_leaves_its_changes_the_folded_bookings_and_the_cursor(ledger: Ledger) -> None:
    sale = Sale()
    first = sale.ask("ada", ChangeKind.HELD, 2)
    second = sale.ask("bob", ChangeKind.JOINED)
    sale.move(first, ChangeKind.EXPIRED)
    sale.move(second, ChangeKind.PROMOTED)
    sale.change_rules(name="Second night", capacity=120, paused=True, waitlist_limit=0)

    assert await ledger.apply([sale.all()]) == 6

    assert await ledger.shards() == {0: ShardRecord("first", "6-0"), 1: ShardRecord("second", "0-0")}
    assert await ledger.changes(1) == sale.changes
    assert await ledger.event(1) == EventRecord(1, sale.rules, OPENING_MS, 6, "boss")
    assert await live(ledger) == [
        Booking(1, 3, "bob", 1, BookingStatus.CONFIRMED, Source.WAITLIST, second.created_at_ms)
    ]
    assert await ledger.counts(1) == {
        BookingStatus.CONFIRMED: Count(1, 1),
        BookingStatus.HELD: NONE,
        BookingStatus.WAITING: NONE,
        BookingStatus.CANCELLED: NONE,
        BookingStatus.EXPIRED: Count(1, 2),
    }
    assert await ledger.seq_gaps(1) == []


@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 3, 4, 5]], ids=str)
async def test_a_change_by_an_older_version_keeps_the_details(ledger: Ledger, cuts: list[int]) -> None:
    told = Details("One.\nTwo.", venue='"details":', price=Price(4_500, "EUR"))
    sale = Sale(rules=Rules('"details":{"venue":"x"}', 5, details=told))
    sale.change_rules_as_before_details(capacity=6)
    sale.change_rules(details=replace(told, venue="Hall 3"))
    sale.change_rules_as_before_details(capacity=7)
    sale.change_rules_as_before_details(name="Second night")
    for start, stop in pairwise([0, *cuts, sale.seq]):
        await ledger.apply([sale.batch(start, stop)])
    assert await ledger.event(1) == EventRecord(1, sale.rules, OPENING_MS, 5, "boss")
    assert [(await ledger.rules_as_of(1, seq)).details.venue for seq in range(1, 6)] == ['"details":'] * 2 + [
        "Hall 3"
    ] * 3
    assert await ledger.rules_as_of(1, 5) == sale.rules


async def test_details_that_are_cleared_do_not_come_back(ledger: Ledger) -> None:
    sale = Sale(rules=Rules("Night", 5, details=Details(venue="Hall 3")))
    sale.change_rules(details=Details())
    sale.change_rules_as_before_details(capacity=7)
    await ledger.apply([sale.all()])
    assert await ledger.event(1) == EventRecord(1, sale.rules, OPENING_MS, 3, "boss")
    assert await ledger.rules_as_of(1, 3) == sale.rules


async def test_an_event_from_before_there_were_details_has_none(ledger: Ledger) -> None:
    sale = Sale()
    await ledger.apply([sale.all()])
    async with ledger._writing() as connection:
        await connection.exec_driver_sql("UPDATE events SET details = NULL")
    assert await ledger.event(1) == EventRecord(1, sale.rules, OPENING_MS, 1, "boss")


async def test_a_booking_keeps_what_it_was_while_a_later_batch_moves_it(ledger: Ledger) -> None:
    sale = Sale()
    held = sale.ask("ada", ChangeKind.HELD, 3)
    await ledger.apply([sale.all()])
    before = await live(ledger)
    sale.move(held, ChangeKind.CONFIRMED)
    await ledger.apply([sale.batch(2, 3)])

    assert before == [Booking(1, 2, "ada", 3, BookingStatus.HELD, Source.SALE, held.created_at_ms, held.expires_at_ms)]
    assert await live(ledger) == [replace(before[0], status=BookingStatus.CONFIRMED, expires_at_ms=None)]


async def test_batches_of_several_shards_are_one_transaction(ledger: Ledger) -> None:
    one, two = Sale(1), Sale(2)
    one.ask("ada")
    two.ask("ada")
    assert await ledger.apply([two.all(1, "second"), one.all(0, "first")]) == 4

    one.ask("bob")
    two.ask("bob")
    stale = replace(two.batch(2, 3, 1, "second"), after="1-0")
    with pytest.raises(CursorMoved):
        await ledger.apply([one.batch(2, 3), stale])
    assert await ledger.shards() == {0: ShardRecord("first", "2-0"), 1: ShardRecord("second", "2-0")}
    assert [len(await ledger.changes(event_id)) for event_id in (1, 2)] == [2, 2]


async def test_two_batches_of_one_shard_follow_each_other_in_one_call(ledger: Ledger) -> None:
    sale = Sale()
    sale.move(sale.ask("ada"), ChangeKind.CANCELLED)
    assert await ledger.apply([sale.batch(0, 2), sale.batch(2, 3)]) == 3
    assert (await ledger.shards())[0].cursor == "3-0"
    assert await live(ledger) == []


async def test_a_batch_given_twice_is_refused_and_doubles_nothing(ledger: Ledger) -> None:
    sale = Sale()
    sale.ask("ada")
    await ledger.apply([sale.all()])
    with pytest.raises(CursorMoved) as moved:
        await ledger.apply([sale.all()])
    assert (moved.value.shard, moved.value.after, moved.value.found) == (0, "0-0", ShardRecord("first", "2-0"))
    assert len(await ledger.changes(1)) == 2
    assert await ledger.counts(1) == dict.fromkeys(BookingStatus, NONE) | {BookingStatus.CONFIRMED: Count(1, 1)}


async def test_a_batch_of_another_epoch_is_refused(ledger: Ledger) -> None:
    with pytest.raises(CursorMoved) as moved:
        await ledger.apply([Sale().all(0, "second")])
    assert moved.value.found == ShardRecord("first", "0-0")
    assert await ledger.event_ids() == []


async def test_a_batch_of_a_shard_that_does_not_exist_is_refused(ledger: Ledger) -> None:
    with pytest.raises(CursorMoved, match="no such shard") as moved:
        await ledger.apply([Sale().all(7)])
    assert moved.value.found is None


async def test_a_batch_without_changes_moves_the_cursor(ledger: Ledger) -> None:
    assert await ledger.apply([ShardBatch(0, "first", "0-0", "9-0", ())]) == 0
    assert (await ledger.shards())[0].cursor == "9-0"


@pytest.mark.parametrize(("start", "stop"), [(1, 3), (3, 4)], ids=["repeated", "skipped"])
async def test_a_seq_that_does_not_follow_is_refused_whole(ledger: Ledger, start: int, stop: int) -> None:
    sale = Sale()
    for user_id in ("ada", "bob", "cyd"):
        sale.ask(user_id)
    await ledger.apply([sale.batch(0, 2)])
    with pytest.raises(LedgerConflict) as conflict:
        await ledger.apply([replace(sale.batch(start, stop), after="2-0")])
    assert (conflict.value.event_id, conflict.value.seq, conflict.value.expected) == (1, start + 1, 3)
    assert (await ledger.shards())[0].cursor == "2-0"
    assert [change.seq for change in await ledger.changes(1)] == [1, 2]


async def test_a_gap_within_a_batch_is_refused(ledger: Ledger) -> None:
    sale = Sale()
    sale.ask("ada")
    sale.ask("bob")
    del sale.changes[1]
    with pytest.raises(LedgerConflict) as conflict:
        await ledger.apply([sale.all()])
    assert (conflict.value.seq, conflict.value.expected) == (3, 2)
    assert (await ledger.shards())[0].cursor == "0-0"


async def test_a_change_of_an_event_that_was_never_made_is_refused(ledger: Ledger) -> None:
    sale = Sale()
    sale.ask("ada")
    with pytest.raises(LedgerConflict):
        await ledger.apply([replace(sale.batch(1, 2), after="0-0")])
    booked = replace(sale.changes[1], seq=1)
    with pytest.raises(LedgerConflict):
        await ledger.apply([ShardBatch(0, "first", "0-0", "1-0", (booked,))])
    assert await ledger.event_ids() == []


async def test_a_change_of_a_booking_that_was_never_made_is_refused_whole(ledger: Ledger) -> None:
    sale = Sale()
    sale.move(replace(sale.ask("ada"), number=77), ChangeKind.CANCELLED)
    with pytest.raises(LedgerError, match="do not exist"):
        await ledger.apply([sale.all()])
    assert await ledger.changes(1) == []


async def test_a_change_that_exists_already_is_reported_by_event_and_seq(ledger: Ledger) -> None:
    """As after a manual write into the database: the event's `seq` contradicts the changes."""
    sale = Sale()
    sale.ask("ada")
    sale.ask("bob")
    await ledger.apply([sale.batch(0, 2)])
    async with ledger._writing() as connection:
        await connection.exec_driver_sql("UPDATE events SET seq = 1")
    with pytest.raises(LedgerConflict) as conflict:
        await ledger.apply([replace(sale.batch(1, 3), after="2-0")])
    assert (conflict.value.event_id, conflict.value.seq) == (1, 2)
    assert (await ledger.shards())[0].cursor == "2-0"


async def test_one_of_two_appliers_of_the_same_batch_wins(migrated_address: str, ledger: Ledger) -> None:
    sale = Sale()
    for number in range(300):
        sale.ask(str(number))
    others = [Ledger.open(migrated_address) for _ in range(3)]
    try:
        outcomes = await asyncio.gather(*(one.apply([sale.all()]) for one in (ledger, *others)), return_exceptions=True)
    finally:
        await asyncio.gather(*(other.close() for other in others))
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [301]
    assert sum(isinstance(outcome, CursorMoved) for outcome in outcomes) == 3
    assert len(await live(ledger)) == 300


async def test_two_appliers_with_shards_in_opposite_order_do_not_deadlock(
    migrated_address: str, ledger: Ledger
) -> None:
    other = Ledger.open(migrated_address)
    try:
        for round_ in range(10):
            ones = [ShardBatch(0, "first", f"{round_}-0", f"{round_ + 1}-0", ()),
                    ShardBatch(1, "second", f"{round_}-0", f"{round_ + 1}-0", ())]  # fmt: skip
            outcomes = await asyncio.gather(ledger.apply(ones), other.apply(ones[::-1]), return_exceptions=True)
            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CursorMoved", "int"]
    finally:
        await other.close()


async def test_a_cancelled_apply_leaves_all_or_nothing_and_gives_its_connection_back(ledger: Ledger) -> None:
    sale = Sale()
    for number in range(2_000):
        sale.ask(str(number))
    for delay in range(12):
        task = asyncio.create_task(ledger.apply([sale.all()]))
        await asyncio.sleep(delay / 200)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        standing = (await ledger.shards())[0].cursor
        assert standing in ("0-0", "2001-0")
        assert len(await ledger.changes(1, 0, 5_000)) == (2_001 if standing == "2001-0" else 0)
        if standing == "2001-0":
            break
        assert isinstance(outcome, asyncio.CancelledError | LedgerUnavailable)
    await asyncio.gather(*(ledger.shards() for _ in range(20)))
