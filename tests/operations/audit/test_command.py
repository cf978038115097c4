"""`booking audit` at a shell, with a running service."""

import io
import json
import sqlite3
import subprocess
from pathlib import Path

from redis import Redis
from rich.console import Console

from booking.operations.audit.command import show
from booking.operations.audit.findings import EventAudit
from tests.contract.api import open_api
from tests.fixtures.commands import run_command
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually


def booking_audit(service: RunningService, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_command(["audit", *arguments], {"BOOKING_DATA_DIR": str(service.data_dir), "NO_COLOR": "1"})


def test_an_audit_reports_differences_advice_and_an_exit_code(tmp_path: Path) -> None:
    with running_service(tmp_path / "data") as service:
        with open_api(service) as api:
            event_id, (buyer,) = api.sold_out()
            path = f"/events/{event_id}/audit"
            eventually(lambda: bool(api.organizer.get(path).data["ok"]), "SQL has the bookings")
            sound = api.organizer.get(f"/events/{event_id}/audit")
            assert (sound.status, sound.data["ok"], sound.data["differences"]) == (200, True, [])
            assert sound.data["capacity"] == sound.data["tickets_sold"] == 1
            for _ in range(2):
                api.event()
            clean = booking_audit(service)
            assert (clean.returncode, clean.stderr) == (0, "")
            assert "3 events, all clean." in clean.stdout
            with Redis(unix_socket_path=str(service.data_dir / "redis.sock")) as redis:
                (bookings,) = redis.keys("*:bookings")
                redis.hdel(bookings, buyer.id)
            wrong = api.organizer.get(f"/events/{event_id}/audit")
            assert (wrong.status, wrong.data["ok"]) == (200, False)
            (difference,) = (one for one in wrong.data["differences"] if one["kind"] == "booking")
            assert (difference["user_id"], difference["redis"]) == (buyer.id, None)
            assert difference["database"]["status"] == "confirmed"
            assert api.organizer.get("/events/987654/audit").status == 404
            assert buyer.get(f"/events/{event_id}/audit").status == 403
            assert api.anyone.get(f"/events/{event_id}/audit").status == 401
        told = booking_audit(service)
        assert told.returncode == 1
        assert f"event {event_id}, user {buyer.id}: booking" in told.stdout
        assert "booking restore" in told.stdout
        as_json = booking_audit(service, str(event_id), "--json")
        assert as_json.returncode == 1
        assert json.loads(as_json.stdout)[0]["differences"][0]["kind"] == "booking"
        nothing = booking_audit(service, "987654")
        assert (nothing.returncode, nothing.stdout) == (2, "")
        assert nothing.stderr == "booking: there is no event 987654\n"
        beyond = booking_audit(service, str(2**63))
        assert (beyond.returncode, beyond.stdout) == (2, "")
        assert "Traceback" not in beyond.stderr
    away = booking_audit(service)
    assert away.returncode == 3
    assert away.stderr.startswith("booking: Redis cannot be read")


def test_a_user_id_cannot_control_the_operators_terminal() -> None:
    output = io.StringIO()
    audit = EventAudit(1)
    audit.find("booking", "ann\x1b[2J\nevent 2, all clean")
    show([audit], Console(file=output, width=200))
    assert "\x1b" not in output.getvalue()
    assert "event 1, user 'ann\\x1b[2J\\nevent 2, all clean': booking" in output.getvalue()


def test_every_event_of_either_side_is_audited(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", arguments=["--without-persister"]) as service:
        with open_api(service) as api:
            first = api.event()
            last, _ = api.sold_out()
            assert last == first + 1
        with Redis(unix_socket_path=str(service.data_dir / "redis.sock")) as redis:
            redis.incrby("booking:last-event", 3)  # given out, and never made an event
        with sqlite3.connect(service.data_dir / "booking.sqlite3") as database:
            columns = "name, capacity, max_per_user, hold_seconds, paused, created_at_ms, seq"
            database.execute(f"INSERT INTO events (id, {columns}) VALUES (987, 'lost', 1, 1, 0, 0, 1, 1)")
        database.close()
        told = booking_audit(service, "--json")
        assert (told.returncode, told.stderr) == (1, "")
        audits = json.loads(told.stdout)
        found = [(one["event_id"], [difference["kind"] for difference in one["differences"]]) for one in audits]
        assert found == [(first, ["event_missing"]), (last, ["event_missing"]), (987, ["event_missing"])]


def test_an_unreachable_redis_is_reported_even_without_events(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    environment = {"BOOKING_DATA_DIR": str(data_dir), "BOOKING_REDIS_URL": "redis://127.0.0.1:1"}
    for command, code in (("migrate", 0), ("audit", 3)):
        ended = run_command([command], environment)
        assert ended.returncode == code, ended
    assert ended.stderr.startswith("booking: Redis cannot be read")
    assert ended.stderr.count("\n") == 1
