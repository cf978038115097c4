"""`booking persist` by itself: what it says, and to whom; its health and metrics."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import httpx
import pytest

from booking.cli.main import main
from booking.persister.persister import Health
from booking.processes.health import PERSISTER, STALLED_SECONDS, serving_health
from booking.processes.listening_sockets import bind
from booking.settings import Settings
from tests.fixtures.commands import run_command
from tests.fixtures.forks import ForkedProgram
from tests.fixtures.service import running_service
from tests.fixtures.waiting import eventually

PATIENCE_SECONDS = 60


def environment(**more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("BOOKING_")}
    return own | more


@dataclass(frozen=True, slots=True)
class Waiting:
    """A persister that waits for a Redis that is away."""

    process: ForkedProgram
    output: TextIO
    """What reads its standard output: the only end of the pipe."""
    errors: Path


@pytest.fixture
def waiting(tmp_path: Path, port: int) -> Iterator[Waiting]:
    """One whose first line is to be read."""
    its = environment(
        BOOKING_DATA_DIR=str(tmp_path), BOOKING_REDIS_URL="redis://127.0.0.1:1", BOOKING_PERSIST_PORT=str(port)
    )
    assert run_command(["migrate"], its).returncode == 0
    pipe, errors = tmp_path / "pipe", tmp_path / "errors"
    os.mkfifo(pipe)
    process = ForkedProgram(main, ["persist"], its, output=pipe, errors=errors)
    try:
        with pipe.open() as output:
            yield Waiting(process, output, errors)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def port() -> int:
    """A free port."""
    with bind("127.0.0.1", 0) as free:
        number: int = free.getsockname()[1]
        return number


def answer(port: int, path: str) -> tuple[int, str]:
    response = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
    return response.status_code, response.text


def sample(port: int, name: str) -> float | None:
    """A metric's value; None if it is not there."""
    status, text = answer(port, "/metrics")
    assert status == 200
    values = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(values[0]) if values else None


def test_the_persister_logs_like_workers_and_runs_on_if_its_output_is_closed(
    waiting: Waiting,
) -> None:
    line = json.loads(waiting.output.readline())
    assert (line["level"], line["event"]) == ("warning", "the persister waits")
    waiting.output.close()
    waiting.process.send_signal(signal.SIGTERM)  # which is logged, too
    assert waiting.process.wait(PATIENCE_SECONDS) == 0
    assert waiting.errors.read_text() == ""


def test_a_persister_that_waits_for_redis_is_alive_and_says_that_it_waits(waiting: Waiting, port: int) -> None:
    waiting.output.readline()  # "the persister waits"
    assert answer(port, "/healthz") == (200, '{"status":"alive"}')
    assert sample(port, "booking_persister_up") == 0
    assert answer(port, "/book")[0] == 404
    waiting.process.send_signal(signal.SIGTERM)
    assert waiting.process.wait(PATIENCE_SECONDS) == 0


def test_a_persister_tells_what_it_has_written(tmp_path: Path, port: int) -> None:
    with running_service(tmp_path / "data", arguments=["--without-persister"]) as service:
        its = environment(
            BOOKING_DATA_DIR=str(service.data_dir),
            BOOKING_REDIS_URL=f"unix://{service.data_dir}/redis.sock",
            BOOKING_PERSIST_PORT=str(port),
        )
        process = ForkedProgram(main, ["persist"], its, output=tmp_path / "log")
        try:
            eventually(lambda: is_up(port), "it has reached Redis and SQL")
            organizer = {"Authorization": f"Bearer {service.token('o', 'organizer')}"}
            event = {"event_name": "E", "available_tickets": 1}
            made = httpx.post(f"{service.base_url}/initialize", json=event, headers=organizer, trust_env=False)
            assert made.status_code == 201
            eventually(lambda: sample(port, "booking_persisted_rows_total") == 1, "the event is counted")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_SECONDS)


def is_up(port: int) -> bool:
    try:
        return sample(port, "booking_persister_up") == 1
    except httpx.ConnectError:
        return False


def test_a_persister_that_stands_still_is_not_healthy(tmp_path: Path, port: int) -> None:
    settings = Settings(data_dir=tmp_path, persist_port=port)
    health = Health()
    with serving_health(settings, health, PERSISTER):
        assert answer(port, "/healthz")[0] == 200
        health.turned_at = time.monotonic() - STALLED_SECONDS - 1
        assert answer(port, "/healthz") == (503, '{"status":"stalled"}')


def test_a_port_that_is_taken_is_one_line_and_exit_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        its = environment(
            BOOKING_DATA_DIR=str(tmp_path), BOOKING_REDIS_URL="redis://127.0.0.1:1", BOOKING_PERSIST_PORT=str(port)
        )
        ended = run_command(["persist"], its)
    reason = f"127.0.0.1:{port}: Address already in use"
    assert (ended.returncode, ended.stderr) == (2, f"booking: BOOKING_HOST, BOOKING_PERSIST_PORT: {reason}\n")
