"""A short run of `scripts/fuzz`: what the document allows, what it does not, and hostile input."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tests.fixtures.service import RunningService
from tests.fuzz.__main__ import play
from tests.fuzz.counter import Tally
from tests.fuzz.hostile import BODIES, Call, Sender, calls

REQUESTS = 300
PATIENCE_SECONDS = 300
SEED = 1


@pytest.mark.timeout(PATIENCE_SECONDS)
def test_a_short_fuzz_run_finds_no_fault(service: RunningService) -> None:
    tally = Tally()
    play(service, REQUESTS, SEED, tally)
    assert tally.faults == []
    assert tally.requests >= REQUESTS
    assert len({label for label, _ in tally.answers}) >= 22


def test_every_operation_is_asked_in_every_place() -> None:
    made = list(calls(SEED))
    assert len(made) > 9_000
    assert {why for one in made if one.label == "POST /book" for why in [one.why]} >= BODIES.keys()
    assert {one.label for one in made} >= {"GET /events/{event_id}/live", "POST /auth/login", "GET /metrics"}
    assert [one.why for one in made] == [one.why for one in calls(SEED)]
    assert [one.why for one in made] != [one.why for one in calls(SEED + 1)]


@contextmanager
def answering(status: int, content_type: str, body: bytes) -> Iterator[str]:
    """A service that gives the same answer to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Request-ID", "x")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def found(status: int, content_type: str, body: bytes, *, refused: bool = False) -> list[str]:
    tally = Tally()
    with answering(status, content_type, body) as url:
        sender = Sender(url, "Bearer x", tally)
        sender.send(Call("POST /book", "POST", "/book", (), b"{", "half an object", refused))
        sender.close()
    assert tally.requests == 1
    return tally.faults


def test_wrong_answers_of_a_service_are_found() -> None:
    assert found(500, "application/problem+json", b"{}")
    assert found(404, "text/html", b"<p>none")
    assert found(418, "application/problem+json", b"{}")
    assert found(200, "application/json", b'{"error": false}', refused=True)
    booking = {"id": "1-2", "event_id": 1, "user_id": "ada", "quantity": 1, "status": "waiting", "source": "sale"}
    waiting = {"error": False, "message": "x", "data": {**booking, "created_at": "2026-11-22T21:30:00.125Z"}}
    assert found(202, "application/json", json.dumps(waiting).encode()) == []
    assert found(202, "application/json", json.dumps(waiting).encode(), refused=True)


def test_a_service_that_is_not_there_is_a_fault() -> None:
    tally = Tally()
    with answering(200, "text/plain", b"") as url:
        pass
    sender = Sender(url, "Bearer x", tally)
    sender.send(Call("POST /book", "POST", "/book", (), b"{"))
    sender.close()
    assert "no answer" in tally.faults[0]
