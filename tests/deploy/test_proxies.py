"""The configurations of HAProxy and nginx, as they are in scripts/deploy, with the addresses of this machine."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import orjson
import pytest

from tests.fixtures.front_proxies import free_port, haproxy, nginx
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.waiting import eventually

BUYERS = 30
CONNECTIONS_MAX = 5
"""Connections over which a proxy may send the calls of BUYERS, one after the other."""

CALLS_MAX = 5_000
"""Calls during a stop, which takes some seconds."""


PROXIES = {"haproxy": haproxy, "nginx": nginx}


class Counted:
    """Passes connections on to a port, and keeps the first bytes of each."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.firsts: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            node = socket.create_connection(("127.0.0.1", self._upstream))
            threading.Thread(target=self._pass_on, args=(client, node, self.firsts.append), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(node, client, lambda _: None), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket, first: Callable[[bytes], object]) -> None:
        with source, suppress(OSError):  # either end may go
            try:
                while data := source.recv(65_536):
                    first(data)
                    first = len
                    target.sendall(data)
            finally:
                target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    environment = {"BOOKING_RATE_LIMIT": "off", "BOOKING_TRUSTED_PROXIES": "127.0.0.1"}
    with running_service(tmp_path_factory.mktemp("node") / "data", environment) as service:
        yield service


@pytest.fixture
def counted(node: RunningService) -> Iterator[Counted]:
    counted = Counted(port_of(node))
    yield counted
    counted.close()


@pytest.fixture(params=sorted(PROXIES))
def url(request: pytest.FixtureRequest, tmp_path: Path, counted: Counted) -> Iterator[str]:
    """A proxy in front of one node that is away, and of one that serves."""
    with PROXIES[request.param](tmp_path, free_port(), counted.port) as url:
        eventually(lambda: status(f"{url}/healthz") == 200, "it has found the node")
        yield url


def port_of(service: RunningService) -> int:
    return int(service.base_url.rpartition(":")[2])


def status(url: str) -> int:
    return httpx.get(url, trust_env=False).status_code


def new_event(service: RunningService) -> int:
    response = httpx.post(
        f"{service.base_url}/initialize",
        json={"event_name": "E", "available_tickets": 10_000},
        headers={"Authorization": f"Bearer {service.token('o', 'organizer')}"},
        trust_env=False,
    )
    event_id: int = response.json()["event_id"]
    return event_id


def book(http: httpx.Client, service: RunningService, event_id: int, user: object, **headers: str) -> httpx.Response:
    token = {"Authorization": f"Bearer {service.token(user)}"}
    return http.post("/book", json={"event_id": event_id}, headers=token | headers)


def test_all_calls_reach_the_node_that_serves_over_few_connections(
    node: RunningService, counted: Counted, url: str
) -> None:
    event_id = new_event(node)
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
        answers = [book(http, node, event_id, number) for number in range(BUYERS)]
    assert [answer.status_code for answer in answers] == [201] * BUYERS
    calls = [first for first in counted.firsts if b" /book " in first]
    assert len(calls) <= CONNECTIONS_MAX


def test_a_node_logs_the_clients_own_address_whatever_it_claims(node: RunningService, url: str) -> None:
    transport = httpx.HTTPTransport(local_address="127.0.0.7")
    request_id = f"address-{url}"
    with httpx.Client(base_url=url, transport=transport, timeout=30) as http:
        headers = {"X-Forwarded-For": "203.0.113.9", "X-Request-ID": request_id}
        assert book(http, node, new_event(node), "ann", **headers).status_code == 201

    def lines() -> list[dict[str, object]]:
        found = [orjson.loads(line) for line in node.output.splitlines() if request_id in line]
        return [line for line in found if line["event"] == "request"]

    eventually(lambda: len(lines()) == 1, "the request is logged")
    assert (lines()[0]["client"], lines()[0]["node"]) == ("127.0.0.7", socket.gethostname())


def test_a_live_stream_is_passed_on_event_by_event(node: RunningService, url: str) -> None:
    event_id = new_event(node)
    with (
        httpx.Client(base_url=url, trust_env=False, timeout=30) as http,
        http.stream("GET", f"/events/{event_id}/live") as stream,
    ):
        tickets = (orjson.loads(line[5:])["available_tickets"] for line in stream.iter_lines() if line[:6] == "data: ")
        assert next(tickets) == 10_000
        assert book(http, node, event_id, "ann").status_code == 201
        assert next(tickets) == 9_999


def test_what_is_for_people_inside_is_not_passed_on(url: str) -> None:
    paths = ["/metrics", "/readyz", "/%6detrics", "/metrics?x", "/healthz"]
    found = [status(f"{url}{path}") for path in paths]
    assert found == [404, 404, 404, 404, 200]


class Stub(BaseHTTPRequestHandler):
    """A node that is alive and not ready, and ends the connection of a POST without an answer."""

    protocol_version = "HTTP/1.1"
    posts: list[str]

    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/readyz" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.posts.append(self.path)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.mark.parametrize("name", sorted(PROXIES))
def test_nodes_that_are_not_ready_serve_if_none_is_and_no_post_is_sent_twice(name: str, tmp_path: Path) -> None:
    posts: list[str] = []
    handler = type("OneStub", (Stub,), {"posts": posts})
    nodes = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    for one in nodes:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    try:
        with PROXIES[name](tmp_path, nodes[0].server_port, nodes[1].server_port) as url:
            eventually(lambda: status(f"{url}/status/1") == 200, "sales go on")
            assert httpx.post(f"{url}/book", json={"event_id": 1}, trust_env=False).status_code == 502
            assert posts == ["/book"]
    finally:
        for one in nodes:
            one.shutdown()
            one.server_close()


def test_no_call_fails_while_a_node_behind_haproxy_stops(node: RunningService, tmp_path: Path) -> None:
    environment = {
        "BOOKING_JWT_SECRET": node.secret,
        "BOOKING_RATE_LIMIT": "off",
        "BOOKING_REDIS_URL": f"unix://{node.data_dir}/redis.sock",
        "BOOKING_DATABASE_URL": f"sqlite:///{node.data_dir}/booking.sqlite3",
        "BOOKING_DRAIN_SECONDS": "4",
    }
    event_id = new_event(node)
    with (
        running_service(tmp_path / "data", environment, ["--without-persister"]) as other,
        haproxy(tmp_path, port_of(node), port_of(other)) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as http,
    ):
        eventually(lambda: http.get("/healthz").status_code == 200, "it has found the nodes")

        def booked_by(service: RunningService) -> bool:
            return '"route":"/book"' in service.output

        users = iter(range(CALLS_MAX))
        statuses = []
        while not (booked_by(node) and booked_by(other)):
            statuses.append(book(http, node, event_id, next(users)).status_code)
        other.kill("service", signal.SIGTERM)
        assert other.process is not None
        while other.process.poll() is None:
            statuses.append(book(http, node, event_id, next(users)).status_code)
        statuses += [book(http, node, event_id, next(users)).status_code for _ in range(BUYERS)]
    assert set(statuses) == {201}
