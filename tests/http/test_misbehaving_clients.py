"""Clients that read nothing, send invalid HTTP, send without an end, or leave do not affect other clients."""

import asyncio
import gc
from contextlib import suppress
from itertools import pairwise

import pytest
from starlette.types import Receive, Scope, Send

from booking.http import protocol as module
from booking.http import worker as worker_module
from booking.http.call import AsgiCall
from booking.http.protocol import PIPELINED_MAX, HttpProtocol
from booking.http.request import HEAD_BYTES_MAX, Request, RequestReader

from .serving import connected, echo, make_worker, serving
from .test_protocol import WAIT_SECONDS, answer, post, respond, until

QUICK = b"GET /status/1 HTTP/1.1\r\nHost: x\r\n\r\n"

JAVA = (
    b"POST /book HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nContent-Length: %d\r\n\r\n"
)
"""As Java's HTTP client begins a connection."""


def read(*pieces: bytes, body_bytes_max: int = 1_000) -> list[Request]:
    """The requests in these bytes."""
    requests: list[Request] = []
    reader = RequestReader(requests.append, body_bytes_max)
    for piece in pieces:
        reader.feed(piece)
    reader.close()
    return requests


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_the_body_after_an_upgrade_header_belongs_to_its_request(pieces: int) -> None:
    body = b"GET /status/666 HTTP/1.1\r\nHost: x\r\n\r\n"
    whole = JAVA % len(body) + body
    # The last cut is between head and body, so that the body could be read as a request.
    cuts = [0, *([40] if pieces == 3 else []), *([len(whole) - len(body)] if pieces > 1 else []), len(whole)]
    parts = [whole[start:end] for start, end in pairwise(cuts)]
    first, second = read(*parts, post(b"next"))
    assert (first.path, first.body, first.rejection) == ("/book", body, None)
    assert b"upgrade" not in dict(first.headers)
    assert (second.path, second.body) == ("/", b"next")


def test_other_options_of_the_connection_header_stay() -> None:
    (request,) = read(b"GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert request.headers == [(b"host", b"x"), (b"connection", b"keep-alive")]
    assert (request.path, request.query, request.is_last) == ("/a", b"b", False)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/book", "/book", b""),
        (b"/status/1?x=%20", "/status/1", b"x=%20"),
        (b"/%73tatus/1", "/status/1", b""),
        (b"http://x/status/1?y", "/status/1", b"y"),
        (b"/status/1#x", "/status/1", b""),
        (b"*", "*", b""),
        (b"/caf%C3%A9", "/café", b""),
    ],
)
def test_every_form_of_a_request_target_gives_its_path_and_query(target: bytes, path: str, query: bytes) -> None:
    (request,) = read(b"OPTIONS " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (request.path, request.query, request.rejection) == (path, query, None)


@pytest.mark.parametrize("method", [b"BREW", b"X", b"get", b"M-SEARCH-AGAIN"])
def test_an_unknown_method_is_a_request_like_any_other(method: bytes) -> None:
    requests = read(method + post(b"body")[4:], post(b"next"))
    assert [(one.method, one.body, one.rejection) for one in requests] == [
        (method.decode(), b"body", None),
        ("POST", b"next", None),
    ]


@pytest.mark.parametrize(
    ("lines", "rejection"),
    [
        (b"", "malformed_request"),
        (b"Host: x\r\nHost: x\r\n", "malformed_request"),
        (b"Host: x\r\nTransfer-Encoding: gzip, chunked\r\n", "transfer_encoding_unsupported"),
        (b"Host: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "transfer_encoding_unsupported"),
        (b"Host: x\r\nTransfer-Encoding: Chunked\r\n", None),
        (b"Host: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "malformed_request"),
    ],
)
def test_an_ambiguous_head_is_rejected(lines: bytes, rejection: str | None) -> None:
    requests = read(b"POST / HTTP/1.1\r\n" + lines + b"\r\n0\r\n\r\n" + post(b"smuggled"))
    assert requests[0].rejection == rejection
    assert len(requests) == (2 if rejection is None else 1), "bytes after a rejection were read as a request"


def test_http_1_0_needs_no_host() -> None:
    (request,) = read(b"GET / HTTP/1.0\r\n\r\n")
    assert (request.rejection, request.is_last) == (None, True)


async def test_invalid_http_gets_its_problem_after_the_earlier_response() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.05)
        await echo(scope, receive, send)

    async with serving(slow) as address, connected(address) as (reader, writer):
        writer.write(post(b"booked") + b"rubbish\r\n\r\n")
        assert (await answer(reader))[2] == b"booked"
        status, _, problem = await answer(reader)
        assert (status, b"malformed_request" in problem) == (400, True)
        assert await reader.read() == b""


async def test_a_body_that_is_invalid_http_gets_one_problem_and_no_call() -> None:
    async with serving() as address, connected(address) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"no size\r\n")
        assert (await answer(reader))[0] == 400
        assert await reader.read() == b""


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
def test_a_request_without_an_end_is_rejected_at_a_bounded_size(beginning: bytes, more: bytes) -> None:
    requests: list[Request] = []
    reader = RequestReader(requests.append, 1_000)
    reader.feed(beginning)
    sent = 0
    while not requests:
        reader.feed(more)
        sent += len(more)
        assert sent <= HEAD_BYTES_MAX + len(more)
    assert requests[0].rejection == "malformed_request"


def test_a_head_that_comes_in_one_piece_is_bounded_too() -> None:
    (request,) = read(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (HEAD_BYTES_MAX + 1))
    assert request.rejection == "malformed_request"


def test_earlier_requests_do_not_count_towards_the_size_of_a_long_one() -> None:
    one = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"t" * 1_500 + b"\r\n\r\n"
    pieces = one * 100
    assert [request.rejection for request in read(pieces[:-10], pieces[-10:])] == [None] * 100


async def test_the_number_of_waiting_requests_on_one_connection_is_bounded() -> None:
    going, begun = asyncio.Event(), list[str]()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])
        await going.wait()
        await respond(send, b"ok")

    async with serving(wait) as address:
        async with connected(address) as (reader, writer):
            writer.write(QUICK * (1 + PIPELINED_MAX))
            await until(lambda: bool(begun))
            going.set()
            assert {(await answer(reader))[0] for _ in range(1 + PIPELINED_MAX)} == {200}
        going.clear()
        del begun[:]
        reader, writer = await asyncio.open_connection(*address)
        writer.write(QUICK * 13_000)
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        assert begun == ["/status/1"], "the rest of the client's bytes were read"
        going.set()
        writer.transport.abort()


async def test_the_size_of_waiting_requests_on_one_connection_is_bounded() -> None:
    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    async with serving(wait) as address, connected(address) as (reader, writer):
        writer.write(post(b"", b"X: " + b"x" * 100_000) * 20)
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionError):
                assert await reader.read() == b""


async def test_clients_that_read_nothing_keep_no_slot() -> None:
    large = asyncio.Event()

    async def large_at_first(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"ok" if large.is_set() else b"x" * 8_000_000)

    worker = make_worker(1)
    async with serving(large_at_first, worker) as address:
        deaf = [await asyncio.open_connection(*address) for _ in range(3)]
        for _, writer in deaf:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # the client's own decision
            writer.write(QUICK)
            await until(lambda: worker.shedder.in_flight == 0)
        large.set()
        async with connected(address) as (reader, writer):
            writer.write(QUICK)
            assert (await answer(reader))[2] == b"ok"
        for _, writer in deaf:
            writer.transport.abort()
    assert worker.shedder.turned_away == 0


async def test_a_client_that_sends_on_and_reads_no_response_is_cut_off() -> None:
    async with serving() as address:
        _, writer = await asyncio.open_connection(*address)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the client's own decision

        async def send_on() -> None:
            while True:
                writer.write(post(b"x" * 10_000) * 10)
                await writer.drain()
                await asyncio.sleep(0)

        async with asyncio.timeout(WAIT_SECONDS):
            with pytest.raises(ConnectionError):
                await send_on()
        writer.transport.abort()


async def test_a_client_that_leaves_its_last_response_unread_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS_MAX", 0.2)
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.05)

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"x" * 8_000_000, 200, (b"connection", b"close"))

    gc.collect()
    before = sum(isinstance(one, AsgiCall | HttpProtocol) for one in gc.get_objects())
    async with serving(large) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the client's own decision
        writer.write(QUICK)
        await asyncio.sleep(0.1)
        await until(lambda: sum(isinstance(one, AsgiCall | HttpProtocol) for one in gc.get_objects()) <= before)
        writer.transport.abort()
