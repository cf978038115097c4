"""A connection to Redis whose transport is our own: redis-py's streams would double the cost of a batch.

redis-py parses the URL, because it knows all options of one. What to connect to, and how to log in, are public
attributes of its connection, which is never connected.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import DefaultParser, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from booking.inventory.connection import raise_first

Argument = bytes | str | int


class RawConnection(asyncio.Protocol):
    """Runs commands, one batch after the other, until another protocol takes the transport over."""

    transport: asyncio.Transport
    """Set once it is connected."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(replyError=DefaultParser.parse_error)
        self._replies: list[Any] = []
        self._expected = 0
        self._answered: asyncio.Future[list[Any]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The event loop has connected."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Redis has sent bytes."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._replies.append(reply)
        except hiredis.ProtocolError as error:
            self._fail(RedisConnectionError(str(error)))
        if len(self._replies) >= self._expected:
            replies, self._replies = self._replies, []
            answered, self._answered = self._answered, None
            if answered is not None and not answered.done():
                answered.set_result(replies)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection has ended, at whichever end."""
        self._fail(RedisConnectionError(str(error or "closed by the server")))

    async def execute(self, commands: Iterable[Sequence[Argument]]) -> list[Any]:
        """Sends commands at once, and returns their replies; a command's error is its reply.

        Raises RedisError if the connection is lost, and for an error that redis-py counts as such: the server still
        loads its data, or it refuses the login.
        """
        packed = [pack(*command) for command in commands]
        if not packed:
            return []
        if self.transport.is_closing():
            raise RedisConnectionError("closed by the server")
        self._expected, self._answered = len(packed), asyncio.get_running_loop().create_future()
        self.transport.write(b"".join(packed))
        replies = await self._answered
        for reply in replies:
            if isinstance(reply, RedisConnectionError):
                raise reply
        return replies

    def abort(self) -> None:
        """Ends the connection at once, if it was made."""
        if hasattr(self, "transport"):
            self.transport.abort()

    def _fail(self, error: Exception) -> None:
        answered, self._answered = self._answered, None
        if answered is not None and not answered.done():
            answered.set_exception(error)


async def open_connection(pool: ConnectionPool) -> RawConnection:
    """Connects as the pool would, and logs in. Raises RedisError and InventoryUnavailable.

    The only time limit is the URL's `socket_connect_timeout`, if it has one.
    """
    settings: Any = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
    connection = RawConnection()
    try:
        async with asyncio.timeout(settings.socket_connect_timeout):
            await _connect(connection, settings)
        raise_first(await connection.execute(_login(settings)))
    except BaseException as error:
        connection.abort()
        if isinstance(error, TimeoutError):
            raise RedisTimeoutError("not connected in time") from error
        if isinstance(error, OSError | UnicodeError):  # UnicodeError: a host's name that cannot be encoded
            raise RedisConnectionError(str(error)) from error
        raise
    return connection


async def _connect(connection: RawConnection, settings: Any) -> None:
    loop = asyncio.get_running_loop()
    if isinstance(settings, UnixDomainSocketConnection):
        await loop.create_unix_connection(lambda: connection, settings.path)
        return
    tls = settings.ssl_context.get() if isinstance(settings, SSLConnection) else None
    await loop.create_connection(lambda: connection, settings.host, settings.port, ssl=tls)
    opened = connection.transport.get_extra_info("socket")
    if opened is not None and settings.socket_keepalive:  # so that the system notices a server that is gone
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in settings.socket_keepalive_options.items():
            opened.setsockopt(socket.IPPROTO_TCP, option, value)


def pack(*words: Argument) -> bytes:
    """A command as Redis reads it. Raises TypeError and ValueError for a word that cannot be encoded."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub names a tuple of one
    return packed


def _login(settings: Any) -> list[tuple[Argument, ...]]:
    """The commands with which a connection begins."""
    commands: list[tuple[Argument, ...]] = []
    if settings.username or settings.password:
        user = (settings.username,) if settings.username else ()
        commands.append(("AUTH", *user, settings.password or ""))
    if settings.db:
        commands.append(("SELECT", settings.db))
    if settings.client_name:
        commands.append(("CLIENT", "SETNAME", settings.client_name))
    return commands
