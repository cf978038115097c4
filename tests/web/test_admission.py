"""Who is taken on and who is turned away when more come than can be answered soon."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from starlette.types import Receive, Scope, Send

from booking.metrics import Meters
from booking.processes import web_server as server_module
from booking.processes.listening_sockets import listen
from booking.processes.web_server import Server, configuration
from booking.settings import Settings
from booking.web import admission as module
from booking.web import anteroom, connection
from booking.web.admission import Admission, is_quick
from booking.web.refusal import Refusal

PATIENCE_SECONDS = 20
"""A bound on waits that would otherwise be for ever; not a measurement."""

BOOK = b"POST /book HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n%b\r\n{}"


@pytest.mark.parametrize("url", [b"/book", b"/cancel", b"/confirm", b"/status/7", b"/events/7", b"/events/7/booking"])
def test_what_a_crowd_asks_for_is_counted(url: bytes) -> None:
    assert is_quick(url)
    assert any((method + url + b" HTTP/1.1").startswith(module.CROWD) for method in (b"GET ", b"POST "))


@pytest.mark.parametrize(
    "url", [b"/healthz", b"/readyz", b"/metrics", b"/events/7/live", b"/events/7/bookings", b"/bookings", b"/events"]
)
def test_what_is_asked_about_the_service_or_lasts_is_not(url: bytes) -> None:
    assert not is_quick(url)


@pytest.mark.parametrize("url", [b"/book?x", b"/events/7?_=123", b"/status/7?"])
def test_a_query_makes_no_difference_to_that(url: bytes) -> None:
    assert is_quick(url)


def answered_at(admission: Admission, place: int, began: float, now: float) -> None:
    admission.in_flight += 1
    admission.answered(place, began, now)


def made_late(second: float) -> Admission:
    """One whose answers have all come late for as long as it takes to mind."""
    admission = Admission()
    answered_at(admission, 10, second - 9, second - module.STANDING_SECONDS - 0.01)
    return admission


def test_where_a_queue_stands_a_late_answer_tells_how_many_can_be_answered_in_time() -> None:
    admission = made_late(10.0)
    answered_at(admission, 900, 10.0 - 1.5 * module.WAIT_SECONDS_MAX, 10.0)
    assert admission.limit == pytest.approx(900 / 1.5)
    assert admission.in_flight == 0


def test_the_queue_that_a_burst_makes_is_answered_and_cuts_nothing() -> None:
    admission = made_late(10.0)
    answered_at(admission, 10, 9.999, 10.0)  # in time: the queue has gone
    answered_at(admission, 2_000, 9.0, 10.5)
    answered_at(admission, 2_000, 9.0, 10.5 + module.STANDING_SECONDS)
    assert admission.limit == module.LIMIT_AT_FIRST


def test_those_who_were_late_together_count_once_and_one_cut_leaves_a_quarter() -> None:
    admission = made_late(20.0)
    for _ in range(100):
        answered_at(admission, 10, 10.0, 20.0)
    assert admission.limit == module.LIMIT_AT_FIRST / module.CUT_MAX
    for second in range(21, 40):
        answered_at(admission, 10, second, second + 0.9)
    assert admission.limit == module.LIMIT_MIN


def test_the_limit_grows_while_it_is_needed_and_answers_come_in_time() -> None:
    admission = Admission()
    for _ in range(160):
        answered_at(admission, module.LIMIT_AT_FIRST, 1.0, 1.001)
    assert admission.limit == pytest.approx(module.LIMIT_AT_FIRST + 160 * module.GROWTH)
    grown = admission.limit
    for _ in range(160):
        answered_at(admission, 2, 1.0, 1.001)
    assert admission.limit == grown
    admission.limit = module.LIMIT_MAX
    answered_at(admission, module.LIMIT_MAX, 1.0, 1.001)
    assert admission.limit == module.LIMIT_MAX


def test_seconds_in_which_nobody_was_turned_away_lead_back_to_the_beginning() -> None:
    admission, meters = Admission(), Meters()
    admission.limit = module.LIMIT_MIN
    admission.sheds += 3
    admission.hand_over(meters)
    assert admission.limit == module.LIMIT_MIN
    for _ in range(10):
        admission.hand_over(meters)
    assert admission.limit == module.LIMIT_AT_FIRST
    assert meters.counters == {("booking_sheds_total", ""): 3}
    admission.limit = 3_000
    admission.hand_over(meters)
    assert admission.limit == 3_000


@dataclass
class Slow:
    """An application whose answers wait until they are let go."""

    going: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
                await receive()
                await send({"type": answer})
            return
        self.begun.append(scope["path"])
        if scope["path"] == "/book":
            await self.going.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@dataclass
class House:
    """A server that takes on so many at a time, and clients of it."""

    address: tuple[str, int]
    admission: Admission
    application: Slow
    clients: list[asyncio.StreamWriter] = field(default_factory=list)

    async def client(self) -> "Client":
        reader, writer = await asyncio.open_connection(*self.address)
        self.clients.append(writer)
        return Client(reader, writer)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():
                await asyncio.sleep(0.002)


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, request: bytes) -> None:
        self.writer.write(request)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))


@asynccontextmanager
async def house(limit: int, refusal: Refusal | None = None, keep_alive_seconds: float = 75) -> AsyncIterator[House]:
    listener = listen("127.0.0.1", 0)
    admission, application = Admission(refusal), Slow()
    admission.limit = limit
    config = configuration(application, Settings())
    config.timeout_keep_alive = keep_alive_seconds  # type: ignore[assignment]  # parts of a second do as well
    server = Server(config, admission)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.005)
    opened = House(listener.getsockname(), admission, application)
    try:
        yield opened
    finally:
        application.going.set()
        for writer in opened.clients:
            writer.close()
        server.should_exit = True
        await task


async def test_one_too_many_is_told_to_come_back_and_the_connection_stays_good() -> None:
    async with house(1) as opened:
        first, second = await opened.client(), await opened.client()
        first.send(BOOK % b"")
        await opened.until(lambda: opened.application.begun == ["/book"])
        second.send(BOOK % b'X-Request-ID: my"own"one\\\r\n')
        status, headers, body = await second.answer()
        problem = json.loads(body)
        assert (status, headers["retry-after"], headers["content-type"]) == (503, "2", "application/problem+json")
        assert headers["x-request-id"] == problem["request_id"] == 'my"own"one\\'
        assert (problem["code"], problem["status"], problem["error"]) == ("overloaded", 503, True)
        assert "date" in headers
        assert "connection" not in headers
        assert opened.application.begun == ["/book"], "it was never begun with"
        opened.application.going.set()
        assert (await first.answer())[0] == 200
        second.send(BOOK % b"")
        assert (await second.answer())[0] == 200
        assert (opened.admission.in_flight, opened.admission.sheds) == (0, 1)


@pytest.mark.parametrize(
    "request_head",
    [b"GET /healthz", b"GET /readyz", b"GET /metrics", b"PATCH /events/1", b"HEAD /status/1", b"POST /auth/login"],
)
async def test_who_asks_after_the_service_or_steers_it_is_never_turned_away(request_head: bytes) -> None:
    async with house(1) as opened:
        first, other = await opened.client(), await opened.client()
        first.send(BOOK % b"")
        await opened.until(lambda: opened.application.begun == ["/book"])
        other.send(request_head + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await other.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET http://x/status/1 HTTP/1.1\r\n",
        b"GET /%73tatus/1 HTTP/1.1\r\n",
        b"GET /status/1?%20 HTTP/1.1\r\n",
        b"GET /status/1#x HTTP/1.1\r\n",
        b"POST /book HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /status/1 HTTP/1.1\r\n",
    ],
    ids=["a whole address", "escapes", "a query", "a fragment", "a body that waits to be asked for", "behind another"],
)
async def test_nobody_gets_past_the_others_by_how_the_request_is_written(request_head: bytes) -> None:
    async with house(1) as opened:
        first, other = await opened.client(), await opened.client()
        first.send(BOOK % b"")
        await opened.until(lambda: opened.application.begun == ["/book"])
        other.send(request_head + b"Host: x\r\n\r\n")
        if request_head.startswith(b"GET /healthz"):
            assert (await other.answer())[0] == 200
        assert (await other.answer())[0] == 503
        assert opened.application.begun[0] == "/book"
        assert "/status/1" not in opened.application.begun
        opened.application.going.set()
        assert (await first.answer())[0] == 200
        assert (opened.admission.in_flight, opened.admission.sheds) == (0, 1)


async def test_whoever_comes_in_a_burst_gets_the_place_that_becomes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anteroom, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    async with house(2) as opened:
        clients = [await opened.client() for _ in range(20)]
        for client in clients:
            client.send(BOOK % b"")
        await opened.until(lambda: len(opened.application.begun) == 2)
        opened.application.going.set()
        assert {(await client.answer())[0] for client in clients} == {200}
        assert opened.admission.sheds == 0


async def test_a_connection_whose_request_waits_is_not_taken_for_an_idle_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anteroom, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(server_module, "LOOK_SECONDS", 0.02)
    async with house(1, keep_alive_seconds=0.2) as opened:
        first, waits = await opened.client(), await opened.client()
        first.send(BOOK % b"")
        waits.send(BOOK % b"")
        await asyncio.sleep(0.5)
        opened.application.going.set()
        assert [(await first.answer())[0], (await waits.answer())[0]] == [200, 200]


async def test_a_request_in_pieces_and_one_that_leaves_are_no_trouble_to_anybody() -> None:
    async with house(1) as opened:
        first, pieces, leaves = [await opened.client() for _ in range(3)]
        first.send(BOOK % b"")
        await opened.until(lambda: opened.application.begun == ["/book"])
        pieces.send(b"POST /book HTTP/1.1\r\nHost: x\r\nContent-Le")
        leaves.send(BOOK % b"")
        leaves.writer.transport.abort()
        await asyncio.sleep(0.01)
        pieces.send(b"ngth: 2\r\n\r\n{")
        await asyncio.sleep(2 * anteroom.PATIENCE_SECONDS)
        pieces.send(b"}")
        assert (await pieces.answer())[0] == 503
        first.writer.transport.abort()
        await opened.until(lambda: opened.admission.in_flight == 0)
        opened.application.going.set()
        pieces.send(BOOK % b"Connection: close\r\n")
        assert (await pieces.answer())[0] == 200


async def test_a_client_that_sends_on_while_it_waits_is_not_read_any_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anteroom, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(connection, "UNSEEN_BYTES_MAX", 1_000)
    async with house(1) as opened:
        first, endless = await opened.client(), await opened.client()
        first.send(BOOK % b"")
        await opened.until(lambda: opened.application.begun == ["/book"])
        endless.send(BOOK % b"")
        for _ in range(200):
            endless.send(b"x" * 100_000)
            with suppress(TimeoutError):
                await asyncio.wait_for(endless.writer.drain(), 0.001)
        assert endless.writer.transport.get_write_buffer_size() > 1_000_000, "the service has read all of it"
        opened.application.going.set()
        assert (await first.answer())[0] == 200


async def test_an_answer_before_the_last_says_that_the_connection_ends_where_the_client_asks_for_that() -> None:
    async with house(1) as opened:
        first, last = await opened.client(), await opened.client()
        first.send(BOOK % b"")
        await opened.until(lambda: opened.application.begun == ["/book"])
        last.send(BOOK % b"Connection: close\r\n")
        status, headers, _ = await last.answer()
        assert (status, headers["connection"]) == (503, "close")
        assert await last.reader.read() == b""


@pytest.mark.parametrize(
    ("named", "origin", "allowed"),
    [
        (("https://shop.example",), b"https://shop.example", "https://shop.example"),
        (("https://shop.example",), b"https://other.example", None),
        (("*",), b"https://other.example", "*"),
        ((), b"https://shop.example", None),
    ],
)
async def test_a_page_of_another_origin_may_read_it_where_it_may_read_the_others(
    named: tuple[str, ...], origin: bytes, allowed: str | None
) -> None:
    async with house(1, Refusal("overloaded", named)) as opened:
        first, page = await opened.client(), await opened.client()
        first.send(BOOK % b"")
        await opened.until(lambda: opened.application.begun == ["/book"])
        page.send(BOOK % (b"Origin: %b\r\n" % origin))
        status, headers, _ = await page.answer()
        assert status == 503
        assert headers.get("access-control-allow-origin") == allowed


def test_the_waits_together_leave_room_below_the_mark() -> None:
    assert module.WAIT_SECONDS_MAX + anteroom.PATIENCE_SECONDS <= 0.2
