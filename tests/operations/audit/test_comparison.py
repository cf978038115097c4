"""The audit finds what was planted on either side, says nothing of a sound sale, and changes nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from booking.domain.details import Details
from booking.domain.model import Booking
from booking.inventory import keys
from booking.inventory import reader as reader_module
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.reader import READ_SECONDS_MAX, InventoryReader
from booking.ledger import Ledger, LedgerUnavailable
from booking.ledger.records import EventRecord
from booking.operations.audit import catch_up
from booking.operations.audit.comparison import audit_event
from booking.operations.audit.findings import DIFFERENCES_MAX, MEANINGS, EventAudit
from booking.persister import persister as persister_module
from tests.fixtures.backend import Backend
from tests.fixtures.stock import SHARDS, contents

EVENT, BOOKINGS, WAITING, HOLDS, DUE, *_, PAYMENTS = (key.decode() for key in keys.event_keys(1, SHARDS))


async def sell(backend: Backend) -> None:
    """An event with bookings of every kind: confirmed, held, waiting, cancelled and expired, promoted ones included."""
    office = backend.stock.office
    details = Details(venue="Hall 3", payment_seconds=60)
    await backend.stock.sale(1, capacity=6, hold_seconds=3_600, details=details)
    for user in ("ann", "bob", "cid", "dan"):
        await office.book(1, user, 1)
    for user in ("ann", "bob"):
        await office.confirm(1, user)
    await office.book(1, "eve", 4)
    await office.book(1, "fay", 1)
    await office.book(1, "gil", 2)
    await office.cancel(1, "ann")
    await office.cancel(1, "cid")
    await office.change(1, {"capacity": 7})
    await office.check_out(1, "dan", payment_id="dans")
    await backend.drain()


@asynccontextmanager
async def opened(backend: Backend) -> AsyncIterator[Callable[[], Awaitable[EventAudit]]]:
    reader = InventoryReader(backend.settings.redis_address, SHARDS)
    try:
        yield lambda: audit_event(reader, backend.ledger, 1)
    finally:
        await reader.close()


async def write(backend: Backend, statement: str) -> None:
    async with backend.ledger._writing() as connection:
        await connection.execute(text(statement))


async def test_a_sound_event_is_clean_and_is_left_as_it_was(backend: Backend) -> None:
    await sell(backend)
    before = await contents(backend.stock.redis)
    async with opened(backend) as audited:
        audit = await audited()
    assert audit.differences == []
    assert (audit.ok, audit.unsettled, audit.more_differences) == (True, 0, 0)
    assert audit.seq_redis == audit.seq_database
    assert audit.redis == audit.database
    assert audit.redis["capacity"] == 7
    assert await contents(backend.stock.redis) == before


async def change_payment(backend: Backend, old: bytes, new: bytes) -> None:
    text = await backend.stock.redis.hget(PAYMENTS, "dan")
    assert text is not None
    assert old in text
    await backend.stock.redis.hset(PAYMENTS, "dan", text.replace(old, new))


REDIS_PLANTS: dict[str, tuple[Callable[[Backend], Awaitable[object]], str, str | None]] = {
    "a counter that is off": (lambda s: s.stock.redis.hincrby(EVENT, "sold", 1), "counter", None),
    "tickets that are in no counter": (lambda s: s.stock.redis.hincrby(EVENT, "available", -1), "capacity", None),
    "a booking that is gone": (lambda s: s.stock.redis.hdel(BOOKINGS, "bob"), "booking", "bob"),
    "a booking out of nowhere": (lambda s: s.stock.redis.hset(BOOKINGS, "zoe", "c 1 3 1 s 0"), "booking", "zoe"),
    "a booking of another quantity": (lambda s: s.stock.redis.hset(BOOKINGS, "bob", "c 2 3 1 s 0"), "booking", "bob"),
    "a record that is none": (lambda s: s.stock.redis.hset(BOOKINGS, "bob", "what?"), "unreadable", "bob"),
    "a place that is gone": (lambda s: s.stock.redis.zrem(WAITING, "gil"), "place", "gil"),
    "a place that is another": (lambda s: s.stock.redis.zadd(WAITING, {"gil": 1}), "place", "gil"),
    "a hold that is not listed": (lambda s: s.stock.redis.zrem(HOLDS, "dan"), "hold", "dan"),
    "a place of nobody": (lambda s: s.stock.redis.zadd(WAITING, {"nobody": 99}), "counter", None),
    "holds that nobody will sweep": (lambda s: s.stock.redis.zrem(DUE, "1"), "counter", None),
    "another limit": (lambda s: s.stock.redis.hset(EVENT, "max_per_user", 100), "rule", None),
    "a limit that is gone": (lambda s: s.stock.redis.hset(EVENT, "waitlist_limit", "7"), "rule", None),
    "a sale that is stopped": (lambda s: s.stock.redis.hset(EVENT, "paused", 1), "rule", None),
    "other details": (lambda s: s.stock.redis.hset(EVENT, "details", '{\n"venue":"Hall 4"\n}'), "rule", None),
    "details that are none": (lambda s: s.stock.redis.hset(EVENT, "details", "what?"), "rule", None),
    "details that are gone": (lambda s: s.stock.redis.hdel(EVENT, "details"), "rule", None),
    "an event that is archived": (lambda s: s.stock.redis.hset(EVENT, "archived", 1), "rule", None),
    "another length of offers": (lambda s: s.stock.redis.hset(EVENT, "offer_ms", 0), "rule", None),
    "another time to pay": (lambda s: s.stock.redis.hdel(EVENT, "payment_ms"), "rule", None),
    "a payment that is gone": (lambda s: s.stock.redis.delete(PAYMENTS), "payment", "dan"),
    "a payment out of nowhere": (lambda s: s.stock.redis.hset(PAYMENTS, "zoe", "zoes o 3 1 1 s"), "payment", "zoe"),
    "another payment": (lambda s: change_payment(s, b"dans ", b"other "), "payment", "dan"),
    "a payment with an outcome": (lambda s: change_payment(s, b" o ", b" r "), "payment", "dan"),
    "a payment whose hold was released": (lambda s: change_payment(s, b" o ", b" k "), "payment", "dan"),
    "a payment that is none": (lambda s: s.stock.redis.hset(PAYMENTS, "dan", "what?"), "unreadable", "dan"),
    "another organizer": (lambda s: s.stock.redis.hset(EVENT, "organizer_id", "eve"), "organizer", None),
    "an event that is gone": (lambda s: s.stock.redis.delete(EVENT), "event_missing", None),
    "a shard that is another": (lambda s: s.stock.redis.set(keys.epoch(1), "another"), "shard_lost", None),
}

SQL_PLANTS = {
    "a payment that is gone": ("DELETE FROM payments", "payment", "dan"),
    "a payment with an outcome": ("UPDATE payments SET outcome = 'refund_due'", "payment", "dan"),
    "a payment of somebody else": ("UPDATE payments SET user_id = 'zoe'", "payment", "zoe"),
    "a booking that is gone": ("DELETE FROM bookings WHERE user_id = 'bob'", "booking", "bob"),
    "a booking in another state": ("UPDATE bookings SET status = 'held' WHERE user_id = 'bob'", "booking", "bob"),
    "a change that is gone": ("DELETE FROM changes WHERE event_id = 1 AND seq = 2", "seq_gap", None),
    "somebody with two bookings": (
        "UPDATE bookings SET user_id = 'bob', status = 'confirmed' WHERE user_id = 'ann'", "two_bookings", "bob",
    ),
    "somebody who was overtaken": (
        "UPDATE changes SET kind = 'promoted' WHERE event_id = 1 AND kind = 'cancelled'", "inversion", "ann",
    ),
    "a counter that fell behind": ("UPDATE events SET seq = seq - 1 WHERE id = 1", "seq", None),
}  # fmt: skip


def stop_waiting_after(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Has audits wait only for so long for a cursor that stands still."""
    monkeypatch.setattr(catch_up, "STANDSTILL_SECONDS", seconds)
    monkeypatch.setattr(catch_up, "TURN_SECONDS", seconds)


@pytest.mark.parametrize("name", REDIS_PLANTS)
async def test_each_fault_in_redis_is_found_and_named(
    sqlite_backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, kind, user = REDIS_PLANTS[name]
    stop_waiting_after(monkeypatch, 0.2)
    backend = sqlite_backend
    await sell(backend)
    await plant(backend)
    async with opened(backend) as audited:
        audit = await audited()
    assert not audit.ok
    assert (kind, user) in [(found.kind, found.user_id) for found in audit.differences], audit.differences
    assert {found.kind for found in audit.differences} <= MEANINGS.keys()


@pytest.mark.parametrize("name", SQL_PLANTS)
async def test_each_fault_in_sql_is_found_and_named(
    backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_waiting_after(monkeypatch, 0.2)
    statement, kind, user = SQL_PLANTS[name]
    await sell(backend)
    if name == "somebody who was overtaken":  # it takes two: one was promoted before, of a later number
        await write(backend, "UPDATE changes SET kind = 'promoted' WHERE event_id = 1 AND kind = 'joined'")
    await write(backend, statement)
    async with opened(backend) as audited:
        audit = await audited()
    assert (kind, user) in [(found.kind, found.user_id) for found in audit.differences], audit.differences


async def test_a_sale_during_the_audit_is_no_difference(backend: Backend, seed: int) -> None:
    for event_id in (1, 2, 3):
        await backend.stock.sale(event_id, capacity=200)
    stop, bookings = asyncio.Event(), 0
    async with backend.persister() as persister, asyncio.TaskGroup() as group, opened(backend) as audited:
        group.create_task(backend.load(seed, stop))
        group.create_task(persister.run(stop))
        for _ in range(10):
            await backend.sells_on()
            audit = await audited()
            assert audit.differences == []
            bookings += audit.bookings
        stop.set()
    assert bookings > 0  # one audit may see none: at times all buyers of the event have cancelled


async def test_a_slow_persister_that_makes_progress_is_waited_for(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restore the persister has many entries to write while buyers are active."""
    stop_waiting_after(monkeypatch, 2.0)
    monkeypatch.setattr(persister_module, "BATCH_ENTRIES", 4)
    await backend.stock.sale(1, capacity=1_000)
    await asyncio.gather(*(backend.stock.office.book(1, f"buyer-{number}") for number in range(60)))

    async def carry_slowly() -> None:
        async with backend.persister() as persister:
            while await persister.consume():
                await asyncio.sleep(0.2)

    carrying = asyncio.create_task(carry_slowly())
    async with opened(backend) as audited:
        audit = await audited()
    await carrying
    assert audit.differences == []
    assert audit.bookings == 60


async def test_many_differences_are_counted_and_not_all_listed(backend: Backend) -> None:
    await backend.stock.sale(1, capacity=1_000)
    for number in range(DIFFERENCES_MAX + 20):
        await backend.stock.office.book(1, f"buyer-{number}")
    await backend.drain()
    await backend.stock.redis.delete(BOOKINGS)
    async with opened(backend) as audited:
        audit = await audited()
    assert len(audit.differences) == DIFFERENCES_MAX
    assert audit.more_differences == 20


async def test_changes_that_sql_does_not_have_yet_are_no_difference(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The persister falls behind while the audit is at work."""
    stop_waiting_after(monkeypatch, 0.05)
    await sell(backend)
    read = backend.ledger.live_bookings

    async def live_bookings(event_id: int) -> AsyncIterator[Booking]:
        await backend.stock.office.cancel(1, "bob")
        async for booking in read(event_id):
            yield booking

    monkeypatch.setattr(backend.ledger, "live_bookings", live_bookings)
    async with opened(backend) as audited:
        audit = await audited()
    assert audit.differences == []
    assert audit.unsettled


async def test_bookings_that_differ_are_read_again_together(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one, each waits for the persister: an audit of a busy sale then takes minutes."""
    await backend.stock.sale(1, capacity=200)
    await asyncio.gather(*(backend.stock.office.book(1, f"buyer-{number}") for number in range(200)))
    await backend.drain()
    await backend.stock.redis.delete(BOOKINGS)
    looks: list[int] = []
    asked = backend.ledger.live_bookings_of

    async def live_bookings_of(event_id: int, users: Sequence[str]) -> dict[str, Booking]:
        looks.append(len(users))
        return await asked(event_id, users)

    monkeypatch.setattr(backend.ledger, "live_bookings_of", live_bookings_of)
    async with opened(backend) as audited:
        audit = await audited()
    assert len(audit.differences) + audit.more_differences == 200
    assert 200 in looks
    assert len(looks) <= 2 + catch_up.READS_MAX


async def test_a_booking_made_and_cancelled_between_two_looks_is_no_difference(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = backend.stock.office
    await backend.stock.sale(1, capacity=200)
    await office.book(1, "ann")
    await backend.drain()
    asked, live_bookings = backend.ledger.live_bookings_of, backend.ledger.live_bookings

    async def live_bookings_of(event_id: int, users: Sequence[str]) -> dict[str, Booking]:
        await office.book(1, "ann")
        await backend.drain()
        found = await asked(event_id, users)
        await office.cancel(1, "ann")
        await backend.drain()
        return found

    async def live_bookings_then_cancel(event_id: int) -> AsyncIterator[Booking]:
        async for booking in live_bookings(event_id):
            yield booking
        await office.cancel(1, "ann")  # so that she is looked at again
        await backend.drain()

    monkeypatch.setattr(backend.ledger, "live_bookings", live_bookings_then_cancel)
    monkeypatch.setattr(backend.ledger, "live_bookings_of", live_bookings_of)
    async with opened(backend) as audited:
        audit = await audited()
    assert (audit.differences, audit.unsettled) == ([], 1)


async def test_an_unreachable_side_is_reported_and_not_a_difference(backend: Backend, tmp_path: Path) -> None:
    await sell(backend)
    gone = InventoryReader("unix:///nowhere/at-all.sock", SHARDS)
    with pytest.raises(InventoryUnavailable):
        await audit_event(gone, backend.ledger, 1)
    await gone.close()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        still = InventoryReader(f"unix://{tmp_path / 'silent.sock'}", SHARDS, 0.1)
        async with asyncio.timeout(READ_SECONDS_MAX):  # it has a time limit of its own
            with pytest.raises(InventoryUnavailable):
                await audit_event(still, backend.ledger, 1)
        await still.close()
    ledger = Ledger.open(f"sqlite+aiosqlite:///{tmp_path / 'nothing.sqlite3'}")
    reader = InventoryReader(backend.settings.redis_address, SHARDS)
    with pytest.raises(LedgerUnavailable):
        await audit_event(reader, ledger, 1)
    await reader.close()
    await ledger.close()


async def test_a_persister_that_does_not_run_is_waited_for_once_a_shard(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for event_id in range(1, 4 * SHARDS + 1):
        await backend.stock.sale(event_id)
    looks: list[int] = []
    read = backend.ledger.event

    async def event(event_id: int) -> EventRecord | None:
        looks.append(event_id)
        return await read(event_id)

    monkeypatch.setattr(backend.ledger, "event", event)
    stop_waiting_after(monkeypatch, 0.2)
    reader, shared = InventoryReader(backend.settings.redis_address, SHARDS), catch_up.CatchUp(backend.ledger)
    for event_id in range(1, 4 * SHARDS + 1):
        audit = await audit_event(reader, backend.ledger, event_id, catch_up=shared)
        assert [found.kind for found in audit.differences] == ["event_missing"]
    await reader.close()
    assert len({one for one in looks if looks.count(one) > 1}) == SHARDS
    await backend.drain()
    assert (await shared.wait_for(1, 1)) is not None


async def test_every_event_in_redis_is_found_and_no_unused_id(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "PAGE", 3)
    for event_id in (1, 2, 5, 9, 10):
        await backend.stock.sale(event_id)
    await backend.stock.redis.set(keys.LAST_EVENT, 12)
    reader = InventoryReader(backend.settings.redis_address, SHARDS)
    assert [page async for page in reader.event_ids()] == [[1, 2], [5], [9], [10]]
    assert [page async for page in reader.event_ids({2, 3, 4, 5})] == [[1], [9, 10], []]
    for planted in (b"many", reader_module.EVENT_IDS_MAX + 1):
        await backend.stock.redis.set(keys.LAST_EVENT, planted)
        with pytest.raises(InventoryUnavailable, match="booking:last-event"):
            [page async for page in reader.event_ids()]
    await reader.close()
