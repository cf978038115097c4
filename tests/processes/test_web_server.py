"""The web server around an application: how it refuses to start, and how it ends."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send

from booking.processes.listening_sockets import Listeners, answers, listen, url_of
from booking.processes.web_server import Server, configuration
from booking.settings import Settings

REFUSES = """
import socket
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from booking.settings import Settings, SettingsError
from booking.processes.web_server import serve

@asynccontextmanager
async def lifespan(_):
    raise {error}
    yield

with socket.create_server(("127.0.0.1", 0)) as listener:
    serve(Starlette(lifespan=lifespan), Settings(), listener)
"""


def run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_a_setting_that_is_wrong_reaches_the_caller_without_uvicorn_s_traceback() -> None:
    ended = run(REFUSES.format(error='SettingsError("BOOKING_SHARDS: 8 before, 4 now")'))
    assert ended.stderr.splitlines()[-1] == "booking.settings.SettingsError: BOOKING_SHARDS: 8 before, 4 now"
    assert ended.stderr.count("Traceback") == 1, "only the one of the exception that nobody caught here"


def test_another_failure_at_the_start_keeps_its_traceback() -> None:
    ended = run(REFUSES.format(error='RuntimeError("a fault")'))
    assert ended.returncode == 3
    assert "RuntimeError: a fault" in ended.stderr


class Door:
    """An application whose answer waits until it is let through."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
                await receive()
                await send({"type": answer})
            return
        if scope["path"] == "/slow":
            self.arrived.set()
            await self.open.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def serving(door: Door) -> AsyncIterator[tuple[Server, socket.socket, "asyncio.Task[None]"]]:
    listener = listen("127.0.0.1", 0)
    server = Server(configuration(door, Settings()))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not await answers(url_of(listener)):
            await asyncio.sleep(0.01)
        yield server, listener, task
    finally:
        door.open.set()
        server.should_exit = True
        await task


async def ask(path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(2)
    return head.lower()


async def test_an_answer_says_neither_what_serves_it_nor_that_the_connection_ends() -> None:
    async with serving(Door()) as (_, listener, _task):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        head = await ask("/", reader, writer)
        assert head.startswith(b"http/1.1 200")
        assert b"\r\ndate: " in head
        assert b"server:" not in head
        assert b"connection:" not in head
        writer.close()


async def test_at_a_stop_what_is_in_flight_is_answered_and_what_comes_on_its_heels_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("booking.processes.web_server.LAST_ANSWERS_SECONDS", 30.0)
    door = Door()
    async with serving(door) as (server, listener, task):
        address = listener.getsockname()
        in_flight = await asyncio.open_connection(*address)
        idle = await asyncio.open_connection(*address)
        await ask("/", *idle)
        slow = asyncio.create_task(ask("/slow", *in_flight))
        await door.arrived.wait()
        server.should_exit = True
        while (b"connection", b"close") not in server.server_state.default_headers:
            await asyncio.sleep(0.005)
        assert b"\r\nconnection: close\r\n" in await ask("/", *idle)
        assert await idle[0].read() == b"", "a connection learns of the end by its last answer"
        door.open.set()
        assert (await slow).startswith(b"http/1.1 200")
        for _, writer in (in_flight, idle):
            writer.close()
        await task
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")]
)
def test_a_listener_is_named_as_a_client_here_reaches_it(host: str, url: str) -> None:
    with listen(host, 0) as listener:
        assert url_of(listener) == f"{url}{listener.getsockname()[1]}"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_another_service_has_is_refused_however_many_workers_share_it(workers: int) -> None:
    first = Listeners("127.0.0.1", 0, workers)
    for others in (1, 2):
        with pytest.raises(OSError, match="in use"):
            Listeners("127.0.0.1", first.port, others)
    first.close()
    Listeners("127.0.0.1", first.port, workers).close()


def test_each_worker_has_a_socket_of_its_own_on_the_one_port() -> None:
    listeners = Listeners("127.0.0.1", 0, 3)
    sockets = [listeners.of(worker) for worker in (1, 2, 3)]
    assert len(set(sockets)) == 3
    assert {one.getsockname() for one in sockets} == {("127.0.0.1", listeners.port)}
    listeners.close()
    assert [one.fileno() for one in sockets] == [-1, -1, -1]


def test_connections_go_to_the_others_once_a_worker_is_given_up() -> None:
    listeners = Listeners("127.0.0.1", 0, 2)
    listeners.give_up(1)
    clients = [socket.create_connection(("127.0.0.1", listeners.port)) for _ in range(20)]
    for client in clients:
        listeners.of(2).accept()[0].close()
        client.close()
    again = listeners.of(1)
    assert again.getsockname() == ("127.0.0.1", listeners.port)
    assert listeners.of(1) is again
    listeners.close()


def test_the_only_worker_s_socket_is_never_given_up() -> None:
    listeners = Listeners("127.0.0.1", 0, 1)
    kept = listeners.of(1)
    listeners.give_up(1)
    assert listeners.of(1) is kept
    listeners.close()


async def test_a_listener_that_nobody_accepts_from_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("booking.processes.listening_sockets.ANSWER_SECONDS", 0.05)
    with listen("127.0.0.1", 0) as listener:
        assert not await answers(url_of(listener))
        url = url_of(listener)
    assert not await answers(url), "and one that is gone even less"
