"""Players: each has users of its own and does what its seed says, whatever the answers are."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.client import Reply
from tests.chaos.world import World

TRIES_MAX = 40
"""How often a call under a key is repeated while its outcome is unknown or refused for now."""

PAUSE_SECONDS = 0.1

OPERATIONS = ("book", "book", "book", "cancel", "confirm", "status", "mine", "again", "unkeyed", "gone")
"""What a player may do next; `again` repeats its last call under the same key, `gone` leaves before the answer."""


@dataclass(slots=True)
class Memory:
    """What one user was told, to be held against the books."""

    event_id: int
    booked: set[int] = field(default_factory=set)
    """Numbers of bookings that were acknowledged."""
    cancelled: set[int] = field(default_factory=set)
    confirmed: set[int] = field(default_factory=set)
    attempts: int = 0
    """Bookings that were asked for, repetitions under one key not counted."""


@dataclass(slots=True)
class Tally:
    """How much was done in a round."""

    operations: int = 0
    acknowledged: int = 0
    unknown: int = 0
    codes: Counter[str] = field(default_factory=Counter)


class Player:
    """Plays until told to stop, one call after another, and finishes what it has begun."""

    def __init__(
        self, world: World, name: str, events: list[int], seed: str, tally: Tally, *, keys_forgotten: bool
    ) -> None:
        """`keys_forgotten`: whether first answers may be gone before this one has played to its end."""
        self._keys_forgotten = keys_forgotten
        self._door = world.door
        self._gate = world.gate
        self._chance = random.Random(seed)
        self._tally = tally
        self.memories: dict[tuple[str, int], Memory] = {}
        self._users = [f"{name}-{number}" for number in range(12)]
        self._tokens = {user: world.token(user) for user in self._users}
        self._events = events
        self._keys = 0
        self._last: tuple[str, str, dict[str, object], str, Reply] | None = None

    async def play(self, stop: asyncio.Event) -> None:
        """Plays. The order of what is tried is the seed's alone."""
        while not stop.is_set():
            await self._gate.wait()
            user, event_id = self._chance.choice(self._users), self._chance.choice(self._events)
            operation, quantity = self._chance.choice(OPERATIONS), self._chance.randrange(1, 5)
            await self._do(operation, user, event_id, quantity)

    async def _do(self, operation: str, user: str, event_id: int, quantity: int) -> None:
        memory = self.memories.setdefault((user, event_id), Memory(event_id))
        order: dict[str, object] = {"event_id": event_id}
        match operation:
            case "book":
                memory.attempts += 1
                await self._settle("/book", user, order | {"quantity": quantity}, memory)
            case "cancel" | "confirm":
                await self._settle(f"/{operation}", user, order, memory)
            case "again" if self._last is not None:
                await self._repeat()
            case "unkeyed":
                memory.attempts += 1
                reply = await self._call("POST", "/book", user, order | {"quantity": quantity})
                self._remember("/book", memory, reply)
            case "gone":
                memory.attempts += 1
                task = asyncio.create_task(self._call("POST", "/book", user, order))
                await asyncio.sleep(self._chance.random() * 0.004)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            case "mine":
                reply = await self._call("GET", f"/events/{event_id}/booking", user)
                if reply is not None and reply.status == 200 and reply.data["user_id"] != user:
                    self._door.violations.append(f"{user} was shown the booking of {reply.data['user_id']}")
            case _:
                await self._call("GET", f"/status/{event_id}", user)

    async def _settle(self, path: str, user: str, order: dict[str, object], memory: Memory) -> None:
        """Repeats a call under one key until its outcome is known, as the contract tells clients to."""
        self._keys += 1
        key = f"{user}.{self._keys}"
        for _ in range(TRIES_MAX):
            await self._gate.wait()
            reply = await self._call("POST", path, user, order, key)
            if reply is not None and reply.status not in (0, 429, 503):
                self._remember(path, memory, reply)
                self._last = (path, user, order, key, reply)
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _repeat(self) -> None:
        """The same call under the same key gets the first answer, byte for byte."""
        assert self._last is not None
        path, user, order, key, first = self._last
        reply = await self._call("POST", path, user, order, key)
        if reply is None or reply.status in (0, 429, 503):
            return  # away for now
        if self._keys_forgotten and "idempotent-replayed" not in reply.headers:
            self._last = (path, user, order, key, reply)  # forgotten, as it says; from now on this is the first answer
        elif (reply.status, reply.body) != (first.status, first.body):
            self._door.violations.append(f"{path} under {key}: {first.body}, and then {reply.body}")

    async def _call(
        self, method: str, path: str, user: str, order: dict[str, object] | None = None, key: str | None = None
    ) -> Reply | None:
        self._tally.operations += 1
        reply = await self._door.call(method, path, self._tokens[user], order, key)
        if reply is None or reply.code == "outcome_unknown":
            self._tally.unknown += 1
        elif 200 <= reply.status < 300:
            self._tally.acknowledged += method == "POST"
        if reply is not None:
            self._tally.codes[reply.code or str(reply.status)] += 1
        return reply

    def _remember(self, path: str, memory: Memory, reply: Reply | None) -> None:
        if reply is None or not 200 <= reply.status < 300:
            return
        number = int(reply.data["id"].partition("-")[2])
        {"/book": memory.booked, "/cancel": memory.cancelled, "/confirm": memory.confirmed}[path].add(number)
