"""A server in the test's own event loop, and clients that write arbitrary bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from booking.http.worker import HttpWorker, Rejection
from booking.processes.listening_sockets import listen
from booking.processes.web_server import configuration
from booking.settings import Settings
from booking.web.rejections import Rejections
from booking.web.requests import BODY_BYTES_MAX
from booking.web.routes import is_sheddable

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the request's body."""
    if scope["type"] == "lifespan":
        for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            await receive()
            await send({"type": answer})
        return
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def make_worker(
    limit: int | None = None, cors_origins: tuple[str, ...] = (), keep_alive_seconds: float = 75
) -> HttpWorker:
    """What the connections of a test's server share; with a `limit` of requests under way."""
    rejections = Rejections(cors_origins)
    worker = HttpWorker(
        lambda code, headers: Rejection(*rejections(code, headers)),
        is_sheddable,
        body_bytes_max=BODY_BYTES_MAX,
        keep_alive_seconds=keep_alive_seconds,
    )
    if limit is not None:
        worker.shedder.limit = limit
    return worker


@asynccontextmanager
async def serving(
    application: ASGIApp | None = None, worker: HttpWorker | None = None, *, graceful_seconds: float = 7
) -> AsyncIterator[tuple[str, int]]:
    """Runs uvicorn with this service's protocol and the given application. Yields its address."""
    listener = listen("127.0.0.1", 0)
    worker = make_worker() if worker is None else worker
    worker.listeners = [listener]
    config = configuration(application or echo, worker, Settings())
    config.timeout_graceful_shutdown = graceful_seconds  # type: ignore[assignment]  # parts of a second do as well
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[Streams]:
    """A client's connection."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def send_on(writer: asyncio.StreamWriter, octets: int) -> None:
    """Sends more bytes, as a client does that has not read its answer. Raises OSError when the server has closed."""
    while octets > 0:
        writer.write(b"x" * min(octets, 1_000_000))
        octets -= 1_000_000
        await writer.drain()
        await asyncio.sleep(0)
