"""The batcher: commands that wait at the same time are sent to Redis together, in the order in which they came."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

from booking.domain.model import Event
from booking.domain.outcomes import Status
from booking.inventory.errors import InventoryUnavailable, NotExecuted, OutcomeUnknown, Overloaded, ServerUnverified
from booking.inventory.keys import shard_in
from booking.inventory.raw_connection import Argument
from booking.inventory.script_connection import (
    ANSWER_SECONDS_MAX,
    Rows,
    ScriptCall,
    ScriptConnection,
)
from booking.inventory.scripts import Script
from booking.metrics import BUCKETS_COMMANDS, Metrics

BATCH_MAX = 256
"""Commands sent together, at most. A larger batch gains little and blocks Redis's other clients for longer."""

EARLY_BATCH = 16
"""When this many commands wait and Redis is idle, they are sent at once. Redis then works on them while this process
reads the rest of a burst."""


WHY_UNSENT = ServerUnverified, NotExecuted
"""Errors of calls that say why no other call was sent either."""

SECOND_ANSWER_SECONDS_MIN = 0.5
"""How long a server has at least for a batch with commands that another one has refused. With ANSWER_SECONDS_MAX, up to
which they are sent again, that is the contract's 2 s."""


class PreparedCall:
    """A script with its first keys and the arguments before its items.

    Commands that wait at the same time share one call if they name the same PreparedCall object.
    """

    __slots__ = ("changes", "has_replay", "head", "keys", "script")

    def __init__(self, script: Script, keys: tuple[bytes, ...], head: tuple[Argument, ...]) -> None:
        self.script = script
        self.keys = keys
        self.head = head
        self.has_replay = "replay" in script.header.items
        self.changes = script.changes


class Reply:
    """The rows of one call. All commands of the call share them."""

    __slots__ = ("event", "rows")

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.event: Event | None = None
        """The event's row, parsed. The first command that needs it sets it."""


class Command:
    """One caller's item of a call. The future gives the caller the reply and the index of its own row."""

    __slots__ = ("asked_at", "future", "item", "prepared", "queued_at", "replay", "request", "was_refused")

    def __init__(
        self,
        prepared: PreparedCall,
        item: tuple[Argument, ...],
        replay: str | None,
        request: str,
        future: asyncio.Future[tuple[Reply, int]],
        queued_at: float,  # on the monotonic clock: the time of a uvloop stands still during a turn
        asked_at: float | None,
    ) -> None:
        self.queued_at = queued_at
        self.asked_at = queued_at if asked_at is None else asked_at
        self.was_refused = False
        self.prepared = prepared
        self.item = item
        self.replay = replay
        self.request = request
        self.future = future


class CommandBatcher:
    """A bounded queue in front of one connection.

    A batch holds the commands that wait when the previous reply arrives. If no call is in flight, it holds the commands
    of one iteration of the event loop. There is no timer. A refused item has a row of its own. A caller that is
    cancelled loses its row, and the call goes on.
    """

    def __init__(
        self,
        connection: ScriptConnection,
        queue_limit: int,
        saved: Callable[[int], Awaitable[bool]] | None = None,
        observe_delay: Callable[[float, int], None] | None = None,
        *,
        metrics: Metrics | None = None,
        send_elsewhere: "Callable[[list[Command], list[NotExecuted]], None] | None" = None,
        lost: Callable[[], None] | None = None,
    ) -> None:
        """`saved` is awaited before changes are answered. It returns whether those of a shard are as durable as they
        have to be.

        `observe_delay` is called for each batch, with the seconds that its oldest command has waited and the number of
        its commands. `send_elsewhere` takes over commands that the server has refused before it ran them; without it
        the refusal is their answer. `lost` is called after each loss of the connection.
        """
        self._send_elsewhere = send_elsewhere
        self._lost = lost
        self._observe_delay = observe_delay
        self._connection = connection
        self._saved = saved
        self._saving: set[asyncio.Task[None]] = set()
        self.metrics = metrics or Metrics()
        self._sent_at = 0.0
        self._queue_limit = queue_limit
        self._queue: deque[Command] = deque()
        self._flushing = False
        self._last_size = 0
        self._in_flight: tuple[list[list[Command]], list[ScriptCall]] | None = None
        self._loop = asyncio.get_running_loop()
        self._drained: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def submit(
        self,
        prepared: PreparedCall,
        item: tuple[Argument, ...] = (),
        replay: str | None = None,
        request: str = "",
        asked_at: float | None = None,
    ) -> asyncio.Future[tuple[Reply, int]]:
        """Queues a command. `replay` is the Redis key of the caller's first answers to idempotency keys.

        `request` is stored with the answer: the idempotency key, the request's id, and what was asked. `asked_at` is
        the monotonic clock's time at which the caller was asked, if another command has taken some time since then.

        The future raises InventoryUnavailable or OutcomeUnknown. Raises Overloaded if the queue is full, and
        InventoryUnavailable after `close`.
        """
        if self._drained is not None:
            raise InventoryUnavailable("the service is shutting down")
        waiting = len(self._queue)
        if waiting >= self._queue_limit:
            self.metrics.count("booking_sheds_total")
            raise Overloaded(f"{self._queue_limit} commands are waiting")
        future = self._loop.create_future()
        self._queue.append(Command(prepared, item, replay, request, future, monotonic(), asked_at))
        if self._in_flight is None:
            if waiting + 1 >= EARLY_BATCH:
                self._flush()
            elif not self._flushing:
                self._flushing = True
                self._loop.call_soon(self._flush)
        return future

    def take_over(self, commands: Sequence[Command]) -> None:
        """Queues commands that another server has refused, in front of those that wait here."""
        self._queue.extendleft(reversed(commands))
        if self._in_flight is None and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def give_up(self, is_elsewhere: Callable[[Command], bool]) -> list[Command]:
        """Removes the commands from the queue that another server has to answer, and returns them in their order."""
        given_up = [command for command in self._queue if is_elsewhere(command)]
        if given_up:
            kept = [command for command in self._queue if not is_elsewhere(command)]
            self._queue.clear()
            self._queue.extend(kept)
        return given_up

    def verify_again(self) -> None:
        """As `ScriptConnection.verify_again`."""
        self._connection.verify_again()

    async def close(self) -> None:
        """Answers every queued command, then closes the connection."""
        self._drained = self._loop.create_future()
        if self._queue or self._in_flight is not None:
            await self._drained
        await asyncio.gather(*self._saving, return_exceptions=True)
        await self._connection.close()

    def _flush(self) -> None:
        """Sends what waits, unless calls are in flight: their replies call this method again."""
        self._flushing = False
        queue = self._queue
        while queue and self._in_flight is None:
            size = min(len(queue), BATCH_MAX)
            if any(command.prepared.changes for command in queue):
                # Half of the callers: those that wait and those just answered. So two groups of equal size alternate:
                # Redis works for one while the other's answers are written. Otherwise a burst stays one batch, and all
                # wait. Reads are not divided: those of one event take Redis as long as one read.
                size = min(size, max(EARLY_BATCH, (len(queue) + self._last_size + 1) // 2))
            self._last_size = size
            batch = [queue.popleft() for _ in range(size)]
            runs = _runs(batch)
            if runs:
                calls = [_call(run) for run in runs]
                self._in_flight = runs, calls
                self._sent_at = monotonic()
                self.metrics.observe("booking_batch_commands", "", size, BUCKETS_COMMANDS)
                if self._observe_delay is not None:
                    self._observe_delay(self._sent_at - batch[0].queued_at, size)
                if batch[0].was_refused:  # they come first, and have waited for the longest time
                    left = ANSWER_SECONDS_MAX + batch[0].asked_at - self._sent_at
                    self._connection.exchange(calls, self._answered, max(SECOND_ANSWER_SECONDS_MIN, left))
                else:
                    self._connection.exchange(calls, self._answered)
        if self._drained is not None and self._in_flight is None and not self._drained.done():
            self._drained.set_result(None)

    def _answered(self, lost: bool) -> None:
        assert self._in_flight is not None
        runs, calls = self._in_flight
        self._in_flight = None
        self.metrics.observe("booking_exchange_duration_seconds", "", monotonic() - self._sent_at)
        if self._send_elsewhere is not None:
            refused = [
                (run, call.answer)
                for run, call in zip(runs, calls, strict=True)
                if isinstance(call.answer, NotExecuted)
            ]
            if refused:
                self._send_elsewhere([command for run, _ in refused for command in run], [why for _, why in refused])
                for run, _ in refused:
                    run.clear()
        if lost:
            if self._lost is not None:
                self._lost()
            self._release_waiting(next((call.answer for call in calls if isinstance(call.answer, WHY_UNSENT)), None))
        deferred = [command for run, call in zip(runs, calls, strict=True) for command in _take_deferred(run, call)]
        self._queue.extendleft(reversed(deferred))
        self._flush()  # first, so that Redis works while the answers are delivered
        for run, call in zip(runs, calls, strict=True):
            if self._saved is not None and call.script.changes and isinstance(call.answer, list):
                task = asyncio.create_task(self._answer_saved(run, call.answer, self._saved))
                self._saving.add(task)
                task.add_done_callback(self._saving.discard)
            else:
                self._deliver(run, call.answer)

    def _release_waiting(self, why: InventoryUnavailable | None) -> None:
        """Has the commands that wait sent elsewhere, or fails them: they were not sent when the connection was lost."""
        waiting = [*self._queue]
        self._queue.clear()
        if waiting and isinstance(why, NotExecuted) and self._send_elsewhere is not None:
            self._send_elsewhere(waiting, [why])
            return
        for command in waiting:
            fail(command, why or InventoryUnavailable("Redis cannot be reached"))

    async def _answer_saved(self, run: list[Command], answer: Rows, saved: Callable[[int], Awaitable[bool]]) -> None:
        try:
            is_saved = await saved(shard_in(run[0].prepared.keys[0]))
        except Exception:  # noqa: BLE001 - the waiting callers need an answer after any error
            is_saved = False
        self._deliver(run, answer if is_saved else OutcomeUnknown("not in the database in time"))

    def _deliver(self, run: list[Command], answer: Rows | Exception | None) -> None:
        if isinstance(answer, OutcomeUnknown):
            self.metrics.count("booking_outcomes_unknown_total", by=len(run))
        _answer(run, answer)


def _runs(batch: list[Command]) -> list[list[Command]]:
    """Groups the commands into calls. Changes of one event keep their order; reads come after all changes.

    Commands about different events may overtake each other. A command whose caller was cancelled is not sent.
    """
    runs: list[list[Command]] = []
    latest: dict[bytes, list[Command]] = {}  # by the first key, the event's
    reads: dict[PreparedCall, list[Command]] = {}
    for command in batch:
        if command.future.done():
            continue
        prepared = command.prepared
        if not prepared.changes:
            reads.setdefault(prepared, []).append(command)
            continue
        run = latest.get(prepared.keys[0])
        if run is not None and run[0].prepared is prepared:
            run.append(command)
        else:
            run = latest[prepared.keys[0]] = [command]
            runs.append(run)
    return [*runs, *reads.values()]


def _call(run: list[Command]) -> ScriptCall:
    prepared = run[0].prepared
    keys: list[Argument] = list(prepared.keys)
    arguments: list[Argument] = list(prepared.head)
    has_replay = prepared.has_replay
    for command in run:
        arguments += command.item
        if has_replay:
            key_index = 0
            if command.replay is not None:
                keys.append(command.replay)
                key_index = len(keys)
            arguments += (key_index, command.request)
    return ScriptCall(prepared.script, keys, arguments)


def _take_deferred(run: list[Command], call: ScriptCall) -> list[Command]:
    """Removes the commands that the script has left to the next call from the run, and their rows from the answer.

    These commands are the last ones of the run. If a call only reads, one row may stand for all of them.
    """
    rows = call.answer
    if not call.script.defers_items or not isinstance(rows, list) or rows[-1][0] != Status.SEND_AGAIN:
        return []
    done = next(number for number, row in enumerate(rows) if row[0] == Status.SEND_AGAIN)
    deferred = run[done:]
    del run[done:], rows[done:]
    return deferred


def _answer(run: list[Command], answer: Rows | Exception | None) -> None:
    if not isinstance(answer, list):
        for command in run:
            fail(command, answer or InventoryUnavailable("the call was not sent"))
        return
    reply = Reply(answer)
    # Rows about the event come first, then one row for each item, in order.
    own = max(0, len(answer) - sum(1 for command in run if command.item))
    for command in run:
        if not command.future.done():
            command.future.set_result((reply, own if command.item else 0))
        own += 1 if command.item else 0


def fail(command: Command, error: Exception) -> None:
    """Answers a command with an error."""
    if not command.future.done():
        command.future.set_exception(error)
