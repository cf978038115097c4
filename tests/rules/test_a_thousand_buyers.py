"""A thousand buyers at once want 1 to 4 of 500 tickets each: half confirm, some cancel, some let their hold expire.

Holds last 2 s here, so that some expire during the test. With the 60 s of a real sale it takes some minutes:
BOOKING_SALE_HOLD_SECONDS=60 scripts/test tests/rules/test_a_thousand_buyers.py --timeout 900
"""

import asyncio
import os
import random
from typing import Any

import httpx

from booking.domain.changes import ChangeKind
from booking.domain.model import BookingStatus
from booking.inventory import keys
from booking.inventory.records import read_record
from booking.ledger import Ledger
from tests.contract.api import open_api
from tests.fixtures.service import RunningService
from tests.fixtures.waiting import eventually_async

from .behind import redis_of, settings_of
from .buyers import Buyer, Plan, Sale
from .history import checked_history

SEED = 20_261_122
BUYERS = 1_000
SEATS = 500
HOLD_SECONDS = int(os.environ.get("BOOKING_SALE_HOLD_SECONDS", "2"))
PLANS = [Plan.CONFIRMS] * 500 + [Plan.CANCELS] * 150 + [Plan.LETS_EXPIRE] * 250 + [Plan.GIVES_UP] * 100
SALE_SECONDS_MAX = 80.0 + 10 * HOLD_SECONDS
"""A bound for a sale that never ends. With holds of 2 s a sale takes about 10 s."""


async def watch(sale: Sale) -> None:
    """Ends the sale when every buyer has arrived and no hold is left, so that nothing more can happen."""
    async with httpx.AsyncClient(base_url=sale.url, trust_env=False) as http:
        while not sale.over.is_set():
            all_arrived = sale.arrived == BUYERS
            event = (await http.get(f"/status/{sale.event_id}")).json()["data"]
            if all_arrived and event["held_count"] == 0:
                sale.over.set()
            await asyncio.sleep(0.2)


async def sell(service: RunningService, sale: Sale) -> None:
    """Starts all buyers at once. Returns when the sale is over."""
    rng = random.Random(SEED)
    plans = rng.sample(PLANS, BUYERS)
    async with asyncio.timeout(SALE_SECONDS_MAX), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(sale))
        for number, plan in enumerate(plans):
            token = service.token(f"buyer-{number}")
            buyer = Buyer(sale, token, rng.randint(1, 4), plan, random.Random(SEED + number))
            tasks.create_task(buyer.run())


async def drained(ledger: Ledger, event_id: int, seq: int) -> None:
    async def has_every_change() -> bool:
        record = await ledger.event(event_id)
        return record is not None and record.seq >= seq

    await eventually_async(has_every_change, "SQL has every change")


async def test_every_ticket_ends_sold_or_available_and_sql_equals_redis(
    two_workers: RunningService,
) -> None:
    print(f"seed {SEED}")
    with open_api(two_workers) as api:
        event_id = api.event(available_tickets=SEATS, max_per_user=4, hold_seconds=HOLD_SECONDS)
        sale = Sale(two_workers.base_url, event_id)
        await sell(two_workers, sale)
        event = api.look(event_id)
    print(dict(sorted(sale.answers.items())))
    assert (event["tickets_held"], event["held_count"]) == (0, 0)
    assert event["tickets_sold"] + event["available_tickets"] == SEATS
    assert not [answer for answer in sale.answers if " 5" in answer or " 429" in answer], sale.answers

    settings = settings_of(two_workers.data_dir)
    ledger = Ledger.open(settings.database_address)
    try:
        await drained(ledger, event_id, event["seq"])
        changes = await ledger.changes(event_id, 0, 100_000)
        live = {booking.user_id: booking async for booking in ledger.live_bookings(event_id)}
    finally:
        await ledger.close()
    history = checked_history(changes, SEATS)
    print(f"{dict(history.kinds)}, the latest hold expired {history.late_ms} ms after its end")
    assert len(changes) == event["seq"]
    assert (history.available, len(history.queue), history.holds) == (
        event["available_tickets"], event["waiting_list_count"], {},
    )  # fmt: skip
    assert history.kinds[ChangeKind.HELD] + history.kinds[ChangeKind.JOINED] == BUYERS
    for kind in (ChangeKind.CONFIRMED, ChangeKind.CANCELLED, ChangeKind.LEFT, ChangeKind.EXPIRED, ChangeKind.PROMOTED):
        assert history.kinds[kind] > 0, f"no booking was {kind}"
    confirmed = {user: booking for user, booking in live.items() if booking.status is BookingStatus.CONFIRMED}
    assert sum(booking.quantity for booking in confirmed.values()) == event["tickets_sold"]
    assert len(confirmed) == event["bookings_count"] == sale.answers["POST /confirm 200"]

    with redis_of(two_workers.data_dir) as redis:
        records: Any = redis.hgetall(keys.event_keys(event_id, settings.shards)[1])
    there = {user.decode(): read_record(event_id, user.decode(), text) for user, text in records.items()}
    assert live == {user: booking for user, booking in there.items() if booking.status is not BookingStatus.EXPIRED}
