"""The whole service on PostgreSQL, by setting one URL."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx

from booking.ledger import Ledger
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually

ACCOUNT = {"email": "Ada@Example.com", "password": "correct horse"}


async def confirmed(url: str, event_id: int) -> list[str]:
    """The users whose bookings of an event are confirmed in the database."""
    ledger = Ledger.open(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    try:
        return [booking.user_id async for booking in ledger.live_bookings(event_id)]
    finally:
        await ledger.close()


def post(service: RunningService, path: str, body: Mapping[str, object], **how: object) -> httpx.Response:
    return httpx.post(f"{service.base_url}{path}", json=body, **how)  # type: ignore[arg-type]  # httpx's own options


def test_a_sale_runs_on_postgresql_and_continues_after_a_restart(tmp_path: Path, postgres_url: str) -> None:
    with running_service(tmp_path / "data", {"BOOKING_DATABASE_URL": postgres_url}) as service:
        organizer = {"Authorization": f"Bearer {service.token('boss', 'organizer')}"}
        event_id = post(service, "/initialize", {"name": "A night", "available_tickets": 3}, headers=organizer).json()[
            "event_id"
        ]
        user = post(service, "/auth/register", ACCOUNT).json()["data"]["user"]
        basic = (ACCOUNT["email"].upper(), ACCOUNT["password"])
        assert post(service, "/book", {"event_id": event_id}, auth=basic).status_code == 201

        assert service.stop() == 0
        assert asyncio.run(confirmed(postgres_url, event_id)) == [f"account:{user['id']}"]
        service.start()

        assert post(service, "/auth/login", ACCOUNT).status_code == 200
        assert post(service, "/book", {"event_id": event_id}, auth=basic).json()["code"] == "already_booked"
        guest = {"Authorization": f"Bearer {service.token('guest')}"}
        assert post(service, "/book", {"event_id": event_id}, headers=guest).status_code == 201
        both = [f"account:{user['id']}", "guest"]
        eventually(lambda: asyncio.run(confirmed(postgres_url, event_id)) == both, "PostgreSQL has both bookings")
    assert not (tmp_path / "data" / "booking.sqlite3").exists()
