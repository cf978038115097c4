"""Load shedding: which requests are accepted and which are rejected under overload."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from starlette.types import Receive, Scope, Send

from booking.http import load_shedding as module
from booking.http.load_shedding import LoadShedder
from booking.http.worker import HttpWorker
from booking.web.routes import is_sheddable

from .serving import make_worker, serving
from .test_protocol import WAIT_SECONDS, answer, respond, until

BOOK = b"POST /book HTTP/1.1\r\nHost: x\r\n%bContent-Length: 2\r\n\r\n{}"
TARGET = module.DELAY_SECONDS_TARGET


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/book"), ("POST", "/cancel"), ("POST", "/confirm"), ("GET", "/status/7"), ("GET", "/events/7"),
        ("GET", "/events/7/booking"),
    ],
)  # fmt: skip
def test_requests_of_buyers_may_be_rejected(method: str, path: str) -> None:
    assert is_sheddable(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/events/7/live"), ("GET", "/events"),
        ("GET", "/events/7/bookings"), ("PATCH", "/events/7"), ("HEAD", "/status/7"), ("POST", "/initialize"),
        ("POST", "/auth/login"),
    ],
)  # fmt: skip
def test_management_requests_and_streams_are_never_rejected(method: str, path: str) -> None:
    assert not is_sheddable(method, path)


class Clock:
    """The event loop's time, set by a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)

    def late_for(self, shedder: LoadShedder, seconds: float, delay: float) -> None:
        """Reports ten late batches a second for this long."""
        for _ in range(round(seconds * 10)):
            shedder.observe_delay(delay, 50)
            self.now += 0.1


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_a_standing_queue_reduces_the_limit_to_what_is_answered_in_time(clock: Clock) -> None:
    shedder = LoadShedder()
    shedder.in_flight = 900
    clock.late_for(shedder, module.STANDING_SECONDS + 0.2, 1.5 * TARGET)
    assert shedder.limit == pytest.approx(900 / 1.5)


async def test_the_queue_of_a_burst_does_not_reduce_the_limit(clock: Clock) -> None:
    shedder = LoadShedder()
    for _ in range(5):
        clock.late_for(shedder, module.STANDING_SECONDS, 20 * TARGET)
        shedder.observe_delay(0.001, 50)
    assert shedder.limit == module.LIMIT_AT_FIRST


async def test_one_reduction_leaves_a_quarter_and_all_leave_the_minimum(clock: Clock) -> None:
    shedder = LoadShedder()
    shedder.in_flight = 100
    clock.late_for(shedder, module.STANDING_SECONDS + 0.2, 25 * TARGET)
    assert shedder.limit == module.LIMIT_AT_FIRST / module.CUT_MAX
    clock.late_for(shedder, 20, 25 * TARGET)
    assert shedder.limit == module.LIMIT_MIN


async def test_the_limit_grows_with_timely_commands_only_while_it_is_reached(clock: Clock) -> None:
    shedder = LoadShedder()
    shedder.in_flight = 900
    shedder.observe_delay(0.001, 160)
    grown = module.LIMIT_AT_FIRST + 160 * module.GROWTH
    assert shedder.limit == pytest.approx(grown)
    shedder.in_flight = 2
    shedder.observe_delay(0.001, 160)
    assert shedder.limit == pytest.approx(grown)
    shedder.in_flight, shedder.limit = module.LIMIT_MAX, module.LIMIT_MAX
    shedder.observe_delay(0.001, 160)
    assert shedder.limit == module.LIMIT_MAX


async def test_seconds_without_a_rejection_restore_the_first_limit() -> None:
    shedder = LoadShedder()
    shedder.limit, shedder.turned_away = module.LIMIT_MIN, 3
    assert shedder.relax() == 3
    assert shedder.limit == module.LIMIT_MIN
    assert [shedder.relax() for _ in range(10)] == [0] * 10
    assert shedder.limit == module.LIMIT_AT_FIRST
    shedder.limit = 3_000
    shedder.relax()
    assert shedder.limit == 3_000


@dataclass
class Slow:
    """An application whose bookings wait until the test releases them."""

    going: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        if scope["path"] == "/book":
            await self.going.wait()
        await respond(send, b"ok")


@dataclass
class Server:
    """A server with a limit of concurrent requests, and its clients."""

    address: tuple[str, int]
    worker: HttpWorker
    application: Slow
    clients: list[asyncio.StreamWriter] = field(default_factory=list)

    async def client(self, request: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.address)
        self.clients.append(writer)
        writer.write(request)
        return reader, writer

    async def full(self) -> asyncio.StreamReader:
        """Fills the only slot."""
        reader, _ = await self.client(BOOK % b"")
        await until(lambda: self.application.begun == ["/book"])
        return reader


@asynccontextmanager
async def server(limit: int, cors_origins: tuple[str, ...] = ()) -> AsyncIterator[Server]:
    application, worker = Slow(), make_worker(limit, cors_origins)
    async with serving(application, worker) as address:
        opened = Server(address, worker, application)
        try:
            yield opened
        finally:
            application.going.set()
            for writer in opened.clients:
                writer.close()


async def test_a_request_over_the_limit_gets_503_and_the_connection_stays_open() -> None:
    async with server(1) as opened:
        first = await opened.full()
        reader, writer = await opened.client(BOOK % b'X-Request-ID: my"own"one\\\r\n')
        status, head, body = await answer(reader)
        problem = json.loads(body)
        assert status == 503
        assert b"\r\nretry-after: 2\r\n" in head
        assert b"\r\ncontent-type: application/problem+json\r\n" in head
        assert b'\r\nx-request-id: my"own"one\\\r\n' in head
        assert b"\r\ndate: " in head
        assert b"connection" not in head
        assert (problem["code"], problem["status"], problem["request_id"]) == ("overloaded", 503, 'my"own"one\\')
        assert opened.application.begun == ["/book"], "a rejected request ran"
        opened.application.going.set()
        assert (await answer(first))[0] == 200
        writer.write(BOOK % b"")
        assert (await answer(reader))[0] == 200
        assert (opened.worker.shedder.in_flight, opened.worker.shedder.turned_away) == (0, 1)


@pytest.mark.parametrize(
    "request_line",
    [b"GET /healthz", b"GET /readyz", b"GET /metrics", b"PATCH /events/1", b"HEAD /status/1", b"POST /auth/login"],
)
async def test_other_requests_are_served_while_all_slots_are_taken(request_line: bytes) -> None:
    async with server(1) as opened:
        await opened.full()
        reader, _ = await opened.client(request_line + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(WAIT_SECONDS):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET http://x/status/1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%73tatus/1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /status/1?%20 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /status/1#x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /book HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /status/1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["a whole address", "escapes", "a query", "a fragment", "chunks", "behind another"],
)
async def test_no_form_of_a_request_bypasses_the_limit(request_bytes: bytes) -> None:
    async with server(1) as opened:
        first = await opened.full()
        reader, _ = await opened.client(request_bytes)
        if request_bytes.startswith(b"GET /healthz"):
            assert (await answer(reader))[0] == 200
        assert (await answer(reader))[0] == 503
        assert "/status/1" not in opened.application.begun
        opened.application.going.set()
        assert (await answer(first))[0] == 200
        assert (opened.worker.shedder.in_flight, opened.worker.shedder.turned_away) == (0, 1)


async def test_pipelined_requests_with_late_bodies_are_counted_and_rejected() -> None:
    async with server(1) as opened:
        await opened.full()
        clients = [
            await opened.client(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + (BOOK % b"")[:-1]) for _ in range(5)
        ]
        for reader, _ in clients:
            assert (await answer(reader))[0] == 200
        for _, writer in clients:
            writer.write(b"}")
        assert {(await answer(reader))[0] for reader, _ in clients} == {503}
        assert opened.application.begun.count("/book") == 1


async def test_a_request_whose_body_is_slow_takes_no_slot() -> None:
    async with server(1) as opened:
        slow = [await opened.client((BOOK % b"")[:-1]) for _ in range(5)]
        reader, _ = await opened.client(b"GET /status/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer(reader))[0] == 200
        opened.application.going.set()
        for reader, writer in slow:
            writer.write(b"}")
            assert (await answer(reader))[0] == 200
    assert (opened.worker.shedder.in_flight, opened.worker.shedder.turned_away) == (0, 0)


async def test_fast_refusals_do_not_hide_a_standing_queue(clock: Clock) -> None:
    """A 401 sends no command, so it does not raise the limit, which late batches reduce."""
    shedder = LoadShedder()
    shedder.in_flight = 1_000

    class Refused:
        gone = False

        def start(self) -> None:
            raise AssertionError

        turn_away = start

    for _ in range(5):
        for _ in range(500):
            assert shedder.admit(Refused())
            shedder.release()
        clock.late_for(shedder, 0.1, 1.0)
    assert shedder.limit == module.LIMIT_AT_FIRST, "the limit changed too early"
    clock.late_for(shedder, 0.2, 1.0)
    assert shedder.limit < module.LIMIT_AT_FIRST / 2


async def test_a_burst_gets_the_slots_that_are_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOT_WAIT_SECONDS_MAX", WAIT_SECONDS)
    async with server(2) as opened:
        readers = [(await opened.client(BOOK % b""))[0] for _ in range(20)]
        await until(lambda: len(opened.worker.shedder) == 18)
        opened.application.going.set()
        assert {(await answer(reader))[0] for reader in readers} == {200}
        assert opened.worker.shedder.turned_away == 0


async def test_a_client_that_leaves_while_it_waits_takes_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOT_WAIT_SECONDS_MAX", WAIT_SECONDS)
    async with server(1) as opened:
        first = await opened.full()
        _, leaves = await opened.client(BOOK % b"")
        last, _ = await opened.client(BOOK % b"")
        await until(lambda: len(opened.worker.shedder) == 2)
        leaves.transport.abort()
        await asyncio.sleep(0.05)
        opened.application.going.set()
        assert [(await answer(first))[0], (await answer(last))[0]] == [200, 200]
        await until(lambda: opened.worker.shedder.in_flight == 0)


async def test_a_half_closed_client_that_waits_gets_its_response() -> None:
    async with server(0) as opened:
        for _ in range(10):
            reader, writer = await opened.client(BOOK % b"")
            writer.write_eof()
            async with asyncio.timeout(WAIT_SECONDS):
                assert (await reader.read()).startswith(b"HTTP/1.1 503")


async def test_a_rejection_that_ends_its_connection_says_so() -> None:
    async with server(1) as opened:
        await opened.full()
        reader, _ = await opened.client(BOOK % b"Connection: close\r\n")
        status, head, _ = await answer(reader)
        assert (status, b"\r\nconnection: close\r\n" in head) == (503, True)
        assert await reader.read() == b""


@pytest.mark.parametrize(
    ("named", "origin", "allowed"),
    [
        (("https://shop.example",), b"https://shop.example", b"https://shop.example"),
        (("https://shop.example",), b"https://other.example", None),
        (("*",), b"https://other.example", b"*"),
        ((), b"https://shop.example", None),
    ],
)
async def test_an_allowed_origin_may_read_a_rejection_too(
    named: tuple[str, ...], origin: bytes, allowed: bytes | None
) -> None:
    async with server(1, named) as opened:
        await opened.full()
        reader, _ = await opened.client(BOOK % (b"Origin: %b\r\n" % origin))
        status, head, _ = await answer(reader)
        assert status == 503
        told = head.partition(b"access-control-allow-origin: ")[2].partition(b"\r\n")[0]
        assert told == (allowed or b"")
