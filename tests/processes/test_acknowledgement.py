"""BOOKING_ACK, as `booking serve` takes it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.contract.api import open_api
from tests.fixtures.commands import run_command
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.valkey import running_valkey


def test_the_default_acknowledgement_is_on_disk_and_the_start_says_so(service: RunningService) -> None:
    service.logs('"acknowledged":"disk"')
    ready = httpx.get(f"{service.base_url}/readyz", timeout=5).json()
    assert ready["parts"]["redis"]["acknowledged"] == "disk"


def test_at_level_database_the_change_is_in_sql_when_the_answer_comes(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", {"BOOKING_ACK": "database"}) as service, open_api(service) as api:
        event_id = api.event(available_tickets=50)
        for buyer in api.users(20):
            assert buyer.book(event_id).status == 201
            with closing(sqlite3.connect(service.data_dir / "booking.sqlite3")) as connection:
                found = connection.execute("SELECT count(*) FROM bookings WHERE user_id = ?", (buyer.id,)).fetchone()
            assert found == (1,), "SQL does not have the acknowledged change"
        priority = os.sched_getscheduler(service.parts()["persister"])
        assert priority == os.SCHED_OTHER, "buyers wait for a persister of low priority"


@pytest.mark.parametrize(
    ("level", "said"), [("disk", "appendonly yes"), ("replica", "0 replicas connected"), ("paper", "BOOKING_ACK")]
)
def test_an_unavailable_durability_level_ends_the_start_with_one_line(tmp_path: Path, level: str, said: str) -> None:
    with running_valkey() as server:
        environment = {
            "BOOKING_REDIS_URL": server.address,
            "BOOKING_DATA_DIR": str(tmp_path / "data"),
            "BOOKING_PORT": "0",
            "BOOKING_ACK": level,
        }
        ended = run_command(["serve"], environment)
    assert ended.returncode == 2, ended.stderr
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("booking: BOOKING_ACK"))
    assert said in line
    assert "Traceback" not in ended.stderr
