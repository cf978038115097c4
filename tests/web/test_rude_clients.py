"""Clients that ask for what there is not, read nothing, send what is no HTTP, or leave: others don't feel it."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from starlette.types import Message, Receive, Scope, Send

from booking.processes import web_server as server
from booking.web import connection, parsing, patience, refusing
from booking.web.admission import Admission
from booking.web.cycle import Cycle
from booking.web.upgrades import head_without_upgrade

from .serving import connected, send_on, serving

WAIT_SECONDS = 20
"""A bound on what would otherwise wait for ever."""

JAVA = (
    b"POST /book HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nContent-Length: %d\r\n\r\n"
)
"""As Java's HTTP client begins a connection."""

QUICK = b"GET /status/1 HTTP/1.1\r\nHost: x\r\n\r\n"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not holds():
            await asyncio.sleep(0.002)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules in less time."""
    monkeypatch.setattr(patience, "REQUEST_SECONDS_MAX", 0.5)
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.05)


async def answer_ok(send: Send, body: bytes = b"ok") -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


async def early(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers before it has read anything."""
    await answer_ok(send)


def application(answer: Callable[[Scope, Receive, Send], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await answer(scope, receive, send)
            return
        for told in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            await receive()
            await send({"type": told})

    return asgi


@pytest.mark.parametrize("pieces", [1, 2, 3])
async def test_a_body_behind_the_wish_for_another_protocol_is_that_request_s(pieces: int) -> None:
    body = b"GET /status/666 HTTP/1.1\r\nHost: x\r\n\r\n"
    whole = JAVA % len(body) + body
    async with serving() as address, connected(address) as (reader, writer):
        for number in range(pieces):
            # The last cut lies between head and body, where the body could be taken for a request.
            cuts = [0, *([40] if pieces == 3 else []), *([len(whole) - len(body)] if pieces > 1 else []), len(whole)]
            writer.write(whole[cuts[number] : cuts[number + 1]])
            await asyncio.sleep(0.05)
        async with asyncio.timeout(WAIT_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(len(body)) == body, "the echo of the body, and no second answer"
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nnext")
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(4) == b"next"


async def test_so_many_such_wishes_on_one_connection_and_no_more() -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with serving() as address, connected(address) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" * 4_000)
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionError):
                assert await reader.read() == b""
    assert not faults


def test_the_rest_of_such_a_head_stays() -> None:
    headers = [(b"host", b"x"), (b"connection", b"keep-alive, Upgrade"), (b"upgrade", b"websocket"), (b"a", b"b")]
    assert (
        head_without_upgrade(b"GET", b"/a?b", "1.1", headers)
        == b"GET /a?b HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\na: b\r\n\r\n"
    )


async def test_a_crowd_that_is_slow_over_its_bodies_takes_nobody_s_place() -> None:
    admission = Admission()
    admission.limit = 2
    async with serving(admission=admission) as address:
        slow = [await asyncio.open_connection(*address) for _ in range(5)]
        for _, writer in slow:
            writer.write(b"POST /book HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfo")
        await asyncio.sleep(0.1)
        async with connected(address) as (reader, writer):
            writer.write(QUICK)
            async with asyncio.timeout(WAIT_SECONDS):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        for reader, writer in slow:
            writer.write(b"ur")
            async with asyncio.timeout(WAIT_SECONDS):
                assert b"200" in await reader.readuntil(b"\r\n\r\nfour")
            writer.close()
            await writer.wait_closed()
    assert (admission.in_flight, admission.sheds) == (0, 0)


async def test_clients_that_read_nothing_keep_nobody_out() -> None:
    admission = Admission()
    admission.limit = 1
    large = asyncio.Event()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await answer_ok(send, b"ok" if large.is_set() else b"x" * 8_000_000)

    async with serving(application=application(answer), admission=admission) as address:
        deaf = [await asyncio.open_connection(*address) for _ in range(3)]
        for _, writer in deaf:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # the client's own hand on its ear
            writer.write(QUICK)
            await asyncio.sleep(0.1)
        large.set()
        for _, writer in deaf:
            writer.write(QUICK)
            await asyncio.sleep(0.1)
        assert admission.in_flight == 0
        async with connected(address) as (reader, writer), asyncio.timeout(WAIT_SECONDS):
            writer.write(QUICK)
            await reader.readuntil(b"ok")
        for _, writer in deaf:
            writer.transport.abort()
    assert (admission.in_flight, admission.sheds) == (0, 0)


async def test_a_client_that_sends_on_and_reads_no_refusal_is_cut_off() -> None:
    admission = Admission()
    admission.limit = 0
    async with serving(admission=admission) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the client's own hand on its ear

        async def send_on() -> None:
            while True:
                writer.write(QUICK * 1_000)
                await writer.drain()
                await asyncio.sleep(0)

        async with asyncio.timeout(WAIT_SECONDS):
            with pytest.raises(ConnectionError):
                await send_on()
        writer.transport.abort()


async def test_whoever_leaves_is_heard_of_also_with_a_request_waiting_behind_the_stream() -> None:
    ended: list[Message] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        ended.append(await receive())

    async with serving(application=application(stream)) as address:
        async with connected(address) as (reader, writer):
            writer.write(b"GET /events/1/live HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(WAIT_SECONDS):
                await reader.readuntil(b"\r\n\r\n")
        await until(lambda: bool(ended))
    assert ended == [{"type": "http.disconnect"}]


async def test_so_many_requests_on_one_connection_and_no_more() -> None:
    going = asyncio.Event()
    begun: list[str] = []

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])
        await going.wait()
        await answer_ok(send)

    async with serving(application=application(wait)) as address:
        async with connected(address) as (reader, writer):
            writer.write(QUICK * (1 + refusing.PIPELINED_MAX))
            await until(lambda: bool(begun))
            going.set()
            async with asyncio.timeout(WAIT_SECONDS):
                for _ in range(1 + refusing.PIPELINED_MAX):
                    await reader.readuntil(b"ok")
        going.clear()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(QUICK * 1_000)
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        going.set()
        writer.transport.abort()


async def test_the_rest_of_what_such_a_client_has_sent_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[bytes] = []
    make_scope = connection.Connection.make_scope

    def counting(self: connection.Connection) -> None:
        looked_at.append(self.url)
        make_scope(self)

    monkeypatch.setattr(connection.Connection, "make_scope", counting)
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with serving() as address, connected(address) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 13_000)
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionError):
                assert await reader.read() == b""
    assert len(looked_at) <= 2 + refusing.PIPELINED_MAX
    assert not faults


@pytest.mark.parametrize("requests", [2, 200], ids=["turned away in its turn", "cut off"])
async def test_nothing_is_kept_of_requests_that_never_had_their_turn(requests: int) -> None:
    admission, gate = Admission(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await answer_ok(send)

    def alive() -> int:
        return sum(isinstance(one, connection.Connection | Cycle) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        async with serving(application=application(slow), admission=admission) as address:
            async with connected(address) as (reader, writer):
                writer.write(QUICK * requests)
                await asyncio.sleep(0.1)
                admission.limit = 0
                gate.set()
                if requests == 2:
                    async with asyncio.timeout(WAIT_SECONDS):
                        await reader.readuntil(b"ok")
                        await reader.readuntil(b'"overloaded"')
            await until(lambda: alive() <= before)
    finally:
        gc.enable()


async def test_requests_that_wait_behind_another_take_places_too() -> None:
    admission, going = Admission(), asyncio.Event()
    admission.limit = 2
    begun: list[str] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/status/1":
            begun.append(scope["path"])
            await going.wait()
        await answer_ok(send)

    async with serving(application=application(slow), admission=admission) as address:
        streams = [await asyncio.open_connection(*address) for _ in range(10)]
        for _, writer in streams:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + QUICK)
        await until(lambda: admission.sheds == 8)
        assert len(begun) == admission.in_flight == 2
        going.set()
        await until(lambda: admission.in_flight == 0)
        for _, writer in streams:
            writer.close()


async def test_whoever_sends_no_more_while_it_waits_to_be_looked_at_is_told() -> None:
    admission = Admission()
    admission.limit = 0
    async with serving(admission=admission) as address:
        for _ in range(10):
            async with connected(address) as (reader, writer), asyncio.timeout(WAIT_SECONDS):
                writer.write(QUICK)
                writer.write_eof()
                assert (await reader.read()).startswith(b"HTTP/1.1 503")


async def test_requests_before_it_are_not_counted_to_one_without_end() -> None:
    one = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"t" * 1_500 + b"\r\n\r\n"
    async with serving() as address, connected(address) as (reader, writer):
        writer.write((one * 100)[:-10])
        await asyncio.sleep(0.05)
        writer.write(one[-10:])
        async with asyncio.timeout(WAIT_SECONDS):
            for _ in range(100):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_nonsense_behind_a_body_that_nobody_waited_for_is_told() -> None:
    async with serving(application=application(early)) as address, connected(address) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        async with asyncio.timeout(WAIT_SECONDS):
            await reader.readuntil(b"ok")
            writer.write(b"four")
            await asyncio.sleep(0.05)
            writer.write(b"rubbish\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400")


async def test_a_stop_waits_for_no_client_that_owes_the_rest_of_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GRACEFUL_SECONDS", 10 * WAIT_SECONDS)
    async with asyncio.timeout(WAIT_SECONDS):
        async with serving() as address:
            _, writer = await asyncio.open_connection(*address)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfo")
            await asyncio.sleep(0.1)
        writer.close()


async def test_so_many_are_turned_away_on_one_connection_at_a_time_and_no_more() -> None:
    admission = Admission()
    admission.limit = 0
    async with serving(admission=admission) as address, connected(address) as (reader, writer):
        writer.write(QUICK * 5_000)
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionError):
                await reader.read()
    assert 0 < admission.sheds <= 2 + refusing.PIPELINED_MAX


async def test_what_is_no_http_is_told_after_the_answer_before_it() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.sleep(0.1)
        await answer_ok(send, b"booked")

    async with serving(application=application(slow)) as address, connected(address) as (reader, writer):
        writer.write(b"POST /book HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}}rubbish\r\n\r\n")
        async with asyncio.timeout(WAIT_SECONDS):
            told = await reader.read()
        assert told.startswith(b"HTTP/1.1 200")
        assert told.endswith(b"booked")
        assert b"connection: close" in told


async def test_a_body_that_is_no_http_gets_its_own_refusal(impatient: None) -> None:
    async with serving() as address, connected(address) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"no size\r\n")
        async with asyncio.timeout(WAIT_SECONDS):
            assert (await reader.read()).startswith(b"HTTP/1.1 400")


async def test_a_client_that_is_still_sending_is_heard_out_and_no_longer_than_a_request_may_take(
    impatient: None,
) -> None:
    async def too_large(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"2"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"no"})

    async with serving(application=application(too_large)) as address, connected(address) as (reader, writer):
        writer.write(b"POST /initialize HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\n")
        async with asyncio.timeout(WAIT_SECONDS):
            assert (await reader.read()).endswith(b"no")
            await send_on(writer, 5_000_000)
            with pytest.raises(ConnectionError):
                await send_on(writer, 9_000_000_000)


@pytest.mark.parametrize(
    ("beginning", "more"),
    [
        (b"GET /", b"x" * 1_000),
        (b"GET / HTTP/1.1\r\nHost: ", b"x" * 1_000),
        (b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 200),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 1_000),
    ],
    ids=["address", "field", "fields", "trailer"],
)
async def test_a_request_without_end_is_refused_long_before_its_time_is_up(beginning: bytes, more: bytes) -> None:
    sent = 0
    async with serving() as address, connected(address) as (reader, writer):
        writer.write(beginning)
        answered = asyncio.ensure_future(reader.read())
        async with asyncio.timeout(WAIT_SECONDS):
            while not answered.done() and sent < 16 * parsing.KEPT_BYTES_MAX:
                writer.write(more)
                sent += len(more)
                await asyncio.sleep(0.001)
            with suppress(ConnectionError):
                assert (await answered).startswith(b"HTTP/1.1 400")
    assert sent < 16 * parsing.KEPT_BYTES_MAX


async def test_an_answered_request_whose_body_is_no_http_gets_no_second_answer() -> None:
    async with serving(application=application(early)) as address, connected(address) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        async with asyncio.timeout(WAIT_SECONDS):
            await reader.readuntil(b"ok")
            writer.write(b"no size\r\n")
            assert await reader.read() == b""
