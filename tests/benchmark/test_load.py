"""The benchmark sends the planned load, and its figures agree with what a server received."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from scripts.benchmark.load import Load, Plan, Target, offer
from scripts.benchmark.processes import PartError


class Received:
    """What a server received: the token of each request, and the number of connections."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.connections = 0


@contextmanager
def server(status: int, seen: Received, headers: dict[str, str] | None = None) -> Iterator[str]:
    """A server that answers every POST with `status`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            seen.connections += 1
            super().setup()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.tokens.append(self.headers["Authorization"])
            self.send_response(status)
            for name, value in {"Content-Length": "2", **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


def target(url: str) -> Target:
    return Target(url, "/book", '{"event_id": 1}', "a secret that is as long as it has to be")


def test_a_closed_loop_sends_one_request_per_buyer_over_kept_connections() -> None:
    seen = Received()
    with server(201, seen) as url:
        [load] = offer([Plan(target(url), 0.3, connections=4)])
    assert load.answered == load.accepted == len(seen.tokens) == len(set(seen.tokens)) > 0
    assert (seen.connections, load.faults) == (4, [])


def test_with_a_connection_per_call_latency_counts_from_the_scheduled_time() -> None:
    seen = Received()
    with server(201, seen) as url:
        [load] = offer([Plan(target(url), 0.5, rate=40.0, connections=0, connection_per_call=True)])
    assert load.answered == seen.connections == len(seen.tokens) > 0
    assert 0 < load.from_sent.quantile_ns(0.5) <= load.from_due.quantile_ns(0.5)


def test_buyers_may_repeat_and_a_refusal_without_retry_after_is_counted() -> None:
    seen = Received()
    with server(503, seen) as url:
        [load] = offer([Plan(target(url), 0.3, connections=2, buyers=3)])
    assert len(set(seen.tokens)) == 3 < len(seen.tokens)
    assert load.turned_away == load.without_retry_after == load.answered
    assert load.faults == [f"{load.answered} requests were refused"]


def test_a_load_without_any_answer_is_an_error() -> None:
    [load] = offer([Plan(target("http://127.0.0.1:9"), 0.1, rate=50.0, connections=0, connection_per_call=True)])
    assert load.unanswered > 0
    assert load.faults == [f"{load.unanswered} requests never got an answer"]


def test_a_generator_that_fails_gives_the_reason() -> None:
    with pytest.raises(PartError, match="a load generator failed"):
        offer([Plan(target("nowhere"), 0.1)])


def test_the_loads_of_several_processes_are_added() -> None:
    together = Load()
    for _ in range(2):
        load = Load(seconds=2.0, unanswered=1)
        load.statuses[201] = 5
        load.from_due.record(3_000_000)
        together.add(load.to_json())
    assert (together.answered, together.unanswered, together.per_second) == (10, 2, 5.0)
    assert together.from_due.count == 2
