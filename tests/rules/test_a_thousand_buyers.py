"""A thousand buyers at once of 1 to 4 tickets on 500 seats: half confirm, some cancel, some let go.

Holds last 2 s here, so that those who let go are outlived and their tickets move on. With the 60 s of a real sale, it
takes some minutes: BOOKING_SALE_HOLD_SECONDS=60 scripts/test tests/rules/test_a_thousand_buyers.py --timeout 900
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

from .behind import redis_of, settings_of
from .buyers import Buyer, Crowd, Mind
from .history import checked_history

SEED = 20_261_122
BUYERS = 1_000
SEATS = 500
HOLD_SECONDS = int(os.environ.get("BOOKING_SALE_HOLD_SECONDS", "2"))
MINDS = [Mind.CONFIRMS] * 500 + [Mind.CANCELS] * 150 + [Mind.LETS_GO] * 250 + [Mind.GIVES_UP] * 100
DRAINED_WITHIN_SECONDS = 2.0
"""From the end of a sale to SQL being equal to Redis."""

SALE_SECONDS_MAX = 80.0 + 10 * HOLD_SECONDS
"""Only so that a sale that never ends fails; with holds of 2 s it takes some 10 s."""


async def watch(crowd: Crowd) -> None:
    """Ends the sale when everybody has come, no hold is left, and so nothing can happen any more."""
    async with httpx.AsyncClient(base_url=crowd.url, trust_env=False) as http:
        while not crowd.over.is_set():
            everybody_has_come = crowd.ashore == BUYERS
            event = (await http.get(f"/status/{crowd.event_id}")).json()["data"]
            if everybody_has_come and event["held_count"] == 0:
                crowd.over.set()
            await asyncio.sleep(0.2)


async def sell(service: RunningService, crowd: Crowd) -> None:
    """Lets the buyers in all at once, and returns when the sale is over."""
    chance = random.Random(SEED)
    minds = chance.sample(MINDS, BUYERS)
    async with asyncio.timeout(SALE_SECONDS_MAX), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(crowd))
        for number, mind in enumerate(minds):
            token = service.token(f"buyer-{number}")
            buyer = Buyer(crowd, token, chance.randint(1, 4), mind, random.Random(SEED + number))
            tasks.create_task(buyer.run())


async def drained(ledger: Ledger, event_id: int, seq: int) -> None:
    async with asyncio.timeout(DRAINED_WITHIN_SECONDS):
        while (record := await ledger.event(event_id)) is None or record.seq < seq:
            await asyncio.sleep(0.05)


async def test_every_ticket_ends_sold_or_available_in_turn_and_in_time_and_sql_says_what_redis_says(
    two_workers: RunningService,
) -> None:
    print(f"seed {SEED}")
    with open_api(two_workers) as api:
        event_id = api.event(available_tickets=SEATS, max_per_user=4, hold_seconds=HOLD_SECONDS)
        crowd = Crowd(two_workers.base_url, event_id)
        await sell(two_workers, crowd)
        event = api.look(event_id)
    print(dict(sorted(crowd.told.items())))
    assert (event["tickets_held"], event["held_count"]) == (0, 0)
    assert event["tickets_sold"] + event["available_tickets"] == SEATS
    assert not [told for told in crowd.told if " 5" in told or " 429" in told], crowd.told

    settings = settings_of(two_workers.data_dir)
    ledger = Ledger.open(settings.database_address)
    try:
        await drained(ledger, event_id, event["seq"])
        changes = await ledger.changes(event_id, 0, 100_000)
        live = {booking.user_id: booking async for booking in ledger.live_bookings(event_id)}
    finally:
        await ledger.close()
    history = checked_history(changes, SEATS)
    print(f"{dict(history.kinds)}, the latest hold swept {history.late_ms} ms after its end")
    assert len(changes) == event["seq"]
    assert (history.available, len(history.queue), history.holds) == (
        event["available_tickets"], event["waiting_list_count"], {},
    )  # fmt: skip
    assert history.kinds[ChangeKind.HELD] + history.kinds[ChangeKind.JOINED] == BUYERS
    for kind in (ChangeKind.CONFIRMED, ChangeKind.CANCELLED, ChangeKind.LEFT, ChangeKind.EXPIRED, ChangeKind.PROMOTED):
        assert history.kinds[kind] > 0, f"nobody was {kind}"
    confirmed = {user: booking for user, booking in live.items() if booking.status is BookingStatus.CONFIRMED}
    assert sum(booking.quantity for booking in confirmed.values()) == event["tickets_sold"]
    assert len(confirmed) == event["bookings_count"] == crowd.told["POST /confirm 200"]

    with redis_of(two_workers.data_dir) as redis:
        records: Any = redis.hgetall(keys.event_keys(event_id, settings.shards)[1])
    there = {user.decode(): read_record(event_id, user.decode(), text) for user, text in records.items()}
    assert live == {user: booking for user, booking in there.items() if booking.status is not BookingStatus.EXPIRED}
