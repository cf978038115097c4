"""Many clients do every rude thing at random: nobody else feels it, nothing is kept of them, and nothing is stuck."""

import asyncio
import gc
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httptools
import pytest
import uvloop
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from booking.processes import web_server as server_module
from booking.processes.listening_sockets import listen
from booking.processes.web_server import Server, configuration
from booking.settings import Settings
from booking.web import anteroom, connection, patience
from booking.web.access_log import AccessLog, json_line
from booking.web.cycle import CYCLE, Cycle
from booking.web.heads import CLOSE
from booking.web.middleware import Frame
from booking.web.problems import Problem
from booking.web.requests import read_json
from booking.web.responses import Answer

from .serving import echo

SECONDS, SEED = 2.0, 1
RUDE, POLITE = 24, 3
LIMIT = 2
WAIT_SECONDS = 10

ID = b"x-request-id"


class Sale:
    """Endpoints of every kind, on both ways."""

    def __init__(self, log: int, dice: random.Random) -> None:
        self.dice = dice
        found: dict[bytes, Any] = {
            b"/book": self.book, b"/cancel": self.hasty, b"/confirm": self.last,
            b"/status/1": self.look, b"/events/2": self.large, b"/events/3": self.fails,
        }  # fmt: skip
        route = Route("/book", echo)
        self.frame = Frame(
            self.asgi,
            AccessLog(json_line, log),
            find=lambda method, path: (method.decode(), route, found[path], {}) if path in found else None,
        )
        self.frame.admission.limit = LIMIT

    async def _pause(self) -> None:
        for _ in range(self.dice.randrange(4)):
            await asyncio.sleep(self.dice.choice((0, 0, 0.001, 0.01)))

    async def book(self, scope: Scope, receive: Receive) -> Answer:
        value = await read_json(scope, receive, [])
        await self._pause()
        return Answer(200, b"%d" % value)

    async def look(self, _: Scope, __: Receive) -> Answer:
        await self._pause()
        return Answer(200, b"look")

    async def hasty(self, _: Scope, __: Receive) -> Answer:
        return Answer(401, b"who?")

    async def last(self, _: Scope, __: Receive) -> Answer:
        return Answer(413, b"no more", CLOSE)

    async def large(self, _: Scope, __: Receive) -> Answer:
        await self._pause()
        return Answer(200, b"x" * 300_000)

    async def fails(self, _: Scope, __: Receive) -> Answer:
        raise Problem("not_found")

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
            return
        path = scope["path"]
        if path not in ("/early", "/closes") and not await self._is_heard(receive):
            return
        await self._pause()
        if path == "/fails":
            raise Problem("not_found")
        if path in ("/stream", "/live", "/breaks"):
            await self._stream(path, scope, receive, send)
            return
        body = b"x" * 300_000 if path == "/large" else b"fine"
        headers = [(b"content-length", b"%d" % len(body)), *([CLOSE] if path == "/closes" else [])]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _is_heard(self, receive: Receive) -> bool:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            more = message["more_body"]
        return True

    async def _stream(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(self.dice.randrange(1, 5)):
            await send({"type": "http.response.body", "body": b"y" * 3_000, "more_body": True})
            await self._pause()
        if path == "/breaks":
            raise Problem("not_found")
        if path == "/stream":
            await send({"type": "http.response.body", "body": b""})
            return
        stream = scope[CYCLE]().begin_stream()
        stream.write_piece(b"z" * 10)
        asyncio.get_running_loop().call_later(0.05, stream.end_stream)
        while (await receive())["type"] != "http.disconnect":
            pass


class Heard:
    """What a client has been answered, by its own parser."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.parser = httptools.HttpResponseParser(self)
        self.id = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == ID:
            self.id = value

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() != 100:
            self.answers.append((self.parser.get_status_code(), self.id))
        self.id = b""


PATHS = [
    b"GET /status/1", b"GET /status/1", b"GET /events/2", b"GET /events/3", b"POST /book", b"POST /book",
    b"POST /cancel", b"POST /confirm", b"POST /early", b"POST /closes", b"GET /stream", b"GET /live", b"GET /breaks",
    b"GET /fails", b"GET /large", b"POST /echo", b"GET /%73tatus/1", b"GET http://x/status/1", b"PATCH /events/1",
]  # fmt: skip


@dataclass
class Rude:
    """One who does what it pleases."""

    dice: random.Random
    address: tuple[str, int]
    faults: list[str]
    met: Counter[str]
    number: int = 0
    sent: list[bytes] = field(default_factory=list)
    what: dict[bytes, object] = field(default_factory=dict)

    def request(self) -> bytes:
        dice = self.dice
        self.number += 1
        identity = b"r%d-%d" % (id(self) % 100_000, self.number)
        self.sent.append(identity)
        line, version = dice.choice(PATHS), dice.choice((b"1.1",) * 12 + (b"1.0",))
        head = [line + b" HTTP/" + version, b"Host: x", b"X-Request-ID: " + identity]
        if dice.random() < 0.04:
            head.append(b"Connection: close")
        if dice.random() < 0.05:
            head += [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEA"]
        if dice.random() < 0.05:
            head.append(b"X-Long: " + b"l" * dice.choice((5_000, 70_000)))
        body = b""
        if line.startswith(b"POST"):
            body = dice.choice((b"1", b"1", b"{", b" " * 9_000 + b"1", b"x" * 100_000))
            if dice.random() < 0.1:
                head.append(b"Expect: 100-continue")
            if dice.random() < 0.3:
                head.append(b"Transfer-Encoding: chunked")
                size = dice.choice((1, 7, 1_000, 50_000))
                parts = [body[at : at + size] for at in range(0, len(body), size)][:3_000]
                body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
                body += dice.choice((b"0\r\n\r\n",) * 6 + (b"no size\r\n", b"0\r\nT: " + b"t" * 150_000 + b"\r\n\r\n"))
            else:
                head.append(b"Content-Length: %d" % len(body))
        self.what[identity] = (b"|".join(head)[:300], len(body), body[:20], body[-20:])
        return b"\r\n".join([*head, b"", b""]) + body

    async def live(self) -> None:
        dice = self.dice
        heard, self.sent, self.number = Heard(), [], 0
        reader, writer = await asyncio.open_connection(*self.address)
        reads = dice.random() < 0.8
        reading = asyncio.create_task(self._read(reader, heard)) if reads else None
        if not reads:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # the client's own hand on its ear
        with suppress(ConnectionError, RuntimeError):  # uvloop's own, of a transport that has ended
            await self._send(writer)
        ends = dice.choice(("close", "abort", "eof", "wait", "wait"))
        self.met[ends] += 1
        with suppress(OSError, RuntimeError):
            if ends == "eof":
                writer.write_eof()
        if reading is not None and ends in ("eof", "wait"):
            try:
                await asyncio.wait_for(reading, WAIT_SECONDS)  # whatever it is, the service ends it
            except TimeoutError:
                self.faults.append(f"a connection was left open: {self.sent[-3:]} {heard.answers[-3:]}")
        elif ends in ("wait", "eof"):
            await asyncio.sleep(0.5)
        if reading is not None:
            reading.cancel()
        writer.transport.abort() if ends != "close" else writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self._judge(heard)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        dice = self.dice
        for _ in range(dice.randrange(1, 6)):
            text = b"".join(self.request() for _ in range(dice.choice((1, 1, 1, 2, 3, 8, 8, 200))))
            rude = dice.random()
            if rude < 0.05:
                text += b"rubbish\r\n\r\n"
            elif rude < 0.08:
                text += b"GET /" + b"e" * 300_000
            elif rude < 0.2:
                text = text[: dice.randrange(1, len(text))]
            cuts = sorted(dice.randrange(len(text)) for _ in range(dice.choice((0, 0, 1, 2, 5))))
            for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
                writer.write(text[start:end])
                await asyncio.sleep(dice.choice((0, 0, 0.001, 0.01)))
            if dice.random() < 0.3:
                await asyncio.sleep(dice.choice((0.01, 0.06, 0.3)))
            if rude < 0.2:
                break

    async def _read(self, reader: asyncio.StreamReader, heard: Heard) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self.dice.random() < 0.1:
                    await asyncio.sleep(0.02)
                try:
                    heard.parser.feed_data(data)
                except httptools.HttpParserError as error:
                    self.faults.append(f"no HTTP: {error} {data[:200]!r} after {heard.answers[-2:]}")
                    return

    def _judge(self, heard: Heard) -> None:
        """Answers come in the order of the requests, none is left out; one that is no HTTP ends it."""
        for status, _ in heard.answers:
            self.met[str(status)] += 1
        got = [identity for status, identity in heard.answers if not (status == 400 and not identity.startswith(b"r"))]
        if got != self.sent[: len(got)]:
            at = next(n for n, (one, other) in enumerate(zip(got, self.sent, strict=False)) if one != other)
            self.faults.append(f"no answer to {self.what[self.sent[at]]}, but {heard.answers[at : at + 2]}")


async def polite(address: tuple[str, int], faults: list[str], met: Counter[str], until: float) -> None:
    """Somebody who asks one thing after the other, and comes back when told to."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(*address)
    number = 0
    while loop.time() < until:
        number += 1
        identity = b"p%d-%d" % (id(writer) % 100_000, number)
        writer.write(
            b"POST /book HTTP/1.1\r\nHost: x\r\nX-Request-ID: %b\r\nContent-Length: 5\r\n\r\n%05d"
            % (identity, 10_000 + number)
        )
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError) as error:
            faults.append(f"a polite client: {error!r}")
            return
        status = int(head.split()[1])
        met[f"polite {status}"] += 1
        if identity not in head or status not in (200, 503) or (status == 200 and body != b"%d" % (10_000 + number)):
            faults.append(f"a polite client: {head!r} {body!r}")
        await asyncio.sleep(0.005)
    writer.close()


@asynccontextmanager
async def opened(sale: Sale) -> AsyncIterator[tuple[Server, tuple[str, int]]]:
    listener = listen("127.0.0.1", 0)
    config = configuration(sale.frame, Settings())
    config.timeout_keep_alive = 1
    server = Server(config, sale.frame.admission, sale.frame)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server, listener.getsockname()
    finally:
        server.should_exit = True
        await task


async def storm(folder: Path, seed: int, seconds: float) -> None:
    loop, faults, met = asyncio.get_running_loop(), list[str](), Counter[str]()
    loop.set_exception_handler(lambda _, context: faults.append(f"in the loop: {context}"))
    lowest = 0
    with (folder / "log").open("wb", buffering=0) as log:
        sale = Sale(log.fileno(), random.Random(seed))
        async with opened(sale) as (server, address):
            end = loop.time() + seconds

            async def rude(of: int) -> None:
                client = Rude(random.Random(seed * 1_000 + of), address, faults, met)
                while loop.time() < end:
                    await client.live()

            async def watch() -> None:
                nonlocal lowest
                while True:
                    lowest = min(lowest, sale.frame.admission.in_flight)
                    await asyncio.sleep(0)

            watching = asyncio.create_task(watch())
            crowd = [rude(of) for of in range(RUDE)] + [polite(address, faults, met, end) for _ in range(POLITE)]
            await asyncio.gather(*crowd)
            state = server.server_state
            kept: Callable[[], tuple[int, ...]] = lambda: (  # noqa: E731
                len(state.connections), len(state.tasks), sale.frame.admission.in_flight, len(state.anteroom),
            )  # fmt: skip
            last = loop.time() + 5
            while any(kept()) and loop.time() < last:
                await asyncio.sleep(0.02)
            left = [vars(one) for one in state.connections]
            watching.cancel()
            assert {"200", "polite 200"} <= met.keys(), "it was no storm"
            assert not faults, "\n".join([f"{len(faults)} faults", *faults[:6]])
            assert kept() == (0, 0, 0, 0), (kept(), left)
            assert lowest == 0
            await asyncio.wait_for(polite(address, faults, met, loop.time() + 0.05), WAIT_SECONDS)
            assert not faults
            alive = sum(isinstance(one, Cycle | connection.Connection) for one in gc.get_objects())
            assert alive <= 3, f"{alive} connections and requests wait for the collector"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_storm_of_rude_clients_leaves_nothing_behind(
    run: Callable[[Any], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "REQUEST_SECONDS_MAX", 0.5)
    monkeypatch.setattr(patience, "UNREAD_SECONDS_MAX", 0.4)
    monkeypatch.setattr(server_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(anteroom, "PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "disabled", True)
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)
    gc.collect()
    gc.disable()
    try:
        run(storm(tmp_path, SEED, SECONDS))
    finally:
        gc.enable()
