"""A restoration brings back what is known of payments, so that each still comes to one booking or one refund."""

import pytest

from booking.domain.model import PAYMENTS_MAX, Booking
from booking.domain.outcomes import Outcome, Status
from booking.inventory.reader import InventoryReader
from booking.inventory.streams import ChangeStreams
from booking.ledger import refunds
from booking.operations.audit.comparison import audit_event
from booking.operations.restore.restoration import restore_shard
from tests.fixtures.backend import Backend
from tests.fixtures.stock import SHARDS
from tests.rules.expired_holds import end_hold, event_key

EVENT = 1


async def paying(backend: Backend, user: str, quantity: int = 1) -> Booking:
    office = backend.stock.office
    assert (await office.book(EVENT, user, quantity)).status is Status.HELD
    begun = (await office.check_out(EVENT, user)).booking
    assert begun is not None
    return begun


async def pay_late(backend: Backend, begun: Booking) -> Outcome:
    return await backend.stock.office.confirm(EVENT, begun.user_id, payment_id=begun.payment_id or "", late=True)


async def of_users(backend: Backend, name: str) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = await backend.stock.redis.hgetall(event_key(EVENT, name))
    return found


async def sell(backend: Backend) -> dict[str, Booking]:
    """A payment of every kind, by user."""
    office, begun = backend.stock.office, dict[str, Booking]()
    await backend.stock.sale(EVENT, capacity=12, hold_seconds=60)
    begun["refunded"] = await paying(backend, "refunded", 4)
    await office.cancel(EVENT, "refunded")
    for number in range(3):
        await office.book(EVENT, f"group-{number}", 4)
    assert (await pay_late(backend, begun["refunded"])).status is Status.REFUND_DUE
    for number in range(3):
        await office.cancel(EVENT, f"group-{number}")
    for user in ("open", "expired", "released", "late", "paid", "gone"):
        begun[user] = await paying(backend, user, 2)
    await office.cancel(EVENT, "open", 1)
    for user in ("paid", "gone"):
        await office.confirm(EVENT, user)
    for user in ("gone", "released"):
        await office.cancel(EVENT, user)
    for user in ("expired", "late"):
        await end_hold(backend.stock, EVENT, user)
    assert (await pay_late(backend, begun["late"])).status is Status.CONFIRMED
    for _ in range(PAYMENTS_MAX + 2):
        begun["often"] = await paying(backend, "often")
        await office.cancel(EVENT, "often")
    await backend.drain()
    return begun


async def audit(backend: Backend) -> list[object]:
    reader = InventoryReader(backend.settings.redis_address, SHARDS)
    try:
        return list((await audit_event(reader, backend.ledger, EVENT)).differences)
    finally:
        await reader.close()


async def restore(backend: Backend) -> None:
    streams = ChangeStreams(backend.settings.redis_address)
    try:
        await restore_shard(backend.settings, backend.ledger, streams, EVENT % SHARDS)
    finally:
        await streams.close()
    shards = await backend.ledger.shards()
    backend.stock.office.use_epochs([shards[one].epoch for one in sorted(shards)])


async def test_a_refund_that_is_done_stays_done_whatever_comes_after(backend: Backend) -> None:
    begun = await sell(backend)
    payment_id = begun["refunded"].payment_id or ""
    done = await refunds.mark(backend.ledger, EVENT, payment_id, 5, "boss")
    assert done is not None
    assert (done.done_at_ms, done.done_by) == (5, "boss")
    await backend.stock.redis.flushall()
    await restore(backend)
    assert (await pay_late(backend, begun["refunded"])).status is Status.REFUND_DUE
    await backend.stock.office.book(EVENT, "refunded")
    await backend.drain()
    assert await refunds.page(backend.ledger, EVENT, 10) == [done]
    assert await refunds.count(backend.ledger, EVENT) == (1, 1)
    assert await refunds.count_due(backend.ledger) == (0, 0)


async def test_each_payment_is_known_after_a_restoration_as_before(backend: Backend) -> None:
    begun = await sell(backend)
    before = await of_users(backend, "payments")
    records = await of_users(backend, "bookings")
    assert await audit(backend) == []
    await backend.stock.redis.flushall()
    await restore(backend)
    assert await of_users(backend, "payments") == before
    restored = await of_users(backend, "bookings")
    for user in ("open", "paid", "late"):
        assert restored[user.encode()] == records[user.encode()]
    assert {user: (await pay_late(backend, booking)).status for user, booking in begun.items()} == {
        "refunded": Status.REFUND_DUE,
        "open": Status.CONFIRMED,
        "expired": Status.CONFIRMED,
        "released": Status.CONFIRMED,
        "late": Status.CONFIRMED,
        "paid": Status.CONFIRMED,
        "gone": Status.BOOKING_NOT_FOUND,
        "often": Status.CONFIRMED,
    }
    await backend.drain()
    assert await audit(backend) == []
    kinds = [change.kind.value for change in await backend.ledger.changes(EVENT)]
    assert (kinds.count("refund_due"), kinds.count("booked")) == (1, 4)


@pytest.mark.parametrize("end", ["expired", "cancelled"])
async def test_a_refund_that_is_due_is_in_the_database_once(backend: Backend, end: str) -> None:
    await backend.stock.sale(EVENT, capacity=1, hold_seconds=60)
    begun = await paying(backend, "ann")
    if end == "expired":
        await end_hold(backend.stock, EVENT, "ann")
    else:
        await backend.stock.office.cancel(EVENT, "ann")
    await backend.stock.office.book(EVENT, "bob")
    for _ in range(2):
        assert (await pay_late(backend, begun)).status is Status.REFUND_DUE
    await backend.drain()
    (booking,) = await backend.ledger.user_bookings("ann", 10) or []
    assert (booking.status.value, booking.payment_id) == (end, begun.payment_id)
    pages = [page async for page in backend.ledger.payments(EVENT)]
    assert [(user, one.id, one.outcome) for page in pages for user, mine in page.items() for one in mine] == [
        ("ann", begun.payment_id, "refund_due")
    ]


async def test_a_late_payment_without_a_checkout_is_no_difference(backend: Backend) -> None:
    office = backend.stock.office
    await backend.stock.sale(EVENT, capacity=2, hold_seconds=60)
    assert (await office.book(EVENT, "ann")).status is Status.HELD
    await end_hold(backend.stock, EVENT, "ann")
    assert (await office.confirm(EVENT, "ann", late=True)).status is Status.CONFIRMED
    await backend.drain()
    assert await audit(backend) == []
    await restore(backend)
    assert await audit(backend) == []
