"""Many clients misbehave at random: other clients are not affected, nothing is kept of them, and nothing hangs."""

import asyncio
import gc
import logging
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httptools
import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from booking.http import call as call_module
from booking.http import load_shedding, protocol
from booking.http import worker as worker_module
from booking.http.call import EXTENSION, AsgiCall
from booking.http.protocol import HttpProtocol
from booking.web.requests import BODY_BYTES_MAX

from .serving import make_worker, serving

SECONDS, SEED = 2.0, 1
MISBEHAVING, WELL_BEHAVED = 24, 3
LIMIT = 2
WAIT_SECONDS = 10

ID = b"x-request-id"


class Sale:
    """An application with a response of every kind."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    async def _pause(self) -> None:
        for _ in range(self.dice.randrange(4)):
            await asyncio.sleep(self.dice.choice((0, 0, 0.001, 0.01)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        body = (await receive())["body"] if path != "/early" else b""
        await self._pause()
        if path == "/fails":
            raise RuntimeError("as it may happen")
        identity = [value for name, value in scope["headers"] if name == ID][:1]
        headers = [(ID, value) for value in identity]
        if path in ("/stream", "/live", "/breaks"):
            await self._stream(path, scope, receive, send, headers)
            return
        status = 200
        if len(body) > BODY_BYTES_MAX or path == "/closes":
            status = 413
            headers.append((b"connection", b"close"))
        sent = {"/events/2": b"x" * 300_000, "/large": b"x" * 300_000, "/book": body or b"none"}.get(path, b"fine")
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": sent})

    async def _stream(
        self, path: str, scope: Scope, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]
    ) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(self.dice.randrange(1, 5)):
            await send({"type": "http.response.body", "body": b"y" * 3_000, "more_body": True})
            await self._pause()
        if path == "/breaks":
            raise RuntimeError("as it may happen")
        if path == "/stream":
            await send({"type": "http.response.body", "body": b""})
            return
        extension = scope["extensions"][EXTENSION]
        extension["write"](b"z" * 10)
        asyncio.get_running_loop().call_later(0.05, extension[self.dice.choice(("end", "abort"))])
        while (await receive())["type"] != "http.disconnect":
            pass


class Responses:
    """The responses that a client has received, read by its own parser."""

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
class MisbehavingClient:
    """A client that misbehaves at random."""

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
        responses, self.sent, self.number = Responses(), [], 0
        reader, writer = await asyncio.open_connection(*self.address)
        reads = dice.random() < 0.8
        reading = asyncio.create_task(self._read(reader, responses)) if reads else None
        if not reads:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # the client stops reading
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
                self.faults.append(f"a connection was left open: {self.sent[-3:]} {responses.answers[-3:]}")
        elif ends in ("wait", "eof"):
            await asyncio.sleep(0.5)
        if reading is not None:
            reading.cancel()
        writer.transport.abort() if ends != "close" else writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self._judge(responses)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        dice = self.dice
        for _ in range(dice.randrange(1, 6)):
            text = b"".join(self.request() for _ in range(dice.choice((1, 1, 1, 2, 3, 8, 8, 200))))
            act = dice.random()
            if act < 0.05:
                text += b"rubbish\r\n\r\n"
            elif act < 0.08:
                text += b"GET /" + b"e" * 300_000
            elif act < 0.2:
                text = text[: dice.randrange(1, len(text))]
            cuts = sorted(dice.randrange(len(text)) for _ in range(dice.choice((0, 0, 1, 2, 5))))
            for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
                writer.write(text[start:end])
                await asyncio.sleep(dice.choice((0, 0, 0.001, 0.01)))
            if dice.random() < 0.3:
                await asyncio.sleep(dice.choice((0.01, 0.06, 0.3)))
            if act < 0.2:
                break

    async def _read(self, reader: asyncio.StreamReader, responses: Responses) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self.dice.random() < 0.1:
                    await asyncio.sleep(0.02)
                try:
                    responses.parser.feed_data(data)
                except httptools.HttpParserError as error:
                    self.faults.append(f"no HTTP: {error} {data[:200]!r} after {responses.answers[-2:]}")
                    return

    def _judge(self, responses: Responses) -> None:
        """Checks that responses come in the order of the requests without a gap. Invalid HTTP ends the connection."""
        for status, _ in responses.answers:
            self.met[str(status)] += 1
        got = [
            identity for status, identity in responses.answers if not (status == 400 and not identity.startswith(b"r"))
        ]
        if got != self.sent[: len(got)]:
            at = next(n for n, (one, other) in enumerate(zip(got, self.sent, strict=False)) if one != other)
            self.faults.append(f"no answer to {self.what[self.sent[at]]}, but {responses.answers[at : at + 2]}")


async def well_behaved(
    address: tuple[str, int], faults: list[str], met: Counter[str], goes_on: Callable[[], bool]
) -> None:
    """A client that sends one request after another and obeys Retry-After."""
    reader, writer = await asyncio.open_connection(*address)
    number = 0
    while goes_on():
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
            faults.append(f"a well-behaved client: {error!r}")
            return
        status = int(head.split()[1])
        met[f"well_behaved {status}"] += 1
        if identity not in head or status not in (200, 503) or (status == 200 and body != b"%05d" % (10_000 + number)):
            faults.append(f"a well-behaved client: {head!r} {body!r}")
        await asyncio.sleep(0.005)
    writer.close()


async def storm(seed: int, seconds: float) -> None:
    loop, faults, met = asyncio.get_running_loop(), list[str](), Counter[str]()
    loop.set_exception_handler(lambda _, context: faults.append(f"in the loop: {context}"))
    worker = make_worker(LIMIT, keep_alive_seconds=1)
    shedder = worker.shedder
    lowest = 0
    async with serving(Sale(random.Random(seed)), worker) as address:
        end, longest = loop.time() + seconds, loop.time() + 10 * seconds

        def goes_on() -> bool:
            """For its time, and until everything that makes it a storm has happened."""
            is_storm = {"200", "well_behaved 200", "well_behaved 503"} <= met.keys()
            return loop.time() < (end if is_storm else longest)

        async def act(of: int) -> None:
            client = MisbehavingClient(random.Random(seed * 1_000 + of), address, faults, met)
            while goes_on():
                await client.live()

        async def watch() -> None:
            nonlocal lowest
            while True:
                lowest = min(lowest, shedder.in_flight)
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        clients = [act(of) for of in range(MISBEHAVING)] + [
            well_behaved(address, faults, met, goes_on) for _ in range(WELL_BEHAVED)
        ]
        await asyncio.gather(*clients)
        last = loop.time() + 5
        while (shedder.in_flight or len(shedder) or alive()) and loop.time() < last:
            await asyncio.sleep(0.02)
        watching.cancel()
        assert {"200", "well_behaved 200"} <= met.keys(), f"it was no storm: {met} {shedder.in_flight}"
        assert not faults, "\n".join([f"{len(faults)} faults", *faults[:6]])
        assert (shedder.in_flight, len(shedder), alive()) == (0, 0, 0)
        assert lowest == 0
        after = loop.time() + 0.05
        await asyncio.wait_for(well_behaved(address, faults, met, lambda: loop.time() < after), WAIT_SECONDS)
        assert not faults


def alive() -> int:
    """Connections and requests that something still refers to; the collector does not run."""
    return sum(isinstance(one, AsgiCall | HttpProtocol) for one in gc.get_objects())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_many_misbehaving_clients_leave_nothing_behind(
    run: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "REQUEST_SECONDS_MAX", 0.5)
    monkeypatch.setattr(protocol, "UNREAD_SECONDS_MAX", 0.4)
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(load_shedding, "SLOT_WAIT_SECONDS_MAX", 0.02)
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "disabled", True)
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)
    monkeypatch.setattr(
        call_module, "log", SimpleNamespace(exception=lambda *_, **__: None)
    )  # the application fails on purpose
    gc.collect()
    gc.disable()
    try:
        run(storm(SEED, SECONDS))
    finally:
        gc.enable()
