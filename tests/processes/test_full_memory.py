"""The embedded server's memory is full: bookings are refused whole, and people can still log in and cancel."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests.contract.api import Api, open_api
from tests.contract.client import fresh
from tests.fixtures.commands import run_command
from tests.fixtures.service import running_service


def book(api: Api, event_id: int) -> httpx.Response:
    """A new user's booking."""
    headers = {"Authorization": api.user().authorization or ""}
    return api.http.post("/book", json={"event_id": event_id}, headers=headers)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[Api, int, str]]:
    """A service whose Redis is full, with an event, and the email of an account that has booked."""
    with running_service(tmp_path / "data", {"BOOKING_REDIS_MEMORY_MB": "64"}) as service, open_api(service) as api:
        event_id = api.event(available_tickets=1_000_000)
        email, password = f"{fresh('ann')}@example.com", "correct horse"
        account = api.anyone.post("/auth/register", {"email": email, "password": password})
        assert api.with_token(account.data["token"]).book(event_id).status == 201
        with Redis(unix_socket_path=str(tmp_path / "data" / "redis.sock")) as redis:
            assert redis.config_get("maxmemory") == {"maxmemory": "64000000"}
            redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) // 2)
        yield api, event_id, email


def test_a_booking_is_refused_whole_and_a_buyer_can_log_in_and_cancel(full: tuple[Api, int, str]) -> None:
    api, event_id, email = full
    before = api.look(event_id)
    refused = book(api, event_id)
    assert (refused.status_code, refused.json()["code"]) == (503, "inventory_unavailable")
    assert api.look(event_id) == before
    login = api.anyone.post("/auth/login", {"email": email, "password": "correct horse"})
    assert login.status == 200, login
    assert api.with_token(login.data["token"]).cancel(event_id, key="cancel").status == 200
    after = api.look(event_id)
    assert (after["tickets_sold"], after["seq"]) == (before["tickets_sold"] - 1, before["seq"] + 1)


def test_readiness_the_metrics_and_doctor_tell_that_redis_is_full(full: tuple[Api, int, str]) -> None:
    api, _, _ = full
    found = api.http.get("/readyz")
    redis = found.json()["parts"]["redis"]
    assert (found.status_code, redis["ok"]) == (503, False)
    assert redis["memory_bytes"] >= redis["memory_bytes_max"] > 0
    assert "bookings are refused" in redis["reason"]
    assert f"booking_redis_memory_bytes_max {redis['memory_bytes_max']}" in api.http.get("/metrics").text
    doctor = run_command(["doctor", "--json"], api.environment)
    (memory,) = (one for one in json.loads(doctor.stdout)["findings"] if one["name"] == "Redis memory")
    assert memory["verdict"] == "warning"
    assert "BOOKING_REDIS_MEMORY_MB" in memory["advice"]
