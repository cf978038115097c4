"""A web worker: how it refuses to start, and the sockets that it listens on."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from booking.processes.listening_sockets import Listeners, answers, listen, url_of
from tests.http.serving import connected, serving

STARTS = """
import socket
from unittest.mock import patch
from booking.processes import web_server
from booking.settings import Settings, SettingsError

def refuse(*_, **__):
    raise {error}

with socket.create_server(("127.0.0.1", 0)) as listener, patch("booking.ledger.ledger.Ledger.open", refuse):
    web_server.serve(Settings(data_dir="{folder}"), listener)
"""


@pytest.mark.parametrize("error", ["SettingsError('BOOKING_SHARDS: 8 before, 4 now')", "RuntimeError('a fault')"])
def test_an_error_at_the_applications_start_reaches_the_caller(error: str, tmp_path: Path) -> None:
    program = STARTS.format(error=error, folder=tmp_path)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    message = error.split("'")[1]
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith(f": {message}")


async def test_a_response_says_neither_what_serves_it_nor_that_the_connection_ends() -> None:
    async with serving() as address, connected(address) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200")
        assert b"\r\ndate: " in head
        assert b"server:" not in head
        assert b"connection:" not in head


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")]
)
def test_a_listener_is_named_as_a_client_here_reaches_it(host: str, url: str) -> None:
    with listen(host, 0) as listener:
        assert url_of(listener) == f"{url}{listener.getsockname()[1]}"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_another_service_has_is_refused_however_many_workers_share_it(workers: int) -> None:
    first = Listeners(["127.0.0.1"], 0, workers)
    first.of(1)[0].listen()
    for others in (1, 2):
        with pytest.raises(OSError, match="in use"):
            Listeners(["127.0.0.1"], first.port, others)
    first.close()
    Listeners(["127.0.0.1"], first.port, workers).close()


def test_each_worker_has_a_socket_of_its_own_on_the_one_port() -> None:
    listeners = Listeners(["127.0.0.1"], 0, 3)
    sockets = [one for worker in (1, 2, 3) for one in listeners.of(worker)]
    assert len(set(sockets)) == 3
    assert {one.getsockname() for one in sockets} == {("127.0.0.1", listeners.port)}
    listeners.close()
    assert [one.fileno() for one in sockets] == [-1, -1, -1]


@pytest.mark.parametrize("workers", [1, 2])
def test_several_addresses_have_one_port_and_a_socket_of_each_worker(workers: int) -> None:
    listeners = Listeners(["::1", "127.0.0.1"], 0, workers)
    for worker in range(1, workers + 1):
        assert [one.getsockname()[:2] for one in listeners.of(worker)] == [
            ("::1", listeners.port),
            ("127.0.0.1", listeners.port),
        ]
    assert listeners.url == f"http://[::1]:{listeners.port}"
    listeners.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_connection_is_refused_until_a_worker_listens(workers: int) -> None:
    listeners = Listeners(["127.0.0.1"], 0, workers)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listeners.port))
    listeners.of(workers)[0].listen()
    socket.create_connection(("127.0.0.1", listeners.port)).close()
    listeners.close()


def test_an_address_that_cannot_be_bound_is_named_and_the_others_are_closed() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}: "):
            Listeners(["::1", "127.0.0.1"], port, 1)
        listen("::1", port).close()


def test_connections_go_to_the_others_once_a_worker_is_given_up() -> None:
    listeners = Listeners(["127.0.0.1"], 0, 2)
    listeners.of(2)[0].listen()
    listeners.close_sockets(1)
    clients = [socket.create_connection(("127.0.0.1", listeners.port)) for _ in range(20)]
    for client in clients:
        listeners.of(2)[0].accept()[0].close()
        client.close()
    again = listeners.of(1)
    assert again[0].getsockname() == ("127.0.0.1", listeners.port)
    assert listeners.of(1) is again
    listeners.close()


def test_the_only_worker_s_socket_is_never_given_up() -> None:
    listeners = Listeners(["127.0.0.1"], 0, 1)
    kept = listeners.of(1)
    listeners.close_sockets(1)
    assert listeners.of(1) is kept
    listeners.close()


async def test_a_socket_that_no_worker_accepts_from_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("booking.processes.listening_sockets.ANSWER_SECONDS", 0.05)
    with listen("127.0.0.1", 0) as listener:
        assert not await answers(url_of(listener))
        url = url_of(listener)
    assert not await answers(url), "and one that is gone even less"
