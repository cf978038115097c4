"""Every payment comes to exactly one booking or one refund, whatever is repeated, reordered or late."""

import asyncio
import time
from typing import Any

import pytest

from booking.domain.details import Details
from booking.domain.model import PAYMENTS_MAX, Booking, BookingStatus, Rules, Source
from booking.domain.outcomes import IdempotencyKey, Outcome, Status
from booking.inventory import keys
from booking.inventory.records import read_payments
from tests.fixtures.stock import SHARDS, Stock
from tests.rules.expired_holds import end_hold, event_key

EVENT = 1


async def sale(stock: Stock, capacity: int = 2, hold_seconds: int = 60, **details: Any) -> None:
    rules = Rules("Night", capacity, 4, hold_seconds=hold_seconds, details=Details(**details))
    assert (await stock.office.create(EVENT, rules, "boss")).status is Status.CREATED


def booking_of(outcome: Outcome) -> Booking:
    assert outcome.booking is not None, outcome
    return outcome.booking


async def paying(stock: Stock, user: str, quantity: int = 1) -> Booking:
    """The user's hold, whose payment has begun."""
    assert (await stock.office.book(EVENT, user, quantity)).status is Status.HELD
    return booking_of(await stock.office.check_out(EVENT, user))


async def pay_late(stock: Stock, booking: Booking) -> Outcome:
    return await stock.office.confirm(EVENT, booking.user_id, payment_id=booking.payment_id or "", late=True)


async def kinds(stock: Stock) -> list[str]:
    return [entry.split(" ")[2] for entry in await stock.entries()]


async def test_a_checkout_extends_the_hold_once_and_gives_it_an_id_nobody_can_guess(stock: Stock) -> None:
    await sale(stock, payment_seconds=600)
    held = booking_of(await stock.office.book(EVENT, "ann"))
    begun = int(time.time() * 1000)
    first = booking_of(await stock.office.check_out(EVENT, "ann"))
    assert first.payment_id is not None
    assert len(first.payment_id) >= 22
    assert (first.id, first.status) == (held.id, BookingStatus.HELD)
    assert 590_000 < (first.expires_at_ms or 0) - begun < 610_000
    again = await stock.office.check_out(EVENT, "ann")
    assert (again.status, again.booking) == (Status.CHECKED_OUT, first)
    assert booking_of(await stock.office.get_booking(EVENT, "ann")) == first
    confirmed = booking_of(await stock.office.confirm(EVENT, "ann", payment_id=first.payment_id))
    assert (confirmed.payment_id, confirmed.status) == (first.payment_id, BookingStatus.CONFIRMED)
    assert booking_of(await stock.office.check_out(EVENT, "ann")) == confirmed
    assert await kinds(stock) == ["created", "held", "checkout", "confirmed"]


async def test_a_longer_hold_stays_as_it_is_at_the_checkout(stock: Stock) -> None:
    await sale(stock, hold_seconds=3_600, payment_seconds=60)
    held = booking_of(await stock.office.book(EVENT, "ann"))
    assert booking_of(await stock.office.check_out(EVENT, "ann")).expires_at_ms == held.expires_at_ms


async def test_a_checkout_needs_a_hold_that_has_not_ended(stock: Stock) -> None:
    await sale(stock, capacity=1)
    assert (await stock.office.check_out(EVENT, "ann")).status is Status.BOOKING_NOT_FOUND
    await stock.office.book(EVENT, "ann")
    await stock.office.book(EVENT, "bob")
    assert (await stock.office.check_out(EVENT, "bob")).status is Status.STILL_WAITING
    await end_hold(stock, EVENT, "ann")
    assert (await stock.office.check_out(EVENT, "ann")).status is Status.HOLD_EXPIRED


async def test_an_offer_has_its_own_length_and_no_offer_is_needed_where_none_waited(stock: Stock) -> None:
    await sale(stock, capacity=1, hold_seconds=0, offer_seconds=120)
    assert (await stock.office.book(EVENT, "ann")).status is Status.BOOKED
    await stock.office.book(EVENT, "bob")
    begun = int(time.time() * 1000)
    await stock.office.cancel(EVENT, "ann")
    offer = booking_of(await stock.office.get_booking(EVENT, "bob"))
    assert (offer.status, offer.source) == (BookingStatus.HELD, Source.WAITLIST)
    assert 110_000 < (offer.expires_at_ms or 0) - begun < 130_000
    await stock.office.book(EVENT, "cid")
    await end_hold(stock, EVENT, "bob")
    assert booking_of(await stock.office.get_booking(EVENT, "cid")).status is BookingStatus.HELD
    assert (await stock.office.confirm(EVENT, "cid")).status is Status.CONFIRMED


@pytest.mark.parametrize("named", ["another", ""])
async def test_a_payment_confirms_only_its_own_booking(stock: Stock, named: str) -> None:
    await sale(stock)
    begun = await paying(stock, "ann")
    status = (await stock.office.confirm(EVENT, "ann", payment_id=named)).status
    assert status is (Status.PAYMENT_MISMATCH if named else Status.CONFIRMED)
    assert (await stock.office.confirm(EVENT, "ann", payment_id="another", late=True)).status is Status.PAYMENT_MISMATCH
    assert (await stock.office.confirm(EVENT, "ann", payment_id=begun.payment_id or "")).status is Status.CONFIRMED


@pytest.mark.parametrize("end", ["expired", "cancelled", "swept", "another booking cancelled"])
async def test_a_late_payment_books_again_if_its_tickets_are_free(stock: Stock, end: str) -> None:
    await sale(stock, capacity=3)
    begun = await paying(stock, "ann", 3)
    await stock.office.cancel(EVENT, "ann", 1)
    if end == "cancelled":
        await stock.office.cancel(EVENT, "ann")
    else:
        await end_hold(stock, EVENT, "ann")
    if end != "expired":
        await stock.office.get_event(EVENT)
    if end.startswith("another"):
        await stock.office.book(EVENT, "ann")
        await stock.office.cancel(EVENT, "ann")
    await stock.office.change(EVENT, {"paused": 1, "closes_at": 1})
    booked = await pay_late(stock, begun)
    booking = booking_of(booked)
    assert (booked.status, booking.status, booking.source) == (Status.CONFIRMED, BookingStatus.CONFIRMED, Source.SALE)
    assert (booking.quantity, booking.payment_id) == (2, begun.payment_id)
    assert booking.number > begun.number
    assert [(await pay_late(stock, begun)).booking for _ in range(2)] == [booking, booking]
    assert (await kinds(stock)).count("booked") == 1


async def test_a_late_payment_overtakes_nobody_and_is_refunded_once(stock: Stock) -> None:
    await sale(stock, capacity=2)
    begun = await paying(stock, "ann")
    await stock.office.book(EVENT, "bob")
    await stock.office.book(EVENT, "group", 2)
    await end_hold(stock, EVENT, "ann")
    event = await stock.office.get_event(EVENT)
    assert event is not None
    assert (event.available, event.waiting_count) == (1, 1), "a ticket is free, and kept for the group at the head"
    for late in [await pay_late(stock, begun) for _ in range(3)]:
        assert late.status is Status.REFUND_DUE
    assert (await kinds(stock)).count("refund_due") == 1
    assert (await stock.office.book(EVENT, "ann")).status is Status.JOINED, "that buyer may book again"
    assert (await pay_late(stock, begun)).status is Status.REFUND_DUE
    await stock.office.cancel(EVENT, "group")
    await stock.office.cancel(EVENT, "ann")
    assert (await pay_late(stock, begun)).status is Status.REFUND_DUE, "the refund is final, though tickets are free"
    assert (await kinds(stock)).count("refund_due") == 1


async def test_a_buyer_with_another_booking_is_refunded_the_late_payment(stock: Stock) -> None:
    await sale(stock, capacity=5)
    first = await paying(stock, "ann")
    await end_hold(stock, EVENT, "ann")
    second = await paying(stock, "ann")
    assert (await pay_late(stock, first)).status is Status.REFUND_DUE
    assert (
        await stock.office.confirm(EVENT, "ann", payment_id=first.payment_id or "")
    ).status is Status.PAYMENT_MISMATCH
    assert (await pay_late(stock, second)).status is Status.CONFIRMED
    assert (await pay_late(stock, first)).status is Status.REFUND_DUE
    entry = next(entry for entry in await stock.entries() if " refund_due " in entry)
    assert entry.split(" ")[4:8] == ["1", "x", "1", str(first.number)]


async def test_a_repeated_payment_of_a_cancelled_booking_books_nothing(stock: Stock) -> None:
    await sale(stock)
    begun = await paying(stock, "ann")
    await stock.office.confirm(EVENT, "ann")
    await stock.office.cancel(EVENT, "ann")
    before = await kinds(stock)
    assert (await pay_late(stock, begun)).status is Status.BOOKING_NOT_FOUND
    assert await kinds(stock) == before


async def test_a_late_confirmation_without_a_payment_is_about_the_hold_that_has_expired(stock: Stock) -> None:
    await sale(stock, capacity=1)
    held = booking_of(await stock.office.book(EVENT, "ann"))
    await end_hold(stock, EVENT, "ann")
    assert (await stock.office.confirm(EVENT, "ann")).status is Status.HOLD_EXPIRED
    again = booking_of(await stock.office.confirm(EVENT, "ann", late=True))
    assert (again.status, again.payment_id) == (BookingStatus.CONFIRMED, held.id)
    assert (await stock.office.confirm(EVENT, "bob", late=True)).status is Status.BOOKING_NOT_FOUND


async def test_one_of_many_simultaneous_calls_decides_a_payment(stock: Stock) -> None:
    await sale(stock, capacity=1)
    begun = await paying(stock, "ann")
    await end_hold(stock, EVENT, "ann")
    outcomes = await asyncio.gather(
        *(pay_late(stock, begun) for _ in range(20)), stock.office.book(EVENT, "bob"), pay_late(stock, begun)
    )
    assert {outcome.status for outcome in outcomes} == {Status.CONFIRMED, Status.JOINED}
    assert (await kinds(stock)).count("booked") == 1


async def test_only_the_hold_of_a_failed_payment_is_released(stock: Stock) -> None:
    await sale(stock)
    begun = await paying(stock, "ann")
    office, payment_id = stock.office, begun.payment_id or ""
    assert (await office.cancel(EVENT, "ann", payment_id="another")).status is Status.BOOKING_NOT_FOUND
    assert (await office.cancel(EVENT, "ann", payment_id=payment_id)).status is Status.CANCELLED
    assert (await pay_late(stock, begun)).status is Status.CONFIRMED, "the buyer has tried once more, with success"
    assert (await office.cancel(EVENT, "ann", payment_id=payment_id)).status is Status.BOOKING_NOT_FOUND
    assert booking_of(await office.get_booking(EVENT, "ann")).status is BookingStatus.CONFIRMED


async def test_the_last_payments_of_a_user_are_remembered(stock: Stock) -> None:
    await sale(stock)
    begun = []
    for _ in range(PAYMENTS_MAX + 2):
        begun.append(await paying(stock, "ann"))
        await stock.office.cancel(EVENT, "ann")
    text = await stock.redis.hget(event_key(EVENT, "payments"), "ann")
    assert [one.id for one in read_payments("ann", text)] == [one.payment_id for one in begun[2:]]
    assert (await pay_late(stock, begun[1])).status is Status.BOOKING_NOT_FOUND
    assert (await pay_late(stock, begun[2])).status is Status.CONFIRMED
    assert (await pay_late(stock, begun[3])).status is Status.REFUND_DUE


async def test_a_key_repeats_the_first_answer_of_a_checkout_and_of_a_late_payment(stock: Stock) -> None:
    await sale(stock)
    await stock.office.book(EVENT, "ann")
    begun = booking_of(await stock.office.check_out(EVENT, "ann", IdempotencyKey("c", "first")))
    await stock.office.cancel(EVENT, "ann")
    again = await stock.office.check_out(EVENT, "ann", IdempotencyKey("c", "second"))
    assert (again.booking, again.first_request_id) == (begun, "first")
    key, payment_id = IdempotencyKey("p", "first"), begun.payment_id or ""
    await stock.office.confirm(EVENT, "ann", key, payment_id=payment_id, late=True)
    other = await stock.office.confirm(EVENT, "ann", key, payment_id=payment_id)
    assert other.status is Status.IDEMPOTENCY_KEY_REUSED


async def test_a_booking_without_a_payment_is_written_as_ever(stock: Stock) -> None:
    await sale(stock)
    await stock.office.book(EVENT, "ann")
    await paying(stock, "bob")
    records = await stock.redis.hgetall(event_key(EVENT, "bookings"))
    assert records[b"ann"].startswith(b"1 h 1 2 ")
    assert records[b"bob"].startswith(b"2 h 1 3 ")
    fields = [sorted(fields) for _, fields in await stock.redis.xrange(keys.changes(EVENT % SHARDS))]
    assert fields[1:] == [[b"c"], [b"c"], [b"c", b"p"]]
