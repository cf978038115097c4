"""A server in the test's own loop, and clients of it that write bytes as they please."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from booking.processes.listening_sockets import listen
from booking.processes.web_server import Server, configuration
from booking.settings import Settings
from booking.web.admission import Admission
from booking.web.middleware import Frame

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body it was sent."""
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


@asynccontextmanager
async def serving(
    keep_alive_seconds: int = 75,
    application: ASGIApp = echo,
    admission: Admission | None = None,
    frame: Frame | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """A server with an application of one's own, and where it is."""
    listener = listen("127.0.0.1", 0)
    config = configuration(application, Settings())
    config.timeout_keep_alive = keep_alive_seconds
    server = Server(config, admission, frame)
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
    """Sends so many more, as a client does that has not looked at its answer. Raises OSError once nobody takes them."""
    while octets > 0:
        writer.write(b"x" * min(octets, 1_000_000))
        octets -= 1_000_000
        await writer.drain()
        await asyncio.sleep(0)
