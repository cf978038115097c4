"""`booking doctor` at a shell: with a running service, after it has stopped, and before the first start."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

from redis import Redis

from booking.cli.main import main
from tests.contract.api import open_api
from tests.fixtures.commands import run_command
from tests.fixtures.forks import ForkedProgram
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.terminals import shown_to_the_end
from tests.fixtures.waiting import eventually


def booking_doctor(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return run_command(["doctor", *arguments], environment)


def of(service: RunningService, *arguments: str) -> "subprocess.CompletedProcess[str]":
    settings = {"BOOKING_DATA_DIR": str(service.data_dir), "BOOKING_JWT_SECRET": service.secret}
    return booking_doctor(*arguments, **settings)


def of_emptied(service: RunningService, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """What the doctor finds just after Redis has lost its data; some seconds later the service has restored it."""
    found = []

    def is_told() -> bool:
        with Redis(unix_socket_path=f"{service.data_dir}/redis.sock") as redis:
            redis.flushall()
        found.append(of(service, *arguments))
        return found[-1].returncode == 1

    eventually(is_told, "the doctor finds a fault")
    return found[-1]


def names(text: str) -> dict[str, str]:
    """Each finding's verdict by its name; of several with one name, the last."""
    return {line[9:26].rstrip(): line[:7].rstrip() for line in text.splitlines()[:-1]}


def test_before_the_first_start_the_doctor_finds_no_fault_and_creates_nothing(tmp_path: Path) -> None:
    ended = booking_doctor(BOOKING_DATA_DIR=str(tmp_path / "data"))
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert names(ended.stdout)["Redis"] == names(ended.stdout)["database"] == "ok"
    assert "\x1b" not in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_beside_a_running_service_all_is_checked_and_a_fault_is_exit_code_1(tmp_path: Path) -> None:
    with running_service(tmp_path / "data") as service:
        with open_api(service) as api:
            api.sold_out()
        well = of(service)
        assert (well.returncode, well.stderr) == (0, ""), well.stdout
        found = names(well.stdout)
        assert set(found.values()) <= {"ok", "warning"}
        assert set(found) >= {
            "settings", "data folder", "disk space", "service", "Redis", "Redis version", "Redis eviction",
            "Redis memory", "Redis persistence", "Redis topology", "acknowledged is", "database", "migrations",
            "shards", "persister", "token secret", "clock", "open files",
        }  # fmt: skip
        assert "ready (worker-1, persister, outbox, redis)" in well.stdout
        assert service.secret not in well.stdout
        program = json.loads(of(service, "--json").stdout)
        assert program["ok"]
        assert program["settings"]["jwt_secret"] == {"value": "(set)", "set": True}
        assert {one["verdict"] for one in program["findings"]} <= {"ok", "warning"}
        ill = of_emptied(service)
        assert names(ill.stdout)["shards"] == names(ill.stdout)["service"] == "fault"
        assert "booking restore" in ill.stdout
        assert not json.loads(of_emptied(service, "--json").stdout)["ok"]
    stopped = of(service)
    assert names(stopped.stdout)["service"] == "ok"
    assert names(stopped.stdout)["migrations"] == "ok"
    assert "8 in the database" in stopped.stdout
    assert "persister" not in names(stopped.stdout)


def test_a_terminal_is_shown_a_table_in_colour_unless_its_owner_wants_none(tmp_path: Path) -> None:
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        keyboard, terminal = pty.openpty()
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "100", **variables}
        environment |= {"BOOKING_DATA_DIR": str(tmp_path / "data"), "BOOKING_RATE_LIMIT": "off"}
        process = ForkedProgram(main, ["doctor"], environment, output=Path(os.ttyname(terminal)))
        shown = os.read(keyboard, 65_536)
        os.close(terminal)  # the command has opened it
        shown += shown_to_the_end(keyboard)
        assert process.wait(60) == 0
        text = shown.decode()
        assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", text)) == coloured
        assert "→ set BOOKING_RATE_LIMIT to on" in re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_wrong_setting_is_one_line_and_exit_code_2() -> None:
    ended = booking_doctor(BOOKING_WORKERS="none")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("booking: BOOKING_WORKERS: ")
