"""One connection to Redis: sends several script calls at once, and reads their replies in order."""

import asyncio
from collections.abc import Iterable, Sequence

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError

from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, ShardFenced
from booking.inventory.scripts import Script

ANSWER_SECONDS_MAX = 1.5
"""How long Redis may take over a batch; the contract wants an answer within 2 s of its standing still."""

Argument = bytes | str | int
Rows = list[list[bytes | int]]


class Call:
    """One EVALSHA: a script with its keys and arguments, and what came back."""

    __slots__ = ("answer", "arguments", "keys", "script")

    def __init__(self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]) -> None:
        self.script = script
        self.keys = keys
        self.arguments = arguments
        self.answer: Rows | Exception | None = None


class Link:
    """A connection of its own, so that no command of anybody else can come between a call and its reply.

    redis-py repeats a command whose reply was lost, which would book twice: here nothing is ever repeated but a call
    that Redis says it did not know (NOSCRIPT), since that one did not run.
    """

    def __init__(self, address: str, scripts: Iterable[Script]) -> None:
        self._pool = ConnectionPool.from_url(
            address, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=None, protocol=2
        )
        self._scripts = tuple(scripts)
        self._connection: AbstractConnection | None = None

    async def exchange(self, calls: Sequence[Call]) -> bool:
        """Sends all, then reads all; every call has its `answer` afterwards. True if the connection was lost."""
        sent = False
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                connection = await self._fresh_connection()
                packed = _pack(calls)
                sent = True
                await connection.send_packed_command(packed, check_health=False)
                unknown = [call for call in calls if not await self._read(connection, call)]
                if unknown:  # SCRIPT FLUSH, or a failover to a server that never had them
                    await self._load_scripts(connection)
                    await connection.send_packed_command(_pack(unknown), check_health=False)
                    for call in unknown:
                        if not await self._read(connection, call):
                            call.answer = InventoryUnavailable("Redis does not keep scripts")
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait have to hear of it
            await self.close()
            reason = type(error).__name__
            for call in calls:
                if call.answer is None and sent and call.script.changes:
                    call.answer = OutcomeUnknown(f"Redis did not answer ({reason})")
                elif call.answer is None:
                    call.answer = InventoryUnavailable(f"Redis cannot be reached ({reason})")
            return True
        except BaseException:  # cancelled with replies on their way, which nobody else must read
            await self.close()
            raise
        return False

    async def close(self) -> None:
        """Drops the connection, and with it any reply that may still come."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _fresh_connection(self) -> AbstractConnection:
        """The connection, or a new one where the server has closed it since: what is not sent is never unknown."""
        if self._connection is not None and await self._connection.can_read():
            await self.close()
        return self._connection or await self._connect()

    async def _connect(self) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
            await self._load_scripts(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        return connection

    async def _load_scripts(self, connection: AbstractConnection) -> None:
        loads = [("SCRIPT", "LOAD", script.source) for script in self._scripts]
        await connection.send_packed_command(connection.pack_commands(loads), check_health=False)
        for _ in loads:
            await connection.read_response()

    async def _read(self, connection: AbstractConnection, call: Call) -> bool:
        """False when Redis did not know the script. An error reply means that nothing was written (see lua/)."""
        try:
            # The rest of the replies is on its way whatever this one is; redis-py would hang up after LOADING.
            call.answer = await connection.read_response(disconnect_on_error=False)
        except NoScriptError:
            return False
        except (ResponseError, BusyLoadingError) as error:
            refusal = ShardFenced if str(error).startswith("FENCED") else InventoryUnavailable
            call.answer = refusal(str(error))
        return True


def _pack(calls: Sequence[Call]) -> bytes:
    # By hiredis itself: redis-py's asynchronous connections pack in Python, which takes five times as long.
    commands = [(b"EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.arguments) for call in calls]
    return b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type]  # its stub names a tuple of one
