"""Where the service is reached: several addresses, and below a path of a proxy that strips the path or leaves it."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from booking.processes import listening_sockets
from booking.processes.listening_sockets import listen
from tests.fixtures.service import RunningService, both_answer, running_service
from tests.fixtures.waiting import eventually

ROOT = "/tickets"


def test_a_service_listens_on_ipv4_and_ipv6_at_once(tmp_path: Path) -> None:
    settings = {"BOOKING_HOST": "::1, 127.0.0.1", "BOOKING_WORKERS": "2"}
    with running_service(tmp_path / "data", settings) as service:
        port = urlsplit(service.base_url).port
        for host in ("[::1]", "127.0.0.1"):
            ask = partial(httpx.get, f"http://{host}:{port}/healthz", timeout=10)
            eventually(partial(both_answer, ask, 200), f"both workers answer at {host}")


def test_a_port_that_the_system_chooses_is_free_at_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    others = list[socket.socket]()

    def listen_too_late(host: str, port: int) -> socket.socket:
        if host == "127.0.0.1" and not others:
            others.append(listen(host, port))  # another program has taken the port meanwhile
        return listen(host, port)

    monkeypatch.setattr(listening_sockets, "listen", listen_too_late)
    listeners = listening_sockets.Listeners(["::1", "127.0.0.1"], 0, 2)
    try:
        ports = {one.getsockname()[1] for worker in (1, 2) for one in listeners.of(worker)}
        assert ports == {listeners.port}
        assert others[0].getsockname()[1] not in ports
        assert listeners.url.endswith(f":{listeners.port}")
    finally:
        listeners.close()
        others[0].close()


@contextmanager
def proxy(backend: str, *, strips: bool) -> Iterator[str]:
    """A proxy that serves `backend` below ROOT. Yields the address of ROOT, with a slash at the end."""

    class Handler(BaseHTTPRequestHandler):
        def _forward(self) -> None:
            if not self.path.startswith(f"{ROOT}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.removeprefix(ROOT) if strips else self.path
            headers = {**dict(self.headers.items()), "Accept-Encoding": "identity"}
            answer = httpx.request(self.command, backend + path, content=body, headers=headers, timeout=20)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PATCH = _forward  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{ROOT}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def below_a_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(tmp_path_factory.mktemp("path") / "data", {"BOOKING_ROOT_PATH": ROOT}) as service:
        yield service


@pytest.fixture(params=[True, False], ids=["stripped", "left"])
def address(below_a_path: RunningService, request: pytest.FixtureRequest) -> Iterator[str]:
    with proxy(below_a_path.base_url, strips=request.param) as url:
        yield url


def test_every_link_of_a_page_leads_below_the_path(address: str) -> None:
    waiting, seen = [address, f"{address}console", f"{address}docs", f"{address}sale/999"], set[str]()
    with httpx.Client(timeout=20) as http:
        while waiting:
            url = waiting.pop()
            if url in seen:
                continue
            seen.add(url)
            answer = http.get(url)
            assert answer.status_code == (404 if "/sale/" in url else 200), url
            if answer.headers["content-type"].startswith("text/html"):
                waiting += [urljoin(url, link) for link in re.findall(r'(?:href|src|spec-url)="([^"]+)"', answer.text)]
            if url.endswith(".js"):
                waiting += [urljoin(url, f"./{name}") for name in re.findall(r'from "\./([a-z_]+\.js)"', answer.text)]
    assert len(seen) > 60, "pages, scripts, styles, problems"


def test_locations_problems_and_the_document_carry_the_path(below_a_path: RunningService, address: str) -> None:
    organizer = {"Authorization": f"Bearer {below_a_path.token('ann', 'organizer')}"}
    made = httpx.post(
        f"{address}initialize", json={"event_name": "x", "available_tickets": 1}, headers=organizer, timeout=20
    )
    event = urljoin(address, made.headers["location"])
    assert event.startswith(address)
    assert httpx.get(event, timeout=20).status_code == 200
    booked = httpx.post(f"{address}book", json={"event_id": made.json()["event_id"]}, headers=organizer, timeout=20)
    booking = urljoin(address, booked.headers["location"])
    assert httpx.get(booking, headers=organizer, timeout=20).json()["data"]["id"] == booked.json()["data"]["id"]
    again = httpx.post(f"{address}book", json={"event_id": made.json()["event_id"]}, headers=organizer, timeout=20)
    for problem in (again, httpx.get(f"{address}nowhere", timeout=20), httpx.get(f"{address}bookings", timeout=20)):
        kind = problem.json()["type"]
        assert kind == f"{ROOT}/problems/{problem.json()['code']}"
        assert httpx.get(urljoin(address, kind), timeout=20).status_code == 200
    document = httpx.get(f"{address}openapi.json", timeout=20).json()
    assert [server["url"] for server in document["servers"]] == [ROOT]
    assert "/book" in document["paths"]
    assert f"{ROOT}/problems/sold_out" in str(document["components"])
    assert "'/problems/sold_out'" not in str(document["components"])


def test_a_path_that_only_begins_like_the_root_is_not_found(below_a_path: RunningService) -> None:
    for path in (f"{ROOT}x", f"{ROOT}{ROOT}/events", f"{ROOT}/"):
        answer = httpx.get(below_a_path.base_url + path, timeout=20)
        assert answer.status_code == (200 if path == f"{ROOT}/" else 404), path
