"""One batcher and one connection for each primary; each command goes to the primary that has its shard."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic

from booking.inventory.batcher import Command, CommandBatcher, fail
from booking.inventory.errors import InventoryUnavailable, NotExecuted
from booking.inventory.script_connection import ANSWER_SECONDS_MAX, FEW_REPLICAS, ScriptConnection
from booking.inventory.topology import Topology
from booking.metrics import Metrics

SEND_AGAIN_SECONDS = 0.02
"""How long a refused command waits before it is sent again."""

MAP_IS_RIGHT = ("ASK ", "TRYAGAIN", FEW_REPLICAS)
"""How the refusals begin that say nothing against the map: a slot's keys are on two servers, or replicas are away."""


class PrimaryBatchers:
    """Batchers are opened when a shard needs one, and closed when their server has no shard any more.

    On one fixed server a refusal is the answer. Elsewhere a command that a server refused before it ran it is sent
    again, until ANSWER_SECONDS_MAX after its caller was asked. After MOVED this is done at once, so that the commands
    about an event keep their order.
    """

    def __init__(
        self,
        topology: Topology,
        connect: Callable[[str], ScriptConnection],
        queue_limit: int,
        saved: Callable[[int], Awaitable[bool]] | None = None,
        observe_delay: Callable[[float, int], None] | None = None,
    ) -> None:
        """`connect` makes the connection to an address. `queue_limit` is each batcher's; see `CommandBatcher`."""
        self.topology = topology
        self.metrics = Metrics()
        self._connect = connect
        self._queue_limit = queue_limit
        self._saved = saved
        self._observe_delay = observe_delay
        self._batchers: dict[str, CommandBatcher] = {}
        self._shards: dict[str, set[int]] = {}
        """By address: the shards that its connection was, or will be, verified for."""
        self._closing: set[asyncio.Task[None]] = set()
        self._refused: dict[asyncio.TimerHandle, list[Command]] = {}
        """Commands that wait to be sent again."""
        self._is_closed = False
        topology.on_change(self._deal_again)

    def __len__(self) -> int:
        return sum(map(len, self._batchers.values()))

    def of_shard(self, shard: int) -> CommandBatcher:
        """The batcher of the shard's primary. Raises InventoryUnavailable if no server is known to have the shard."""
        return self._at(self.topology.locate(shard))

    def of_key(self, key: bytes) -> CommandBatcher:
        """The batcher of the primary that has a key. Raises InventoryUnavailable if no server is known to have it."""
        return self._at(self.topology.locate_key(key))

    async def close(self) -> None:
        """Answers what is queued, then closes the connections."""
        self._is_closed = True
        while self._refused:
            timer, commands = self._refused.popitem()
            timer.cancel()
            self._deal(commands, InventoryUnavailable("the service is shutting down"))
        batchers, self._batchers = self._batchers, {}
        await asyncio.gather(*(batcher.close() for batcher in batchers.values()), *self._closing)

    def _at(self, address: str) -> CommandBatcher:
        batcher = self._batchers.get(address)
        if batcher is None:
            if self._is_closed:
                raise InventoryUnavailable("the service is shutting down")
            follows = self.topology.form != "server"
            batcher = self._batchers[address] = CommandBatcher(
                self._connect(address),
                self._queue_limit,
                self._saved,
                self._observe_delay,
                metrics=self.metrics,
                send_elsewhere=partial(self._send_again, address) if follows else None,
                lost=partial(self.topology.distrust, address) if follows else None,
            )
            self._shards[address] = set(self.topology.shards_at(address))
        return batcher

    def _deal_again(self) -> None:
        """After a change of the map: commands go to the servers that have their shards now."""
        elsewhere: list[Command] = []
        for address, batcher in list(self._batchers.items()):
            elsewhere += batcher.give_up(partial(self._is_elsewhere, address))
            shards = set(self.topology.shards_at(address))
            if shards - self._shards[address]:
                batcher.verify_again()
            self._shards[address] = shards
            if not shards:
                del self._batchers[address]
                task = asyncio.create_task(batcher.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        self._deal(elsewhere, InventoryUnavailable("the shard has moved"))

    def _is_elsewhere(self, address: str, command: Command) -> bool:
        try:
            return self._address_of(command) != address
        except InventoryUnavailable:
            return True

    def _address_of(self, command: Command) -> str:
        return self.topology.locate_key(command.prepared.keys[0])

    def _send_again(self, address: str, commands: list[Command], refusals: Sequence[NotExecuted]) -> None:
        """Takes over commands that the server at `address` has refused before it ran them."""
        texts = [str(refusal) for refusal in refusals]
        for text in dict.fromkeys(texts):
            if text.startswith("MOVED"):
                self.topology.moved(text)
            elif not text.startswith(MAP_IS_RIGHT):
                self.topology.distrust(address)
        if texts[0].startswith("MOVED") and not commands[0].was_refused:
            self._deal(commands, refusals[0])
        else:
            self._deal_later(commands, refusals[0])

    def _deal_later(self, commands: list[Command], why: InventoryUnavailable) -> None:
        def deal() -> None:
            self._deal(self._refused.pop(timer), why)

        timer = asyncio.get_running_loop().call_later(SEND_AGAIN_SECONDS, deal)
        self._refused[timer] = commands

    def _deal(self, commands: list[Command], why: InventoryUnavailable) -> None:
        """Gives commands to the servers that have their shards. A command that has waited too long fails with `why`."""
        deadline, unknown, dealt = monotonic() - ANSWER_SECONDS_MAX, list[Command](), dict[str, list[Command]]()
        for command in commands:
            if command.asked_at < deadline or self._is_closed:
                fail(command, why)
                continue
            command.was_refused = True
            try:
                dealt.setdefault(self._address_of(command), []).append(command)
            except InventoryUnavailable:
                unknown.append(command)
        for address, some in dealt.items():
            self._at(address).take_over(some)
        if unknown:
            self._deal_later(unknown, why)
