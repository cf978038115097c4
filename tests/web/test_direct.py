"""A crowd's request on its short way: whatever becomes of the client, its request is answered or let go of."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.routing import Route
from starlette.types import Receive, Scope

from booking.processes import web_server as server
from booking.web import connection as module
from booking.web import middleware as frame
from booking.web.access_log import AccessLog, json_line
from booking.web.direct import DirectCycle
from booking.web.heads import CLOSE
from booking.web.middleware import Frame
from booking.web.requests import read_json
from booking.web.responses import Answer
from tests.fixtures.notes import Notes, take_notes

from .serving import Streams, connected, echo, send_on, serving

WAIT_SECONDS = 20
BOOK = b"POST /book HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"
BODY = b'{"event_id": 1}'
WHOLE = BOOK % (len(BODY), b"") + BODY


class Sale:
    """One endpoint, reached the short way alone, and what was logged of it."""

    def __init__(self, folder: Path, endpoint: Callable[[Scope, Receive], Awaitable[Answer]]) -> None:
        self.file = (folder / "log").open("wb+", buffering=0)
        self._log = AccessLog(json_line, self.file.fileno())
        found = ("POST", Route("/book", echo), endpoint, dict[str, str]())
        self.frame = Frame(echo, self._log, find=lambda _, path: found if path == b"/book" else None)

    def statuses(self) -> list[int]:
        """Of what was answered, in order."""
        self._log.flush()
        self.file.seek(0)
        return [int(line.partition(b'"status":')[2].partition(b",")[0]) for line in self.file.read().splitlines()]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Streams]:
        """A client of it."""
        async with (
            asyncio.timeout(WAIT_SECONDS),
            serving(admission=self.frame.admission, frame=self.frame) as address,
            connected(address) as streams,
        ):
            yield streams


Make = Callable[[Callable[[Scope, Receive], Awaitable[Answer]]], Sale]


@pytest.fixture
def sale_of(tmp_path: Path) -> Iterator[Make]:
    """Makes sales of one endpoint."""
    made: list[Sale] = []

    def make(endpoint: Callable[[Scope, Receive], Awaitable[Answer]]) -> Sale:
        made.append(Sale(tmp_path, endpoint))
        return made[-1]

    yield make
    for sale in made:
        sale.statuses()
        sale.file.close()


async def fine(scope: Scope, receive: Receive) -> Answer:
    """Answers with the body."""
    return Answer(200, b"%d" % (await read_json(scope, receive, []))["event_id"])


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, head and body of the next one."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split()[1]), head, await reader.readexactly(length)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.002)


async def test_a_body_may_come_in_pieces(sale_of: Make) -> None:
    async with sale_of(fine).open() as (reader, writer):
        for at in range(len(WHOLE)):
            writer.write(WHOLE[at : at + 1])
            await asyncio.sleep(0)
            await writer.drain()
        assert (await answer(reader))[2] == b"1"


async def test_requests_behind_it_wait_for_it_whichever_way_they_go(sale_of: Make) -> None:
    gate = asyncio.Event()

    async def slow(_: Scope, __: Receive) -> Answer:
        await gate.wait()
        return Answer(200, b"slow")

    async with sale_of(slow).open() as (reader, writer):
        writer.write(WHOLE + b"POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nbye" + WHOLE)
        await asyncio.sleep(0.1)
        gate.set()
        assert [(await answer(reader))[2] for _ in range(3)] == [b"slow", b"bye", BODY]


async def test_a_client_that_leaves_before_its_body_has_come_is_logged_as_gone(sale_of: Make) -> None:
    sale = sale_of(fine)
    async with sale.open() as (_, writer):
        writer.write(WHOLE[:-3])
        await asyncio.sleep(0.1)
        writer.transport.abort()
        await until(lambda: sale.statuses() == [499])
    assert sale.frame.admission.in_flight == 0


async def test_what_a_client_asked_for_is_done_even_if_it_has_left(sale_of: Make) -> None:
    gate, done = asyncio.Event(), []

    async def slow(scope: Scope, receive: Receive) -> Answer:
        answered = await fine(scope, receive)
        await gate.wait()
        done.append(answered.body)
        return answered

    sale = sale_of(slow)
    async with sale.open() as (_, writer):
        writer.write(WHOLE)
        await until(lambda: sale.frame.admission.in_flight == 1)
        writer.transport.abort()
        gate.set()
        await until(lambda: done == [b"1"] and sale.statuses() == [200])
        await until(lambda: sale.frame.admission.in_flight == 0)


async def test_whoever_sends_no_more_gets_what_was_asked_for_and_the_end(sale_of: Make) -> None:
    gate = asyncio.Event()

    async def slow(scope: Scope, receive: Receive) -> Answer:
        answered = await fine(scope, receive)
        await gate.wait()
        return answered

    sale = sale_of(slow)
    async with sale.open() as (reader, writer):
        writer.write(WHOLE)
        writer.write_eof()
        await asyncio.sleep(0.1)
        assert sale.frame.admission.in_flight == 1, "it is being worked on"
        gate.set()
        assert (await answer(reader))[::2] == (200, b"1")
        assert await reader.read() == b""
        assert sale.frame.admission.in_flight == 0


async def test_an_answer_that_is_about_to_go_out_does_whenever_the_client_sends_no_more(sale_of: Make) -> None:
    async with sale_of(fine).open() as (_, writer):
        for turns in range(200):
            reader, other = await asyncio.open_connection(*writer.get_extra_info("peername"))
            other.write(WHOLE)
            for _ in range(turns % 6):
                await asyncio.sleep(0)
            other.write_eof()
            assert await reader.read(), turns
            other.close()


async def test_an_answer_before_the_body_s_end_leaves_the_connection_good(sale_of: Make) -> None:
    async def hasty(_: Scope, __: Receive) -> Answer:
        return Answer(401, b"who?")

    async with sale_of(hasty).open() as (reader, writer):
        large = b"x" * 300_000
        writer.write(BOOK % (len(large), b"") + large[:10])
        assert (await answer(reader))[0] == 401
        writer.write(large[10:] + WHOLE)
        assert (await answer(reader))[0] == 401


async def test_a_client_that_is_still_sending_is_heard_out_behind_the_last_answer(sale_of: Make) -> None:
    async def last(_: Scope, __: Receive) -> Answer:
        return Answer(413, b"no more", CLOSE)

    sale = sale_of(last)
    async with sale.open() as (reader, writer):
        writer.write(BOOK % (50_000_000, b"") + b"x" * 10)
        assert (await answer(reader))[0::2] == (413, b"no more")
        assert await reader.read() == b""
        await send_on(writer, 50_000_000 - 10)
        writer.write(WHOLE)
        await writer.drain()
    assert sale.statuses() == [413], "what comes behind it is not looked at"


async def test_a_body_without_end_is_read_no_further_than_it_is_wanted(sale_of: Make) -> None:
    sale = sale_of(fine)
    async with sale.open() as (reader, writer):
        writer.write(b"POST /book HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
        status, head, _ = await answer(reader)
        assert (status, b"connection: close\r\n" in head) == (413, True)
        assert head.count(b"connection") == 1
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


async def test_what_nobody_foresaw_is_a_fault_of_ours_and_the_next_one_is_served(sale_of: Make) -> None:
    async def broken(_: Scope, __: Receive) -> Answer:
        raise RuntimeError("boom")

    sale = sale_of(broken)
    async with sale.open() as (reader, writer):
        for _ in range(2):
            writer.write(WHOLE)
            status, head, body = await answer(reader)
            assert (status, b"x-request-id: " in head, b"internal_error" in body) == (500, True, True)
    assert sale.statuses() == [500, 500]


async def test_an_answer_that_cannot_be_sent_ends_the_connection_and_is_logged(
    sale_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def injects(_: Scope, __: Receive) -> Answer:
        return Answer(200, b"", (b"x", b"a\r\nset-cookie: b"))

    notes: Notes = take_notes(monkeypatch, module)
    sale = sale_of(injects)
    async with sale.open() as (reader, writer):
        writer.write(WHOLE)
        assert await reader.read() == b""
    assert notes.lines == [("exception", "an answer could not be sent", {})]
    assert sale.frame.admission.in_flight == 0


@pytest.mark.parametrize(
    "request_head", [b"HTTP/1.0", b"HTTP/1.1\r\nConnection: close"], ids=["an old client", "the last one"]
)
async def test_a_connection_ends_where_it_has_to(sale_of: Make, request_head: bytes) -> None:
    async with sale_of(fine).open() as (reader, writer):
        writer.write(WHOLE.replace(b"HTTP/1.1", request_head))
        status, head, _ = await answer(reader)
        assert (status, head.count(b"connection: close\r\n")) == (200, 1)
        assert await reader.read() == b""


async def test_an_answer_at_the_end_of_the_service_says_so_once(sale_of: Make) -> None:
    gate = asyncio.Event()

    async def slow(_: Scope, __: Receive) -> Answer:
        await gate.wait()
        return Answer(200, b"slow")

    sale = sale_of(slow)
    async with serving(admission=sale.frame.admission, frame=sale.frame) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(WHOLE)
        await until(lambda: sale.frame.admission.in_flight == 1)
        asyncio.get_running_loop().call_later(0.1, gate.set)
    status, head, _ = await answer(reader)
    assert (status, head.count(b"connection: close\r\n")) == (200, 1)
    assert await reader.read() == b""
    writer.close()


async def test_what_a_stop_cannot_wait_for_is_answered_and_logged(
    sale_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless(_: Scope, __: Receive) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(server, "GRACEFUL_SECONDS", 0.1)
    notes = take_notes(monkeypatch, frame)
    sale = sale_of(endless)
    async with serving(admission=sale.frame.admission, frame=sale.frame) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(WHOLE)
        await until(lambda: sale.frame.admission.in_flight == 1)
    async with asyncio.timeout(WAIT_SECONDS):
        status, head, _ = await answer(reader)
        assert (status, head.count(b"connection: close\r\n")) == (500, 1)
        assert await reader.read() == b""
    writer.close()
    assert sale.statuses() == [500]
    assert sale.frame.admission.in_flight == 0
    assert [line for _, line, _ in notes.lines] == ["a request failed"]


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on(sale_of: Make) -> None:
    async with sale_of(fine).open() as (reader, writer):
        writer.write(BOOK % (4, b"Expect: 100-continue\r\n"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"body")
        assert (await answer(reader))[2] == b"body", "uvicorn's way, which knows of that"


async def test_a_page_of_another_origin_is_served_by_what_knows_of_origins(sale_of: Make) -> None:
    sale = sale_of(fine)
    sale.frame._serves_origins = True
    async with sale.open() as (reader, writer):
        writer.write(WHOLE)
        assert (await answer(reader))[2] == b"1"
        writer.write(BOOK % (len(BODY), b"Origin: https://elsewhere.example\r\n") + BODY)
        assert (await answer(reader))[2] == BODY, "the echo behind the middleware"


async def test_what_a_request_was_is_freed_without_the_collector(
    sale_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.01)  # nor is it kept by what looks after connections

    def alive() -> int:
        return sum(isinstance(one, DirectCycle) for one in gc.get_objects())

    sale = sale_of(fine)
    gc.collect()
    gc.disable()
    others = alive()
    try:
        async with sale.open() as (reader, writer):
            for _ in range(20):
                writer.write(WHOLE)
                await answer(reader)
                assert alive() <= others + 2, "the last one and this one"
            writer.write(WHOLE[:-3])
            await asyncio.sleep(0.05)
        async with asyncio.timeout(WAIT_SECONDS):
            await until(lambda: alive() <= others)
    finally:
        gc.enable()
