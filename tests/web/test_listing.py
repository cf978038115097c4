"""The list of sales, read by many while tickets are sold."""

import asyncio
from pathlib import Path

import httpx

from tests.fixtures.service import RunningService, running_service

EVENTS = 100
READERS = 40


async def rush(service: RunningService, event_id: int) -> tuple[list[int], list[int]]:
    """Reads the whole list many times at once while as many book; every status that came."""
    async with httpx.AsyncClient(base_url=service.base_url, trust_env=False, timeout=60) as http:
        lists = [http.get("/events", params={"limit": EVENTS}) for _ in range(READERS)]
        bookings = [
            http.post(
                "/book",
                json={"event_id": event_id},
                headers={"Authorization": f"Bearer {service.token(f'buyer-{number}')}"},
            )
            for number in range(READERS)
        ]
        answers = await asyncio.gather(*lists, *bookings)
        statuses = [answer.status_code for answer in answers]
        return statuses[:READERS], statuses[READERS:]


def test_readers_of_the_list_leave_room_in_the_queue_for_buyers(tmp_path: Path) -> None:
    # A queue with room for two lists and the buyers.
    settings = {"BOOKING_QUEUE_LIMIT": str(2 * EVENTS + READERS), "BOOKING_RATE_LIMIT": "off"}
    with running_service(tmp_path / "data", settings) as service:
        organizer = {"Authorization": f"Bearer {service.token('boss', 'organizer')}"}
        with httpx.Client(base_url=service.base_url, headers=organizer, trust_env=False) as http:
            for number in range(EVENTS):
                made = http.post("/initialize", json={"name": f"Night {number}", "available_tickets": 1_000})
                assert made.status_code == 201
        lists, bookings = asyncio.run(rush(service, made.json()["event_id"]))
    assert lists == [200] * READERS
    assert bookings == [201] * READERS
