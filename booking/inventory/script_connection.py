"""One connection to Redis. It sends several script calls at once and matches their replies in order."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, cast

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError

from booking.inventory.connection import NOT_EXECUTED, open_pool, raise_first, reason_of
from booking.inventory.durability import REDIS, Durability
from booking.inventory.errors import (
    InventoryUnavailable,
    NewlyFenced,
    NotExecuted,
    OutcomeUnknown,
    ShardFenced,
)
from booking.inventory.keys import EVENT_KEY_NAMES
from booking.inventory.raw_connection import Argument, RawConnection, open_connection, pack
from booking.inventory.scripts import Script
from booking.logs import ThrottledLogger

ANSWER_SECONDS_MAX = 1.5
"""How long Redis may take for a batch. The contract wants an answer within 2 s when Redis stalls."""

FENCED_SECONDS = 1.0
"""Between two connections that are opened because a shard refuses the epoch."""

Rows = list[list[bytes | int]]
Execute = Callable[[Iterable[Sequence[Argument]]], Awaitable[list[Any]]]
"""Runs commands over one connection. Returns a reply for each, which may be an error."""
Acknowledged = Mapping[Argument, tuple[Argument, bytes]]
"""By the key of a shard's stream: the epoch and the id of the newest entry that a caller was told of."""

FEW_REPLICAS = "NOREPLICAS"
"""How a refusal begins that is Redis's (`min-replicas-to-write`), or this module's (see `Durability.check`)."""

CHANGES = EVENT_KEY_NAMES.index("changes")
"""The place of the shard's stream among the keys of a script that makes changes."""


class ScriptCall:
    """One EVALSHA: a script with its keys and arguments, and its answer."""

    __slots__ = ("answer", "arguments", "keys", "script")

    def __init__(self, script: Script, keys: Sequence[Argument], arguments: list[Argument]) -> None:
        self.script = script
        self.keys = keys
        self.arguments = arguments
        self.answer: Rows | Exception | None = None


class PendingCalls:
    """Calls in flight. `due` has the calls in the order of their replies; None stands for any other command."""

    __slots__ = (
        "answered",
        "calls",
        "checking",
        "due",
        "last_reply",
        "must_reconnect",
        "newest",
        "not_loaded",
        "received",
        "sent",
        "timer",
    )  # fmt: skip

    def __init__(
        self, calls: Sequence[ScriptCall], answered: Callable[[bool], None], timer: asyncio.TimerHandle
    ) -> None:
        self.calls = calls
        self.answered = answered
        self.timer = timer
        self.due: Sequence[ScriptCall | None] = ()
        self.received = 0
        self.not_loaded: list[ScriptCall] = []
        """Calls whose scripts the server has forgotten."""
        self.must_reconnect = False
        """Whether the server is a replica and so accepts no changes, or has to be verified again."""
        self.sent = False
        """Whether the calls were sent, so that their changes may have been made."""
        self.checking = False
        """Whether Redis was asked for its replicas, and the calls wait for the reply."""
        self.last_reply: object = None
        self.newest: dict[Argument, tuple[Argument, bytes]] = {}
        """See `ScriptConnection.acknowledged`."""


class ScriptConnection(asyncio.Protocol):
    """A dedicated connection, so that no other command can come between a call and its reply.

    It repeats a call only after NOSCRIPT, because that call did not run. A client like redis-py also repeats a command
    whose reply was lost, which would book twice.
    """

    def __init__(
        self,
        address: str,
        scripts: Iterable[Script],
        verify_or_fence: Callable[[Execute, Acknowledged], Awaitable[Mapping[Argument, str]]] | None = None,
        durability: Durability = REDIS,
        acknowledged: dict[Argument, tuple[Argument, bytes]] | None = None,
    ) -> None:
        """`verify_or_fence` is awaited for each new connection, and runs its commands over that very connection.

        The address may lead to another server than before, or to an old copy. No other connection shows which one. An
        InventoryUnavailable that it raises is the answer to the waiting calls. It returns epochs of earlier terms of
        the shards' primaries, each with the present one, which the calls are sent with. All connections of a process
        share `acknowledged`, since a shard may move from one server to another.
        """
        self._verify_or_fence = verify_or_fence
        self._durability = durability
        self._not_durable = ThrottledLogger("changes did not reach the required durability in time")
        self._pool = open_pool(address, None)
        self._scripts = tuple(scripts)
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._exchange: PendingCalls | None = None
        self._connecting: asyncio.Task[None] | None = None
        self.acknowledged = {} if acknowledged is None else acknowledged
        """As in `Acknowledged`. A server that lacks one of these entries has lost changes."""
        self._renewed: Mapping[Argument, str] = {}
        """By the epoch of an earlier term: the present one. Calls may have been prepared before the term began."""
        self._fenced_at = -FENCED_SECONDS
        self._had_replicas_at = -ANSWER_SECONDS_MAX
        """When the connection was made, or enough replicas confirmed something."""

    def exchange(
        self,
        calls: Sequence[ScriptCall],
        answered: Callable[[bool], None],
        seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> None:
        """Sends the calls. When every call has its `answer`, calls `answered`, with True if the connection was lost.

        Only one exchange may be in progress. It ends within `seconds_max`, even if Redis does not answer.
        """
        timer = asyncio.get_running_loop().call_later(seconds_max, self._lose, "TimeoutError")
        self._exchange = PendingCalls(calls, answered, timer)
        if self._transport is None or self._transport.is_closing():
            self._reconnect()
        else:
            self._begin(calls)

    def verify_again(self) -> None:
        """Has the server verified before the next calls are sent: it has a shard that it did not have before."""
        if self._connecting is not None:
            self._reconnect()
        elif self._exchange is not None:
            self._exchange.must_reconnect = True
        else:
            self._drop()

    async def close(self) -> None:
        """Closes the connection; replies that have not arrived are lost."""
        self._lose("closed")

    def data_received(self, data: bytes) -> None:
        """Receives bytes from Redis; called by the event loop."""
        self._reader.feed(data)
        exchange = self._exchange
        try:
            while (reply := self._reader.gets()) is not False:
                if exchange is None or exchange.received == len(exchange.due):
                    raise hiredis.ProtocolError("a reply without a command")  # noqa: TRY301 - as hiredis does
                call = exchange.due[exchange.received]
                exchange.received += 1
                if call is None:
                    exchange.last_reply = reply
                else:
                    self._take(exchange, call, reply)
        except hiredis.ProtocolError:
            self._lose("ProtocolError")
            return
        if exchange is not None and exchange.received == len(exchange.due):
            self._complete(exchange)

    def connection_lost(self, error: Exception | None) -> None:
        """Handles the end of the connection, by either side; called by the event loop."""
        self._lose(type(error).__name__ if error else "closed by the server")

    def _begin(self, calls: Sequence[ScriptCall]) -> None:
        """Sends the calls, after the check of the replicas if there is one and they make changes."""
        if self._renewed:
            for call in calls:
                call.arguments[:1] = [self._renewed.get(one, one) for one in call.arguments[:1]]
        exchange, check = self._exchange, self._durability.check
        if exchange is None or self._transport is None or not check or not any(call.script.changes for call in calls):
            self._send(calls)
            return
        exchange.due, exchange.checking = [None], True
        self._transport.write(check)

    def _send_checked(self, exchange: PendingCalls) -> None:
        """Sends the calls if there are enough replicas, else only those that make no changes."""
        exchange.checking = False
        due = [call for call in exchange.calls if call.answer is None]
        reply = exchange.last_reply
        if self._durability.is_confirmed(reply):
            self._had_replicas_at = monotonic()
        else:
            self._not_durable.error(acknowledged=self._durability.level, changes=0)
            is_replica = isinstance(reply, hiredis.ReplyError)
            exchange.must_reconnect |= is_replica
            few = f"{FEW_REPLICAS} {reply} of {self._durability.replicas} replicas"
            refusal = self._refusal(f"READONLY {reply}" if is_replica else few)
            for call in due:
                if call.script.changes:
                    call.answer = refusal
            due = [call for call in due if call.answer is None]
        self._send(due)

    def _send(self, calls: Sequence[ScriptCall], *, with_source: bool = False) -> None:
        """Writes the calls, by the scripts' hashes or with their source. A call that cannot be encoded is not sent."""
        exchange, transport = self._exchange, self._transport
        assert exchange is not None
        assert transport is not None
        due: list[ScriptCall | None] = []
        packed = list[bytes]()
        for call in calls:
            name = (b"EVAL", call.script.source) if with_source else (b"EVALSHA", call.script.sha)
            try:
                packed.append(pack(*name, len(call.keys), *call.keys, *call.arguments))
                due.append(call)
            except (TypeError, ValueError) as error:
                call.answer = InventoryUnavailable(f"the call cannot be sent ({type(error).__name__})")
        if self._durability.command:
            changes = (one for one in exchange.calls if one.script.changes and not isinstance(one.answer, Exception))
            if changing := next(changes, None):
                packed.append(self._durability.confirmation(cast("bytes", changing.keys[CHANGES])))
                due += [None, None]
        exchange.due, exchange.received, exchange.sent = due, 0, True
        if due:
            transport.write(b"".join(packed))
        else:
            asyncio.get_running_loop().call_soon(self._complete, exchange)

    def _take(self, exchange: PendingCalls, call: ScriptCall, reply: object) -> None:
        """Stores a reply as the call's answer. An error reply means that the script wrote nothing (see lua/)."""
        if not isinstance(reply, hiredis.ReplyError):
            rows = cast("list[Any]", reply)
            if call.script.changes and isinstance(rows[-1], bytes):
                exchange.newest[call.keys[CHANGES]] = call.arguments[0], rows.pop()
            call.answer = rows
            return
        text = str(reply)
        if text.startswith("NOSCRIPT"):  # after SCRIPT FLUSH, or a failover to a server without the scripts
            exchange.not_loaded.append(call)
        else:
            exchange.must_reconnect |= text.startswith(("READONLY", "MASTERDOWN")) or self._has_to_verify(text)
            if text.startswith("FENCED"):
                call.answer = (NewlyFenced if exchange.must_reconnect else ShardFenced)(text)
            else:
                call.answer = self._refusal(text)

    def _refusal(self, text: str) -> InventoryUnavailable:
        """What a refusal comes to. Replicas that were cut off, or whose server was promoted, are back in a second."""
        had_replicas = monotonic() - self._had_replicas_at < ANSWER_SECONDS_MAX
        may_pass = text.startswith(NOT_EXECUTED) or (had_replicas and text.startswith(FEW_REPLICAS))
        return (NotExecuted if may_pass else InventoryUnavailable)(text)

    def _has_to_verify(self, text: str) -> bool:
        """Whether a shard refuses the epoch, and the last verification for that reason was FENCED_SECONDS ago.

        The server may have lost what was acknowledged without the loss of a connection: Redis may be emptied. Or it is
        a forgotten primary, and a new connection may lead to the present one.
        """
        now = monotonic()
        if self._verify_or_fence is None or not text.startswith("FENCED") or now - self._fenced_at < FENCED_SECONDS:
            return False
        self._fenced_at = now
        return True

    def _complete(self, exchange: PendingCalls) -> None:
        if self._exchange is not exchange:
            return
        if exchange.checking:
            self._send_checked(exchange)
            return
        if exchange.not_loaded:
            calls, exchange.not_loaded, exchange.last_reply = exchange.not_loaded, [], None
            self._send(calls, with_source=True)  # a script that was loaded before could be flushed again
            return
        self._exchange = None
        exchange.timer.cancel()
        # WAIT is an error if the server has become a replica, before or while it waited.
        if exchange.must_reconnect or isinstance(exchange.last_reply, hiredis.ReplyError):
            self._drop()  # after a failover the address may lead to another server
        if self._is_confirmed(exchange):
            self.acknowledged |= exchange.newest
        exchange.answered(False)

    def _is_confirmed(self, exchange: PendingCalls) -> bool:
        """If the changes did not reach the required durability in time, their outcome is unknown."""
        if not self._durability.command or self._durability.is_confirmed(exchange.last_reply):
            return True
        changing = [call for call in exchange.calls if call.script.changes and isinstance(call.answer, list)]
        if changing:
            self._not_durable.error(acknowledged=self._durability.level, changes=len(changing))
        for call in changing:
            call.answer = OutcomeUnknown(f"the durability {self._durability.level} was not confirmed in time")
        return False

    def _lose(self, reason: str, error: InventoryUnavailable | None = None) -> None:
        """Ends the connection and its exchange. A change that was sent and not answered may have been made.

        A call that was not sent gets the error, if given.
        """
        self._drop()
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        exchange.timer.cancel()
        if not self._durability.command:
            self.acknowledged |= exchange.newest
        for call in exchange.calls:
            waits = isinstance(call.answer, list) and bool(self._durability.command)
            if (call.answer is None or waits) and exchange.sent and call.script.changes:
                call.answer = OutcomeUnknown(f"Redis did not answer ({reason})")
            elif call.answer is None:
                call.answer = error or InventoryUnavailable(f"Redis cannot be reached ({reason})")
        exchange.answered(True)

    def _drop(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        transport, self._transport = self._transport, None
        if transport is not None:
            # Late bytes must not reach this object, which may have another connection by then.
            transport.set_protocol(asyncio.Protocol())
            transport.abort()

    def _reconnect(self) -> None:
        self._drop()
        self._connecting = asyncio.create_task(self._connect(), name="connect to Redis")

    async def _connect(self) -> None:
        connection: RawConnection | None = None
        try:
            connection = await open_connection(self._pool)
            raise_first(await connection.execute(("SCRIPT", "LOAD", script.source) for script in self._scripts))
            if self._verify_or_fence is not None:
                self._renewed = await self._verify_or_fence(connection.execute, self.acknowledged)
            if connection.transport.is_closing():  # lost meanwhile; what was written to it would never be answered
                raise RedisConnectionError("closed by the server")  # noqa: TRY301 - as any other loss
        except BaseException as error:  # the waiting callers need an answer after any error
            if connection is not None:
                connection.abort()
            if not isinstance(error, Exception):
                raise
            self._connecting = None
            self._lose(reason_of(error), error if isinstance(error, InventoryUnavailable) else None)
            return
        self._connecting = None
        self._take_over(connection.transport)
        if self._exchange is not None:
            self._begin(self._exchange.calls)

    def _take_over(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=0)  # uvloop then writes at once, not at the end of the iteration
        self._reader = hiredis.Reader()
        self._had_replicas_at = monotonic()
