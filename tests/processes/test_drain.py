"""Nothing listens before it can answer, and a proxy sees that a node is about to stop before its listener closes."""

import os
import signal
import socket
from pathlib import Path

import httpx

from booking.cli.main import main
from booking.processes.listening_sockets import bind
from tests.fixtures.forks import ForkedProgram
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually

LONG = "300"
"""Seconds of a drain that a second signal ends."""


def status_of(service: RunningService, path: str) -> tuple[int, object]:
    """The status of an answer on a new connection, and the status in its body; 0: it is refused."""
    try:
        response = httpx.get(f"{service.base_url}{path}", trust_env=False, timeout=60)
    except httpx.ConnectError:
        return 0, None
    return response.status_code, response.json()["status"]


def test_a_stopping_node_says_503_to_health_checks_and_serves_all_else(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", {"BOOKING_DRAIN_SECONDS": LONG}) as service:
        organizer, buyer = ({"Authorization": f"Bearer {service.token(*who)}"} for who in (("o", "organizer"), ("b",)))
        assert status_of(service, "/healthz") == (200, "alive")
        service.kill("service", signal.SIGTERM)
        eventually(lambda: status_of(service, "/healthz") == (503, "stopping"), "the health check says so")
        assert status_of(service, "/readyz") == (503, "unavailable")
        with httpx.Client(base_url=service.base_url, trust_env=False) as http:
            made = http.post("/initialize", json={"event_name": "E", "available_tickets": 1}, headers=organizer)
            booked = http.post("/book", json={"event_id": made.json()["event_id"]}, headers=buyer)
        assert (made.status_code, booked.status_code) == (201, 201)

        dead = service.kill("worker-1")
        eventually(lambda: service.parts().get("worker-1", dead) != dead, "another worker")
        eventually(lambda: status_of(service, "/healthz") == (503, "stopping"), "it knows that the node is stopping")
        # The end of the block sends another SIGTERM, which ends the drain, and checks the exit code.


def test_a_node_stops_by_itself_after_its_drain(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", {"BOOKING_DRAIN_SECONDS": "0.5"}) as service:
        service.kill("service", signal.SIGTERM)
        assert service.process is not None
        assert service.process.wait(60) == 0


def test_a_node_that_cannot_answer_yet_refuses_connections(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOOKING_")}
    with socket.create_server(("127.0.0.1", 0)) as mute:  # a Redis that never answers holds up the start
        with bind("127.0.0.1", 0) as free:
            port = free.getsockname()[1]
        environment |= {
            "BOOKING_DATA_DIR": str(tmp_path),
            "BOOKING_PORT": str(port),
            "BOOKING_REDIS_URL": f"redis://127.0.0.1:{mute.getsockname()[1]}",
        }
        process = ForkedProgram(main, ["serve"], environment, output=tmp_path / "log")
        try:
            connection, _ = mute.accept()
            with connection, socket.socket() as client:
                assert "starting" in (tmp_path / "log").read_text()
                assert client.connect_ex(("127.0.0.1", port)) != 0
        finally:
            process.kill()
            process.wait()
