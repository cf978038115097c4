"""The batcher: commands that wait at the same time share one exchange with Redis, first in, first into the script."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from booking.domain.model import Event
from booking.domain.outcomes import Status
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.inventory.script_connection import Argument, Rows, ScriptCall, ScriptConnection
from booking.inventory.scripts import Script
from booking.metrics import BUCKETS_COMMANDS, Metrics

BATCH_MAX = 256
"""Commands in one exchange. A larger batch gains little, and keeps Redis from everyone else for longer."""

EARLY_BATCH = 16
"""With this many waiting, an idle Redis is given them at once, and works while the rest of a burst is read."""


class PreparedCall:
    """What a call is about: a script, the keys it begins with and the arguments before its items.

    Commands that wait together and name the same target, the very object, may go into one call.
    """

    __slots__ = ("changes", "head", "keeps", "keys", "script")

    def __init__(self, script: Script, keys: tuple[bytes, ...], head: tuple[Argument, ...]) -> None:
        self.script = script
        self.keys = keys
        self.head = head
        self.keeps = "replay" in script.header.items
        self.changes = script.changes


class Reply:
    """The rows of one call, shared by all commands that were in it."""

    __slots__ = ("event", "rows")

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.event: Event | None = None
        """The row about the event, once the first of them has read it."""


class Command:
    """One caller's item of a call, and the future that the caller waits on: the reply, and which row is its own."""

    __slots__ = ("future", "item", "queued_at", "replay", "request", "target")

    def __init__(
        self,
        target: PreparedCall,
        item: tuple[Argument, ...],
        replay: str | None,
        request: str,
        future: asyncio.Future[tuple[Reply, int]],
        queued_at: float,
    ) -> None:
        self.queued_at = queued_at
        self.target = target
        self.item = item
        self.replay = replay
        self.request = request
        self.future = future


class CommandBatcher:
    """A bounded queue in front of one connection.

    A batch is what waits when the previous reply has come or, where nothing is on its way, when the loop has gone round
    once; no timer is involved. One item's refusal is a row of its own, and a caller that goes away gives up its row,
    not the call.
    """

    def __init__(
        self,
        connection: ScriptConnection,
        queue_limit: int,
        saved: Callable[[], Awaitable[bool]] | None = None,
        observe_delay: Callable[[float, int], None] | None = None,
    ) -> None:
        """`saved` is awaited before the answers to changes are given: whether they are where they have to be.

        `observe_delay` is told of each batch: for how many seconds its oldest command has waited, and how many it has.
        """
        self._observe_delay = observe_delay
        self._connection = connection
        self._saved = saved
        self._saving: set[asyncio.Task[None]] = set()
        self.metrics = Metrics()
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
        target: PreparedCall,
        item: tuple[Argument, ...] = (),
        replay: str | None = None,
        request: str = "",
    ) -> asyncio.Future[tuple[Reply, int]]:
        """Queues a command. `replay` is a key that this item alone touches, `request` what is kept there.

        The future raises InventoryUnavailable or OutcomeUnknown. Raises Overloaded when the queue is full.
        """
        if self._drained is not None:
            raise InventoryUnavailable("the service is shutting down")
        waiting = len(self._queue)
        if waiting >= self._queue_limit:
            self.metrics.count("booking_sheds_total")
            raise Overloaded(f"{self._queue_limit} commands are waiting")
        future = self._loop.create_future()
        self._queue.append(Command(target, item, replay, request, future, self._loop.time()))
        if self._in_flight is None:
            if waiting + 1 >= EARLY_BATCH:
                self._flush()
            elif not self._flushing:
                self._flushing = True
                self._loop.call_soon(self._flush)
        return future

    async def close(self) -> None:
        """Answers everything that was queued, then drops the connection."""
        self._drained = self._loop.create_future()
        if self._queue or self._in_flight is not None:
            await self._drained
        await asyncio.gather(*self._saving, return_exceptions=True)
        await self._connection.close()

    def _flush(self) -> None:
        """Sends what waits, unless something is on its way: then its replies bring us here again."""
        self._flushing = False
        queue = self._queue
        while queue and self._in_flight is None:
            # As many as came back last, where there are more: two like parts of the crowd take turns, one of them with
            # Redis while the answers of the other are written. Else a burst stays one batch, and each waits for each.
            half = (len(queue) + self._last_size + 1) // 2
            size = self._last_size = min(len(queue), BATCH_MAX, max(EARLY_BATCH, half))
            batch = [queue.popleft() for _ in range(size)]
            runs = _runs(batch)
            if runs:
                calls = [_call(run) for run in runs]
                self._in_flight = runs, calls
                self._sent_at = self._loop.time()
                self.metrics.observe("booking_batch_commands", "", size, BUCKETS_COMMANDS)
                if self._observe_delay is not None:
                    self._observe_delay(self._sent_at - batch[0].queued_at, size)
                self._connection.exchange(calls, self._answered)
        if self._drained is not None and self._in_flight is None and not self._drained.done():
            self._drained.set_result(None)

    def _answered(self, lost: bool) -> None:
        assert self._in_flight is not None
        runs, calls = self._in_flight
        self._in_flight = None
        self.metrics.observe("booking_exchange_duration_seconds", "", self._loop.time() - self._sent_at)
        if lost:  # whoever waited meanwhile has waited long enough, and nothing of theirs was sent
            while self._queue:
                _fail(self._queue.popleft(), InventoryUnavailable("Redis cannot be reached"))
        undone = [command for run, call in zip(runs, calls, strict=True) for command in _take_undone(run, call)]
        self._queue.extendleft(reversed(undone))
        self._flush()  # first, so that Redis has work while the answers are handed out
        for run, call in zip(runs, calls, strict=True):
            if self._saved is not None and call.script.changes and isinstance(call.answer, list):
                task = asyncio.create_task(self._answer_saved(run, call.answer, self._saved))
                self._saving.add(task)
                task.add_done_callback(self._saving.discard)
            else:
                _answer(run, call.answer)

    async def _answer_saved(self, run: list[Command], answer: Rows, saved: Callable[[], Awaitable[bool]]) -> None:
        try:
            is_saved = await saved()
        except Exception:  # noqa: BLE001 - whatever it is, those who wait have to hear of it
            is_saved = False
        _answer(run, answer if is_saved else OutcomeUnknown("not in the database in time"))


def _runs(batch: list[Command]) -> list[list[Command]]:
    """What shares a call: those who change one thing keep their order, and whoever changes nothing comes after them.

    Commands about different events may pass each other. A caller that has gone before its command was sent takes it
    along.
    """
    runs: list[list[Command]] = []
    latest: dict[bytes, list[Command]] = {}  # by what they are about
    readings: dict[PreparedCall, list[Command]] = {}
    for command in batch:
        if command.future.done():
            continue
        target = command.target
        if not target.changes:
            readings.setdefault(target, []).append(command)
            continue
        run = latest.get(target.keys[0])
        if run is not None and run[0].target is target:
            run.append(command)
        else:
            run = latest[target.keys[0]] = [command]
            runs.append(run)
    return [*runs, *readings.values()]


def _call(run: list[Command]) -> ScriptCall:
    target = run[0].target
    keys: list[Argument] = list(target.keys)
    arguments: list[Argument] = list(target.head)
    keeps = target.keeps
    for command in run:
        arguments += command.item
        if keeps:
            place = 0
            if command.replay is not None:
                keys.append(command.replay)
                place = len(keys)
            arguments += (place, command.request)
    return ScriptCall(target.script, keys, arguments)


def _take_undone(run: list[Command], call: ScriptCall) -> list[Command]:
    """Takes the commands out of a run, and their rows out of the answer, that its script left for the next call.

    They are the last ones. In a call that only reads, one row may stand for them all.
    """
    rows = call.answer
    if not call.script.leaves_undone or not isinstance(rows, list) or rows[-1][0] != Status.SEND_AGAIN:
        return []
    done = next(number for number, row in enumerate(rows) if row[0] == Status.SEND_AGAIN)
    undone = run[done:]
    del run[done:], rows[done:]
    return undone


def _answer(run: list[Command], answer: Rows | Exception | None) -> None:
    if not isinstance(answer, list):
        for command in run:
            _fail(command, answer or InventoryUnavailable("the call was not sent"))
        return
    reply = Reply(answer)
    # Rows about the event itself come first, then one for each item, in order.
    own = max(0, len(answer) - sum(1 for command in run if command.item))
    for command in run:
        if not command.future.done():
            command.future.set_result((reply, own if command.item else 0))
        own += 1 if command.item else 0


def _fail(command: Command, error: Exception) -> None:
    if not command.future.done():
        command.future.set_exception(error)
