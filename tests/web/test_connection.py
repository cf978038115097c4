"""What a client's connection promises: answers in one piece, and nobody who is slow keeps the others waiting."""

import asyncio
import gc
from contextlib import suppress

import pytest
from starlette.types import Receive, Scope, Send

from booking.processes import web_server as server
from booking.web import connection, patience
from booking.web.cycle import Cycle

from .serving import Streams, connected, echo, serving


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules in less time."""
    monkeypatch.setattr(patience, "REQUEST_SECONDS_MAX", 0.3)
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.05)


async def post(streams: Streams, body: bytes) -> bytes:
    reader, writer = streams
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(len(body))


async def test_an_answer_s_head_and_body_arrive_in_one_piece() -> None:
    async with serving() as address, connected(address) as (reader, writer):
        for number in range(20):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nbody%02d" % number)
            piece = await reader.read(65_536)
            assert piece.startswith(b"HTTP/1.1 200")
            assert piece.endswith(b"body%02d" % number)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as address, connected(address) as (reader, writer):
        for number in range(5):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nbody%d" % number)
        for number in range(5):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(5) == b"body%d" % number


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "beginning",
    [b"P", b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"],
    ids=["its first byte", "its head", "its body"],
)
async def test_a_client_that_is_slow_over_a_request_is_cut_off_and_others_are_served(beginning: bytes) -> None:
    async with serving() as address, connected(address) as slow, connected(address) as quick:
        slow[1].write(beginning)
        cut_off = asyncio.create_task(slow[0].read())
        for _ in range(500):  # a byte now and then does not buy more time
            if cut_off.done():
                break
            assert await post(quick, b"quick") == b"quick"
            slow[1].write(b"A")
            await asyncio.sleep(0.02)
        with suppress(ConnectionError):
            assert b" 200 " not in await cut_off
        assert await post(quick, b"still there") == b"still there"


@pytest.mark.usefixtures("impatient")
async def test_a_connection_that_stays_quiet_is_closed_only_after_the_keep_alive() -> None:
    async with serving(keep_alive_seconds=1) as address, connected(address) as streams:
        begun = asyncio.get_running_loop().time()
        assert await post(streams, b"once") == b"once"
        assert await streams[0].read() == b""
        assert asyncio.get_running_loop().time() - begun > 1


@pytest.mark.parametrize(
    "header",
    [(b"x", b"a\r\nset-cookie: b"), (b"x", b"a\nb: c"), (b"x", b"a\rb"), (b"x", b"a\0b"), (b"x\r\ny", b"a")],
)
async def test_a_header_never_ends_its_line_early(header: tuple[bytes, bytes]) -> None:
    async def split(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
            return
        headers = [(b"content-length", b"2"), header]
        with pytest.raises(RuntimeError, match="Invalid HTTP header"):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})

    async with serving(application=split) as address, connected(address) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 500 ")
        assert await reader.readexactly(2) == b"no"


async def test_a_body_of_another_length_than_was_said_ends_the_connection_and_not_the_next_answer() -> None:
    async def shorter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"four"})

    async with serving(application=shorter) as address, connected(address) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\nfour")


async def test_an_answer_in_several_pieces_and_one_to_head_are_framed_as_they_have_to_be() -> None:
    async def pieces(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"two", "more_body": True})
        await send({"type": "http.response.body", "body": b"six", "more_body": True})
        await send({"type": "http.response.body"})

    async with serving(application=pieces) as address, connected(address) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"content-length: 6" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(6) == b"twosix"
        writer.write(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\n")


def alive(kind: type) -> int:
    return sum(isinstance(one, kind) for one in gc.get_objects())


async def test_what_a_request_and_a_connection_were_is_freed_without_the_collector_which_comes_rarely() -> None:
    """Each leaves some kilobytes, and a crowd comes and goes by the thousand."""
    gc.collect()
    gc.disable()
    try:
        async with serving() as address:
            async with connected(address) as streams:
                for _ in range(20):
                    assert await post(streams, b"body") == b"body"
                    assert alive(Cycle) <= 2, "the last one and this one"
            async with connected(address) as (_, writer):
                writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of it")
            async with asyncio.timeout(20):
                while alive(Cycle) > 1 or alive(connection.Connection) > 1:  # the one that was looked after last
                    await asyncio.sleep(0.01)
    finally:
        gc.enable()
