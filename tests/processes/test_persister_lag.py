"""If the persister falls too far behind, sales stop before Redis is full, and resume when it has caught up."""

import sqlite3
from pathlib import Path

import httpx

from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually
from tests.processes.connections import look, open_sale

LIMIT = 1_000


def book(http: httpx.Client, service: RunningService, user: str, event_id: int) -> httpx.Response:
    token = service.token(user)
    return http.post("/book", json={"event_id": event_id}, headers={"Authorization": f"Bearer {token}"})


def test_sales_stop_beyond_the_lag_limit_until_the_persister_has_caught_up(tmp_path: Path) -> None:
    settings = {"BOOKING_PERSISTER_LAG_LIMIT": str(LIMIT), "BOOKING_RATE_LIMIT": "off"}
    with (
        running_service(tmp_path / "data", settings) as service,
        httpx.Client(base_url=service.base_url, timeout=30, trust_env=False) as http,
    ):
        event_id, other = open_sale(service), open_sale(service)
        lock = sqlite3.connect(service.data_dir / "booking.sqlite3", timeout=20, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")  # no other process can write
        sold = 0
        while (answer := book(http, service, f"buyer-{sold}", event_id)).status_code == 201:
            sold += 1
            assert sold <= LIMIT + 1, "sales did not stop"
        assert sold >= LIMIT - 10
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert look(service, event_id)["tickets_sold"] == sold, "a refused booking exists"
        mine = {"Authorization": f"Bearer {service.token('buyer-0')}"}
        assert http.get(f"/events/{event_id}/booking", headers=mine).status_code == 200
        assert http.post("/cancel", json={"event_id": event_id}, headers=mine).status_code == 200
        assert book(http, service, "elsewhere", other).status_code == 201, "another shard's sale stopped, too"
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["parts"]["persister"]["ok"]) == (503, False)

        lock.close()
        eventually(lambda: http.get("/readyz").status_code == 200, "the persister has caught up")
        assert book(http, service, "late", event_id).status_code == 201
        eventually(lambda: http.get("/readyz").json()["parts"]["persister"]["lag_entries"] == 0, "SQL has it all")
        boss = {"Authorization": f"Bearer {service.token('boss', 'organizer')}"}
        audit = http.get(f"/events/{event_id}/audit", headers=boss).json()["data"]
        assert (audit["ok"], audit["differences"]) == (True, [])
        assert look(service, event_id)["tickets_sold"] == sold
