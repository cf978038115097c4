"""The scripts enforce every rule of a sale by themselves, without the checks of the web layer."""

import json
from dataclasses import replace
from typing import Any

import pytest

from booking.domain.details import DETAILS, Detail, Details, Price, Visibility
from booking.domain.model import BookingStatus, EventState, Rules
from booking.domain.outcomes import IdempotencyKey, Status
from booking.inventory import keys
from booking.inventory.box_office import RateLimit
from booking.inventory.errors import InventoryUnavailable
from tests.fixtures.stock import SHARDS, Stock, contents, open_stock

from .expired_holds import end_hold, event_key

EVENT = 1
PAST_MS, FUTURE_MS = 1_000, 4_000_000_000_000
STOPPED: list[dict[str, Any]] = [{"paused": 1}, {"closes_at": PAST_MS}, {"opens_at": FUTURE_MS}]


async def ask(stock: Stock, user: str, quantity: int = 1) -> Status:
    return (await stock.office.book(EVENT, user, quantity)).status


async def standing(stock: Stock, user: str) -> BookingStatus | None:
    booking = (await stock.office.get_booking(EVENT, user)).booking
    return None if booking is None else booking.status


@pytest.mark.parametrize(("most", "quantity"), [(1, 2), (2, 3), (100, 101), (100, 10_000_000)])
async def test_no_user_books_more_than_max_per_user(stock: Stock, most: int, quantity: int) -> None:
    await stock.office.create(EVENT, Rules("Night", 10_000_000, most))
    before = await contents(stock.redis)
    assert await ask(stock, "ann", quantity) is Status.QUANTITY_OVER_LIMIT
    after = await contents(stock.redis)
    assert {key for key in after if before.get(key) != after[key]} <= {event_key(EVENT, "event")}, "not just a counter"
    assert await ask(stock, "ann", most) is Status.BOOKED


async def test_no_user_books_or_waits_for_more_than_the_capacity(stock: Stock) -> None:
    await stock.sale(EVENT, capacity=3)
    assert await ask(stock, "ann", 4) is Status.QUANTITY_OVER_LIMIT
    assert await ask(stock, "ann", 3) is Status.BOOKED
    assert await ask(stock, "bob", 4) is Status.QUANTITY_OVER_LIMIT
    assert await ask(stock, "bob", 3) is Status.JOINED


@pytest.mark.parametrize(
    ("rules", "refusal"),
    [
        ({"opens_at_ms": FUTURE_MS}, Status.SALE_NOT_OPEN),
        ({"closes_at_ms": PAST_MS}, Status.SALE_CLOSED),
        ({"opens_at_ms": PAST_MS - 1, "closes_at_ms": PAST_MS}, Status.SALE_CLOSED),
    ],
)
async def test_nothing_is_booked_or_joined_outside_the_window(stock: Stock, rules: Any, refusal: Status) -> None:
    await stock.sale(EVENT, capacity=1, **rules)
    assert [await ask(stock, user) for user in ("ann", "bob")] == [refusal, refusal]
    event = await stock.office.get_event(EVENT)
    assert event is not None
    assert (event.available, event.waiting_count, event.seq) == (1, 0, 1)


async def test_a_window_that_closes_before_it_opens_is_refused_by_create_and_change(stock: Stock) -> None:
    inverted = await stock.office.create(EVENT, Rules("Night", 1, opens_at_ms=FUTURE_MS, closes_at_ms=FUTURE_MS))
    assert inverted.status is Status.WINDOW_INVERTED
    assert await stock.redis.exists(event_key(EVENT, "event")) == 0
    await stock.sale(EVENT, opens_at_ms=PAST_MS, closes_at_ms=FUTURE_MS)
    for change in ({"opens_at": FUTURE_MS}, {"closes_at": PAST_MS}, {"opens_at": FUTURE_MS + 1}):
        assert (await stock.office.change(EVENT, change)).status is Status.WINDOW_INVERTED
    event = await stock.office.get_event(EVENT)
    assert event is not None
    assert (event.rules.opens_at_ms, event.rules.closes_at_ms, event.seq) == (PAST_MS, FUTURE_MS, 1)


async def test_a_paused_sale_refuses_every_booking(stock: Stock) -> None:
    await stock.sale(EVENT, capacity=1)
    await stock.office.change(EVENT, {"paused": 1})
    assert await ask(stock, "ann") is Status.SALE_PAUSED
    await stock.office.change(EVENT, {"paused": 0})
    assert await ask(stock, "ann") is Status.BOOKED


async def test_the_waiting_list_is_limited_in_tickets_and_a_smaller_group_still_fits_it(stock: Stock) -> None:
    await stock.sale(EVENT, capacity=4, waitlist_limit=3)
    assert await ask(stock, "ann", 4) is Status.BOOKED
    asked = [("bob", 4), ("bob", 2), ("cid", 2), ("cid", 1), ("dan", 1)]
    assert [await ask(stock, user, quantity) for user, quantity in asked] == [
        Status.WAITLIST_FULL, Status.JOINED, Status.WAITLIST_FULL, Status.JOINED, Status.WAITLIST_FULL,
    ]  # fmt: skip


@pytest.mark.parametrize("hold_seconds", [0, 60])
async def test_the_capacity_never_falls_below_what_is_sold_and_held(stock: Stock, hold_seconds: int) -> None:
    await stock.sale(EVENT, capacity=5, hold_seconds=hold_seconds)
    await ask(stock, "ann", 3)
    for capacity in (2, 1):
        refused = await stock.office.change(EVENT, {"capacity": capacity})
        assert (refused.status, refused.tickets_taken) == (Status.CAPACITY_BELOW_SOLD, 3)
    lowered = await stock.office.change(EVENT, {"capacity": 3})
    assert lowered.event is not None
    assert lowered.event.available == 0


async def test_one_user_has_one_live_booking_whatever_its_kind(stock: Stock) -> None:
    await stock.sale(EVENT, capacity=1, hold_seconds=60)
    assert [await ask(stock, "ann"), await ask(stock, "ann")] == [Status.HELD, Status.ALREADY_BOOKED]
    assert [await ask(stock, "bob"), await ask(stock, "bob", 2)] == [Status.JOINED, Status.ALREADY_WAITING]
    assert (await stock.office.confirm(EVENT, "ann")).status is Status.CONFIRMED
    assert await ask(stock, "ann") is Status.ALREADY_BOOKED
    bookings = await stock.redis.hgetall(event_key(EVENT, "bookings"))
    assert {user: record.split(b" ")[:3] for user, record in bookings.items()} == {
        b"ann": [b"1", b"c", b"1"],
        b"bob": [b"1", b"w", b"1"],
    }


async def test_only_a_live_hold_is_confirmed(stock: Stock) -> None:
    await stock.sale(EVENT, capacity=1, hold_seconds=60)
    await ask(stock, "ann")
    await ask(stock, "bob")
    confirm = stock.office.confirm
    assert (await confirm(EVENT, "nobody")).status is Status.BOOKING_NOT_FOUND
    assert (await confirm(EVENT, "bob")).status is Status.STILL_WAITING
    await end_hold(stock, EVENT, "ann")
    assert (await confirm(EVENT, "ann")).status is Status.HOLD_EXPIRED
    assert (await confirm(EVENT, "bob")).status is Status.CONFIRMED


@pytest.mark.parametrize("verb", ["book", "cancel", "confirm", "get_event", "get_booking", "change"])
async def test_every_read_and_change_of_an_event_first_expires_its_ended_holds(stock: Stock, verb: str) -> None:
    await stock.sale(EVENT, capacity=1, hold_seconds=60)
    await ask(stock, "ann")
    await ask(stock, "bob")
    await end_hold(stock, EVENT, "ann")
    scripts = await stock.calls()
    match verb:
        case "change":
            await stock.office.change(EVENT, {"name": "Renamed"})
        case "get_event":
            await stock.office.get_event(EVENT)
        case _:
            await getattr(stock.office, verb)(EVENT, "cid")
    assert await stock.calls() == scripts + 1
    kinds = [entry.split(" ")[2] for entry in await stock.entries()]
    assert kinds[3:5] == ["expired", "promoted"]


@pytest.mark.parametrize("stopped", STOPPED)
async def test_a_stopped_sale_still_confirms_cancels_expires_and_promotes(stock: Stock, stopped: Any) -> None:
    await stock.sale(EVENT, capacity=3, hold_seconds=60)
    for user in ("confirms", "cancels", "lets go", "first", "second", "third", "leaves"):
        await ask(stock, user)
    assert (await stock.office.change(EVENT, stopped)).status is Status.CHANGED
    assert await ask(stock, "late") in {Status.SALE_PAUSED, Status.SALE_CLOSED, Status.SALE_NOT_OPEN}
    assert (await stock.office.confirm(EVENT, "confirms")).status is Status.CONFIRMED
    assert (await stock.office.cancel(EVENT, "leaves")).status is Status.LEFT
    assert (await stock.office.cancel(EVENT, "cancels")).status is Status.CANCELLED
    assert await standing(stock, "first") is BookingStatus.HELD
    await end_hold(stock, EVENT, "lets go")
    assert await standing(stock, "second") is BookingStatus.HELD
    assert await standing(stock, "lets go") is None
    assert (await stock.office.change(EVENT, {"capacity": 4})).status is Status.CHANGED
    assert await standing(stock, "third") is BookingStatus.HELD


async def test_a_smaller_max_per_user_or_waiting_list_keeps_existing_bookings(stock: Stock) -> None:
    await stock.sale(EVENT, capacity=4, hold_seconds=60)
    for user in ("holds", "waits", "waits too"):
        await ask(stock, user, 4)
    await stock.office.change(EVENT, {"max_per_user": 1, "waitlist_limit": 1})
    assert [await ask(stock, "new", 4), await ask(stock, "new", 1)] == [
        Status.QUANTITY_OVER_LIMIT,
        Status.WAITLIST_FULL,
    ]
    assert (await stock.office.confirm(EVENT, "holds")).status is Status.CONFIRMED
    assert (await stock.office.cancel(EVENT, "holds")).status is Status.CANCELLED
    assert [await standing(stock, user) for user in ("waits", "waits too")] == [
        BookingStatus.HELD,
        BookingStatus.WAITING,
    ]


async def test_a_call_without_an_idempotency_key_stores_no_answer(stock: Stock) -> None:
    await stock.sale(EVENT, hold_seconds=60)
    for verb in (stock.office.book, stock.office.confirm, stock.office.cancel):
        await verb(EVENT, "ann")
    shard = keys.shard_of(EVENT, SHARDS)
    known = {*keys.event_keys(EVENT, SHARDS), *(keys.epoch(s) for s in range(SHARDS)), keys.changes(shard)}
    assert set(await stock.redis.keys("*")) <= known


async def test_only_answers_of_the_script_are_kept_under_the_key(clean_valkey: str) -> None:
    key = IdempotencyKey("key", "first")
    async with open_stock(clean_valkey, rate_limit=RateLimit(1, 0.001)) as stock:
        await stock.sale(EVENT)
        assert await ask(stock, "ann") is Status.BOOKED
        assert (await stock.office.cancel(EVENT, "ann", key=key)).status is Status.RATE_LIMITED
        assert (await stock.office.book(99, "ann", 1, key)).status is Status.EVENT_NOT_FOUND
    async with open_stock(clean_valkey, unsaved_limit=1) as stock:
        assert (await stock.office.book(EVENT, "bob", 1, key)).status is Status.LEDGER_BEHIND
        assert await stock.redis.keys("*answers*") == []


async def test_first_answers_are_replayed_while_sales_stop_because_sql_is_behind(
    clean_valkey: str,
) -> None:
    async with open_stock(clean_valkey, unsaved_limit=1) as stock:
        await stock.sale(EVENT)
        first = await stock.office.book(EVENT, "ann", 1, IdempotencyKey("key", "first"))
        assert first.status is Status.BOOKED
        assert await ask(stock, "bob") is Status.LEDGER_BEHIND
        again = await stock.office.book(EVENT, "ann", 1, IdempotencyKey("key", "second"))
        assert (again.status, again.booking, again.first_request_id) == (first.status, first.booking, "first")


OUT_OF_BOUNDS: list[tuple[str, Any]] = [
    *(("capacity", value) for value in (0, -1, 10_000_001, "1.5", "nan", "", "many")),
    *(("max_per_user", value) for value in (0, -1, 101, "2.5", "")),
    *(("waitlist_limit", value) for value in (-1, "0.5", "inf", "none")),
]


@pytest.mark.parametrize(("rule", "value"), OUT_OF_BOUNDS)
async def test_the_script_refuses_a_rule_out_of_its_bounds_and_changes_nothing(
    stock: Stock, rule: str, value: Any
) -> None:
    with pytest.raises(InventoryUnavailable, match=rule):
        await stock.office.create(EVENT, replace(Rules("Night", 10, 4), **{rule: value}))
    assert await stock.redis.exists(event_key(EVENT, "event"), event_key(EVENT, "changes")) == 0
    await stock.sale(EVENT)
    before = await contents(stock.redis)
    with pytest.raises(InventoryUnavailable, match=rule):
        await stock.office.change(EVENT, {"name": "Renamed", rule: value})
    assert await contents(stock.redis) == before


@pytest.mark.parametrize("hold_seconds", [-1, 86_401])
async def test_the_script_refuses_a_hold_out_of_its_bounds(stock: Stock, hold_seconds: int) -> None:
    with pytest.raises(InventoryUnavailable, match="hold_ms"):
        await stock.sale(EVENT, hold_seconds=hold_seconds)
    assert await stock.redis.exists(event_key(EVENT, "event")) == 0
    await stock.sale(EVENT, hold_seconds=1)
    before = await contents(stock.redis)
    with pytest.raises(InventoryUnavailable, match="hold_ms"):
        await stock.office.change(EVENT, {"hold_seconds": hold_seconds})
    assert await contents(stock.redis) == before


DETAILS_OUT_OF_BOUNDS: list[tuple[str, Any]] = [
    *(("offer_seconds", value) for value in (-1, 604_801, "1.5", "many")),
    *(("payment_seconds", value) for value in (0, 59, 3_601)),
    *(("visibility", value) for value in ("hidden", "Listed", 1)),
    ("starts_at_ms", "noon"),
]


@pytest.mark.parametrize(("name", "value"), DETAILS_OUT_OF_BOUNDS)
async def test_the_script_refuses_a_detail_out_of_its_bounds_and_changes_nothing(
    stock: Stock, name: str, value: Any
) -> None:
    with pytest.raises(InventoryUnavailable, match=name):
        await stock.sale(EVENT, details=replace(Details(), **{name: value}))
    assert await stock.redis.exists(event_key(EVENT, "event"), event_key(EVENT, "changes")) == 0
    await stock.sale(EVENT, details=Details(venue="Hall 3"))
    before = await contents(stock.redis)
    with pytest.raises(InventoryUnavailable, match=name):
        await stock.office.change(EVENT, {"venue": "Hall 4", name: value})
    assert await contents(stock.redis) == before


async def test_an_event_cannot_end_before_it_starts_whichever_is_changed(stock: Stock) -> None:
    inverted = await stock.office.create(EVENT, Rules("Night", 1, details=Details(starts_at_ms=2, ends_at_ms=1)))
    assert inverted.status is Status.DATES_INVERTED
    assert await stock.redis.exists(event_key(EVENT, "event")) == 0
    await stock.sale(EVENT, details=Details(starts_at_ms=2, ends_at_ms=2))
    for inverting in ({"ends_at_ms": 1}, {"starts_at_ms": 3}):
        assert (await stock.office.change(EVENT, inverting)).status is Status.DATES_INVERTED
    assert (await stock.office.change(EVENT, {"ends_at_ms": None})).status is Status.CHANGED
    assert (await stock.office.change(EVENT, {"starts_at_ms": 3})).status is Status.CHANGED


async def test_a_change_of_details_keeps_the_others_and_those_of_a_later_version(stock: Stock) -> None:
    await stock.sale(EVENT, details=Details(venue="Hall 3", price=Price(4500, "EUR")))
    hash_key = event_key(EVENT, "event")
    later = (await stock.redis.hget(hash_key, "details")).replace(b"{\n", b'{\n"doors_at_ms":17,\n')
    await stock.redis.hset(hash_key, "details", later)
    changed = await stock.office.change(EVENT, {"description": "Line 1\nLine 2", "venue": None})
    assert changed.event is not None
    assert changed.event.rules.details == Details(description="Line 1\nLine 2", price=Price(4500, "EUR"))
    assert json.loads(await stock.redis.hget(hash_key, "details"))["doors_at_ms"] == 17


async def test_details_that_stay_as_they_are_are_no_change(stock: Stock) -> None:
    details = Details(venue="Hall 3", visibility=Visibility.UNLISTED)
    await stock.sale(EVENT, details=details)
    same: dict[str, Detail] = {name: getattr(details, name) for name in DETAILS}
    outcome = await stock.office.change(EVENT, same)
    assert outcome.event is not None
    assert (outcome.event.seq, outcome.event.rules.details) == (1, details)
    assert len(await stock.entries(EVENT)) == 1


async def test_nothing_can_be_booked_of_an_archived_event_and_the_rest_goes_on(stock: Stock) -> None:
    await stock.sale(EVENT, capacity=1, hold_seconds=60)
    assert await ask(stock, "ann") is Status.HELD
    assert await ask(stock, "bob") is Status.JOINED
    archived = await stock.office.change(EVENT, {"visibility": Visibility.ARCHIVED, "paused": 1})
    assert archived.event is not None
    assert archived.event.state is EventState.CLOSED
    assert await ask(stock, "cy") is Status.SALE_CLOSED
    assert await ask(stock, "bob") is Status.ALREADY_WAITING
    assert (await stock.office.cancel(EVENT, "ann")).status is Status.CANCELLED
    assert (await stock.office.confirm(EVENT, "bob")).status is Status.CONFIRMED
    await stock.office.change(EVENT, {"visibility": None, "paused": 0})
    assert await ask(stock, "cy") is Status.JOINED


async def test_a_new_length_of_holds_is_for_holds_from_then_on(stock: Stock) -> None:
    await stock.sale(EVENT, capacity=2, hold_seconds=60)
    first = await stock.office.book(EVENT, "ann")
    assert (await stock.office.change(EVENT, {"hold_seconds": 600})).status is Status.CHANGED
    second = await stock.office.book(EVENT, "bob")
    for outcome, seconds in ((first, 60), (second, 600)):
        assert outcome.booking is not None
        assert outcome.booking.expires_at_ms == outcome.booking.created_at_ms + 1_000 * seconds
    assert (await stock.office.get_booking(EVENT, "ann")).booking == first.booking
    await stock.office.change(EVENT, {"hold_seconds": 0})
    await stock.office.cancel(EVENT, "bob")
    assert await ask(stock, "cy") is Status.BOOKED


async def test_a_plain_bookings_entry_has_its_text_and_no_other_field(stock: Stock) -> None:
    await stock.sale(EVENT, details=Details(venue="Hall 3"))
    await ask(stock, "ann")
    entries = await stock.redis.xrange(event_key(EVENT, "changes"))
    assert [sorted(fields) for _, fields in entries] == [[b"c", b"d", b"o"], [b"c"]]


@pytest.mark.parametrize("rule", ["available", "sold", "seq", "archived", "details", "refused:27", "anything"])
async def test_a_change_modifies_no_counter_and_only_changeable_rules(stock: Stock, rule: str) -> None:
    await stock.sale(EVENT)
    before = await contents(stock.redis)
    with pytest.raises(InventoryUnavailable, match=rule):
        await stock.office.change(EVENT, {rule: 3})
    assert await contents(stock.redis) == before


async def test_every_rule_may_have_its_smallest_and_its_largest_value(stock: Stock) -> None:
    await stock.office.create(EVENT, Rules("Night", 10_000_000, 100, 86_400, 0))
    for change in ({"capacity": 1}, {"max_per_user": 1}, {"waitlist_limit": 2**53 - 1}, {"waitlist_limit": None}):
        assert (await stock.office.change(EVENT, change)).status is Status.CHANGED
