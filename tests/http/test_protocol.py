"""What a client's connection promises: whole requests in, whole responses out, deadlines, and an orderly end."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from starlette.types import Message, Receive, Scope, Send

from booking.http import call as call_module
from booking.http import protocol as module
from booking.http import worker as worker_module
from booking.http.call import EXTENSION, AsgiCall
from booking.http.protocol import HttpProtocol
from booking.web import headers
from tests.fixtures.notes import take_notes

from .serving import Streams, connected, echo, make_worker, send_on, serving

WAIT_SECONDS = 20
"""A bound on waits that could otherwise last for ever."""

Answer = Callable[[Scope, Receive, Send], Awaitable[None]]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the timeouts."""
    monkeypatch.setattr(module, "REQUEST_SECONDS_MAX", 0.3)
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.05)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not holds():
            await asyncio.sleep(0.002)


async def respond(send: Send, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


def post(body: bytes, *lines: bytes, version: bytes = b"1.1", path: bytes = b"/") -> bytes:
    head = [b"POST %b HTTP/%b" % (path, version), b"Host: x", *lines, b"Content-Length: %d" % len(body), b"", b""]
    return b"\r\n".join(head) + body


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, head and body of the next response."""
    async with asyncio.timeout(WAIT_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), head, await reader.readexactly(length)


async def ask(streams: Streams, body: bytes) -> bytes:
    streams[1].write(post(body))
    return (await answer(streams[0]))[2]


async def test_a_response_s_head_and_body_arrive_in_one_piece() -> None:
    async with serving() as address, connected(address) as (reader, writer):
        for number in range(20):
            writer.write(post(b"body%02d" % number))
            piece = await reader.read(65_536)
            assert piece.startswith(b"HTTP/1.1 200")
            assert piece.endswith(b"body%02d" % number)


async def test_a_request_may_come_byte_by_byte() -> None:
    async with serving() as address, connected(address) as (reader, writer):
        for byte in post(b"slow", b"X-Some: field"):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await answer(reader))[2] == b"slow"


async def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    running: list[bytes] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        running.append(body)
        await asyncio.sleep(0.01)
        assert running == [body]
        running.clear()
        await respond(send, body)

    async with serving(slow) as address, connected(address) as (reader, writer):
        writer.write(b"".join(post(b"body%d" % number) for number in range(5)))
        assert [(await answer(reader))[2] for _ in range(5)] == [b"body%d" % number for number in range(5)]


async def test_an_application_runs_only_once_its_request_is_whole() -> None:
    called: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(scope["method"])
        assert await receive() == {"type": "http.request", "body": b"whole", "more_body": False}
        await respond(send, b"ok")

    async with serving(note) as address, connected(address) as (reader, writer):
        request = post(b"whole")
        writer.write(request[:-1])
        async with connected(address) as other:
            other[1].write(post(b"whole"))
            await answer(other[0])
        assert called == ["POST"], "the other one's"
        writer.write(request[-1:])
        await answer(reader)
        assert called == ["POST", "POST"]


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
        for _ in range(500):  # a byte now and then does not extend the deadline
            if cut_off.done():
                break
            assert await ask(quick, b"quick") == b"quick"
            slow[1].write(b"A")
            await asyncio.sleep(0.02)
        with suppress(ConnectionError):
            assert b" 200 " not in await cut_off
        assert await ask(quick, b"still there") == b"still there"


@pytest.mark.usefixtures("impatient")
async def test_a_connection_that_stays_quiet_is_closed_only_after_the_keep_alive() -> None:
    async with serving(worker=make_worker(keep_alive_seconds=1)) as address, connected(address) as streams:
        begun = asyncio.get_running_loop().time()
        assert await ask(streams, b"once") == b"once"
        assert await streams[0].read() == b""
        assert asyncio.get_running_loop().time() - begun > 1


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_leaves_its_response_unread_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNREAD_SECONDS_MAX", 0.2)
    ended: list[str] = []

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"x" * 20_000_000)
        await receive()
        ended.append((await receive())["type"])

    async with serving(large) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the client's own decision
        writer.write(GET)
        await until(lambda: ended == ["http.disconnect"])
        writer.transport.abort()


@pytest.mark.parametrize(
    "header",
    [(b"x", b"a\r\nset-cookie: b"), (b"x", b"a\nb: c"), (b"x", b"a\rb"), (b"x", b"a\0b"), (b"x\r\ny", b"a")],
)
async def test_an_invalid_header_of_the_application_is_never_sent(header: tuple[bytes, bytes]) -> None:
    async def split(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(RuntimeError, match="Invalid HTTP header"):
            await respond(send, b"", 200, header)
        await respond(send, b"no", 500)

    async with serving(split) as address, connected(address) as (reader, writer):
        writer.write(GET)
        assert (await answer(reader))[::2] == (500, b"no")


@pytest.mark.parametrize("body", [b"four", b"far too long"])
async def test_a_body_of_a_wrong_length_does_not_corrupt_other_responses(body: bytes) -> None:
    async def wrong(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": body})

    async with serving(wrong) as address, connected(address) as (reader, writer):
        writer.write(GET + GET)
        if len(body) > 9:
            assert [(await answer(reader))[0] for _ in range(2)] == [500, 500], "nothing of it was written"
        else:
            assert (await reader.read()).endswith(b"\r\n\r\nfour")


async def test_streamed_responses_and_responses_to_head_are_framed_correctly() -> None:
    async def pieces(scope: Scope, receive: Receive, send: Send) -> None:
        length = [] if scope["path"] == "/chunks" else [(b"content-length", b"6")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"two", "more_body": True})
        await send({"type": "http.response.body", "body": b"six", "more_body": True})
        await send({"type": "http.response.body"})

    async with serving(pieces) as address, connected(address) as (reader, writer):
        writer.write(GET)
        assert (await answer(reader))[2] == b"twosix"
        writer.write(GET.replace(b"/ ", b"/chunks "))
        assert b"transfer-encoding: chunked" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n3\r\nsix\r\n0\r\n\r\n"
        writer.write(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"content-length: 6" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /chunks HTTP/1.0\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert (body, b"chunked" in head, b"connection: close" in head) == (b"twosix", False, True)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none_and_no_length(status: int) -> None:
    async def bodiless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with serving(bodiless) as address, connected(address) as (reader, writer):
        for _ in range(2):
            writer.write(GET)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 %d" % status)
            assert b"content-length" not in head
            assert b"transfer-encoding" not in head


@pytest.mark.parametrize(
    ("version", "lines"), [(b"1.0", []), (b"1.1", [b"Connection: close"])], ids=["an old client", "the last one"]
)
async def test_a_connection_ends_when_its_client_wants_it(version: bytes, lines: list[bytes]) -> None:
    async with serving() as address, connected(address) as (reader, writer):
        writer.write(post(b"body", *lines, version=version))
        status, head, body = await answer(reader)
        assert (status, body, head.count(b"connection: close\r\n")) == (200, b"body", 1)
        assert await reader.read() == b""


async def test_a_client_that_expects_100_continue_gets_it() -> None:
    async with serving() as address, connected(address) as (reader, writer):
        for _ in range(2):
            writer.write(post(b"body", b"Expect: 100-continue")[:-4])
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            writer.write(b"body")
            assert (await answer(reader))[2] == b"body"


async def test_100_continue_comes_behind_the_response_before_it() -> None:
    gate = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await echo(scope, receive, send)

    async with serving(slow) as address, connected(address) as (reader, writer):
        writer.write(post(b"first") + post(b"second", b"Expect: 100-continue")[:-6])
        await asyncio.sleep(0.05)
        gate.set()
        assert (await answer(reader))[2] == b"first"
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"second")
        assert (await answer(reader))[2] == b"second"


async def test_a_half_closed_client_gets_every_response_and_the_end() -> None:
    gate = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await echo(scope, receive, send)

    async with serving(slow) as address, connected(address) as (reader, writer):
        writer.write(post(b"one", path=b"/initialize") + post(b"two") + post(b"three")[:-1])
        writer.write_eof()
        await asyncio.sleep(0.05)
        gate.set()
        assert [(await answer(reader))[2] for _ in range(2)] == [b"one", b"two"]
        assert await reader.read() == b"", "an incomplete request ran"


async def waits_for_the_end(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_application_that_waits_is_told_when_its_client_has_closed(at_once: bool) -> None:
    begun, told = asyncio.Event(), asyncio.Event()

    async def waits(_: Scope, receive: Receive, __: Send) -> None:
        begun.set()
        await waits_for_the_end(receive)
        told.set()

    async with serving(waits) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.write(post(b""))
        if not at_once:
            await begun.wait()
        writer.close()
        async with asyncio.timeout(60):
            await told.wait()


async def test_an_application_that_waits_for_the_end_answers_a_half_closed_client() -> None:
    probed = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(waits_for_the_end(receive))
        await asyncio.wait((gone, asyncio.ensure_future(probed.wait())), return_when=asyncio.FIRST_COMPLETED)
        assert not gone.done()
        gone.cancel()
        await echo(scope, receive_nothing, send)

    async with serving(waits) as address, connected(address) as (reader, writer):
        writer.write(post(b""))
        writer.write_eof()
        for _ in range(2):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        probed.set()
        rest = await reader.read()
        assert rest.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").startswith(b"HTTP/1.1 200")


async def receive_nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def test_a_response_on_its_way_goes_out_whenever_the_client_half_closes() -> None:
    async with serving() as address:
        for turns in range(200):
            async with connected(address) as (reader, writer):
                writer.write(post(b"body"))
                for _ in range(turns % 6):
                    await asyncio.sleep(0)
                writer.write_eof()
                assert (await reader.read()).endswith(b"body"), turns


async def test_a_request_is_carried_out_even_if_its_client_has_left() -> None:
    gate, done = asyncio.Event(), []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        await gate.wait()
        done.append(body)
        await respond(send, body)

    worker = make_worker()
    async with serving(slow, worker) as address:
        async with connected(address) as (_, writer):
            writer.write(post(b"body", path=b"/book"))
            await until(lambda: worker.shedder.in_flight == 1)
            writer.transport.abort()
        gate.set()
        await until(lambda: done == [b"body"] and worker.shedder.in_flight == 0)


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_a_body_over_the_limit_reaches_the_application_cut_and_ends_the_connection(chunked: bool) -> None:
    seen: list[int] = []

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(len((await receive())["body"]))
        await respond(send, b"no more", 413)

    head = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: 50000000\r\n"
    async with serving(refuse) as address, connected(address) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + (b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 2)
        status, told, body = await answer(reader)
        assert (status, body, told.count(b"connection: close\r\n")) == (413, b"no more", 1)
        assert await reader.read() == b"", "the response was lost to a reset"
        await send_on(writer, 5_000_000)
        writer.write(GET)
        await writer.drain()
    assert seen == [16_385 if chunked else 0], "bytes after the request were read"


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_sends_on_is_closed_after_the_request_timeout() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"no", 413)

    async with serving(refuse) as address, connected(address) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\n")
        async with asyncio.timeout(WAIT_SECONDS):
            assert (await reader.read()).endswith(b"no")
            with pytest.raises(ConnectionError):
                await send_on(writer, 9_000_000_000)


async def test_an_application_that_fails_ends_in_a_problem_and_the_next_request_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            raise RuntimeError("boom")
        if scope["path"] == "/nothing":
            return
        await respond(send, b"fine")

    notes = take_notes(monkeypatch, call_module)
    async with serving(broken) as address, connected(address) as (reader, writer):
        writer.write(GET + GET.replace(b"/ ", b"/nothing ") + GET.replace(b"/ ", b"/fine "))
        first, second, third = [await answer(reader) for _ in range(3)]
    assert (first[0], b"internal_error" in first[2]) == (second[0], b"internal_error" in second[2]) == (500, True)
    assert third[2] == b"fine"
    assert [line[:2] for line in notes.lines] == [("exception", "the application failed")]


async def test_an_application_that_fails_in_the_middle_of_a_response_ends_the_connection() -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("boom")

    async with serving(half) as address, connected(address) as (reader, writer):
        writer.write(GET + GET)
        heard = await reader.read()
        assert heard.count(b"HTTP/1.1") == 1
        assert heard.endswith(b"4\r\nhalf\r\n"), "no last chunk, so that the client sees it is not whole"


@pytest.mark.parametrize("loop_is_busy", [False, True])
async def test_a_stop_answers_requests_in_flight_and_closes_their_connections(loop_is_busy: bool) -> None:
    gate, arrived = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.set()
        await gate.wait()
        await respond(send, b"slow")

    async with serving(slow) as address:
        idle = await asyncio.open_connection(*address)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GET if loop_is_busy else GET[:-1])
        if loop_is_busy:
            await arrived.wait()
        asyncio.get_running_loop().call_later(0.1, writer.write, b"" if loop_is_busy else GET[-1:])
        asyncio.get_running_loop().call_later(0.2, gate.set)
    status, head, body = await answer(reader)
    assert (status, body, head.count(b"connection: close\r\n")) == (200, b"slow", 1)
    assert await reader.read() == b""
    assert await idle[0].read() == b""
    for each in (writer, idle[1]):
        each.close()


async def test_a_stop_does_not_wait_for_incomplete_requests() -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        async with serving(graceful_seconds=10 * WAIT_SECONDS) as address:
            _, writer = await asyncio.open_connection(*address)
            writer.write(post(b"four")[:-2])
            await asyncio.sleep(0.1)
        writer.close()


async def test_a_stop_cancels_slow_requests_and_still_answers_them() -> None:
    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async with serving(endless, graceful_seconds=0.1) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GET)
        await asyncio.sleep(0.1)
    assert (await answer(reader))[0] == 500
    writer.close()


def streaming(ended: list[Message]) -> Answer:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await receive()
        scope["extensions"][EXTENSION]["write"](b"piece")
        ended.append(await receive())

    return stream


def test_the_application_names_the_protocols_extension() -> None:
    assert headers.EXTENSION == EXTENSION


async def test_the_extension_has_a_requests_fields_by_name_unless_a_name_is_there_twice() -> None:
    found: list[dict[bytes, bytes] | None] = []

    async def keep(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope["extensions"][EXTENSION]["fields"])
        await echo(scope, receive, send)

    async with serving(keep) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-One: 1\r\n\r\n")
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nx-one: 2\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()
    assert found == [{b"host": b"x", b"x-one": b"1"}, None]


async def test_a_whole_response_in_one_message_is_framed_like_any_other() -> None:
    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": [], "body": b"done"})

    async with serving(whole) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET /200 HTTP/1.1\r\nHost: x\r\n\r\nHEAD /200 HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.write(b"GET /304 HTTP/1.1\r\nHost: x\r\n\r\nGET /200 HTTP/1.0\r\n\r\n")
        first, second, third, last = (part for part in (await reader.read()).split(b"HTTP/1.1 ") if part)
        writer.close()
    assert first.startswith(b"200 OK\r\n")
    assert first.endswith(b"content-length: 4\r\n\r\ndone")
    assert second.endswith(b"content-length: 4\r\n\r\n")
    assert third.startswith(b"304 Not Modified\r\n")
    assert b"content-length" not in third
    assert b"connection: close\r\n" in last
    assert last.endswith(b"\r\n\r\ndone")


@pytest.mark.parametrize("leave", ["close", "half-close"])
async def test_a_stream_ends_if_its_client_has_left(leave: str) -> None:
    ended: list[Message] = []
    async with serving(streaming(ended)) as address:
        async with connected(address) as (reader, writer):
            writer.write(GET + GET)  # also with a request waiting behind it
            await reader.readuntil(b"5\r\npiece\r\n")
            if leave == "half-close":
                writer.write_eof()
                await until(lambda: bool(ended))
        await until(lambda: bool(ended))
    assert ended == [{"type": "http.disconnect"}]


async def test_a_stop_ends_a_stream_as_a_whole_response() -> None:
    ended: list[Message] = []
    async with serving(streaming(ended)) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GET)
        await reader.readuntil(b"piece\r\n")
    assert await reader.read() == b"0\r\n\r\n"
    assert ended == [{"type": "http.disconnect"}]
    writer.close()


async def test_a_stream_that_ends_is_a_whole_response_and_the_next_request_is_answered() -> None:
    heard: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/stream":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await receive()
        extension = scope["extensions"][EXTENSION]
        extension["write"](b"piece")
        asyncio.get_running_loop().call_soon(extension["end"])
        heard.append(await receive())

    async with serving(application) as address, connected(address) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + post(b"next"))
            await reader.readuntil(b"5\r\npiece\r\n0\r\n\r\n")
            assert (await answer(reader))[2] == b"next"
    assert heard == [{"type": "http.disconnect"}] * 2


async def test_all_waiting_connections_are_accepted_in_one_loop_iteration() -> None:
    """On every event loop. uvloop by itself accepts one connection in each iteration."""
    worker = make_worker()
    async with serving(worker=worker) as address:
        streams = await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(200)))
        for number, (_, writer) in enumerate(streams):
            writer.write(post(b"%d" % number))
        for number, (reader, _) in enumerate(streams):
            assert (await answer(reader))[2] == b"%d" % number
        for _, writer in streams:
            writer.close()


def alive() -> int:
    return sum(isinstance(one, AsgiCall | HttpProtocol) for one in gc.get_objects())


async def test_requests_and_connections_are_freed_without_garbage_collection() -> None:
    """The collector runs rarely, so thousands of connections would each leave some kilobytes."""
    gc.collect()
    gc.disable()
    before = alive()
    try:
        async with serving() as address:
            async with connected(address) as streams:
                for _ in range(20):
                    assert await ask(streams, b"body") == b"body"
                assert alive() <= before + 2
            async with connected(address) as (_, writer):
                writer.write(post(b"body")[:-1])
                await writer.drain()
            await until(lambda: alive() <= before)
    finally:
        gc.enable()
