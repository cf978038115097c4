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

from booking.inventory.connection import raise_first

Argument = bytes | str | int


class RawConnection(asyncio.Protocol):
    """Runs commands, one batch after the other, until another protocol takes the transport over."""

    transport: asyncio.Transport

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
        self._fail(error or RedisConnectionError("closed by the server"))

    async def execute(self, commands: Iterable[Sequence[Argument]]) -> list[Any]:
        """Sends commands at once, and returns their replies; a command's error is its reply.

        Raises RedisError or OSError if the connection is lost.
        """
        packed = [pack(*command) for command in commands]
        if not packed:
            return []
        if self.transport.is_closing():
            raise RedisConnectionError("closed by the server")
        self._expected, self._answered = len(packed), asyncio.get_running_loop().create_future()
        self.transport.write(b"".join(packed))
        return await self._answered

    def _fail(self, error: Exception) -> None:
        answered, self._answered = self._answered, None
        if answered is not None and not answered.done():
            answered.set_exception(error)


async def open_connection(pool: ConnectionPool) -> RawConnection:
    """Connects as the pool would, and logs in. Raises RedisError and InventoryUnavailable; it has no time limit."""
    settings: Any = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
    loop = asyncio.get_running_loop()
    try:
        if isinstance(settings, UnixDomainSocketConnection):
            _, connection = await loop.create_unix_connection(RawConnection, settings.path)
        else:
            tls = settings.ssl_context.get() if isinstance(settings, SSLConnection) else None
            _, connection = await loop.create_connection(RawConnection, settings.host, settings.port, ssl=tls)
            _keep_alive(connection.transport, settings)
    except OSError as error:
        raise RedisConnectionError(str(error)) from error
    try:
        raise_first(await connection.execute(_login(settings)))
    except BaseException:
        connection.transport.abort()
        raise
    return connection


def pack(*words: Argument) -> bytes:
    """A command as Redis reads it. Raises TypeError and ValueError for a word that cannot be encoded."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub names a tuple of one
    return packed


def _login(settings: Any) -> list[tuple[Argument, ...]]:
    """The commands with which a connection begins."""
    commands: list[tuple[Argument, ...]] = []
    if settings.password:
        user = (settings.username,) if settings.username else ()
        commands.append(("AUTH", *user, settings.password))
    if settings.db:
        commands.append(("SELECT", settings.db))
    if settings.client_name:
        commands.append(("CLIENT", "SETNAME", settings.client_name))
    return commands


def _keep_alive(transport: asyncio.Transport, settings: Any) -> None:
    """Has the system notice a server that has gone without a word, as redis-py does."""
    opened = transport.get_extra_info("socket")
    if opened is not None and settings.socket_keepalive:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in settings.socket_keepalive_options.items():
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
