"""Buyers: each has its own users and does what its seed decides, whatever the answers are."""

import asyncio
import random
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from booking.inventory.keys import shard_of
from tests.chaos.client import Reply
from tests.chaos.deployment import SHARDS, Deployment

TRIES_MAX = 40
"""How often a call under a key is repeated while its outcome is unknown or refused for now."""

PAUSE_SECONDS = 0.1

OPERATIONS = ("book", "book", "book", "cancel", "confirm", "status", "mine", "again", "unkeyed", "gone")
"""A buyer's operations. `again` repeats the last call under its key; `gone` disconnects before the answer."""


NOT_STORED = ("sale_paused", "sale_not_open")
"""Refusals that are decided anew for the same key (contract)."""


@dataclass(slots=True)
class Memory:
    """The acknowledgements that one user got for one event, for the oracle."""

    event_id: int
    booked: set[int] = field(default_factory=set)
    """Numbers of bookings that were acknowledged."""
    cancelled: set[int] = field(default_factory=set)
    confirmed: set[int] = field(default_factory=set)
    attempts: int = 0
    """Booking requests, without repetitions under the same key."""


@dataclass(slots=True)
class Tally:
    """The counts of one round."""

    operations: int = 0
    acknowledged: int = 0
    refused: int = 0
    """Answers 503 after which nothing was changed."""
    unknown: int = 0
    elsewhere_seconds: list[float] = field(default_factory=list)
    """How long each call took about a shard that the fault does not concern."""
    elsewhere_refused: int = 0
    """Those of them that were refused for now, or whose outcome is unknown."""


class Buyer:
    """Makes one call after another until it is stopped, and finishes the last one."""

    def __init__(
        self,
        deployment: Deployment[Any],
        name: str,
        events: list[int],
        seed: str,
        tally: Tally,
        *,
        keys_forgotten: bool,
        refusals_forgotten: bool,
        seconds: float,
    ) -> None:
        """`seconds`: from one operation to the next, at least.

        `keys_forgotten`: whether the first answers under idempotency keys may be lost in this round.

        `refusals_forgotten`: whether those of them that are refusals may be.
        """
        self._keys_forgotten = keys_forgotten
        self._refusals_forgotten = refusals_forgotten
        self._seconds = seconds
        self._deployment = deployment
        self._client = deployment.client
        self._running = deployment.running
        self._chance = random.Random(seed)
        self._tally = tally
        self.memories: dict[tuple[str, int], Memory] = {}
        self._users = [f"{name}-{number}" for number in range(12)]
        self._tokens = {user: deployment.token(user) for user in self._users}
        self._events = events
        self._keys = 0
        self._last: tuple[str, str, int, dict[str, object], str, Reply] | None = None

    async def play(self, stop: asyncio.Event) -> None:
        """Makes calls until `stop` is set. The order of operations depends only on the seed."""
        due = monotonic()
        while not stop.is_set():
            await self._running.wait()
            user, event_id = self._chance.choice(self._users), self._chance.choice(self._events)
            operation, quantity = self._chance.choice(OPERATIONS), self._chance.randrange(1, 5)
            await self._do(operation, user, event_id, quantity)
            due = max(due + self._seconds, monotonic())
            await asyncio.sleep(due - monotonic())

    async def _do(self, operation: str, user: str, event_id: int, quantity: int) -> None:
        memory = self.memories.setdefault((user, event_id), Memory(event_id))
        fields: dict[str, object] = {"event_id": event_id}
        match operation:
            case "book":
                memory.attempts += 1
                await self._settle("/book", user, fields | {"quantity": quantity}, memory)
            case "cancel" | "confirm":
                await self._settle(f"/{operation}", user, fields, memory)
            case "again" if self._last is not None:
                await self._repeat()
            case "unkeyed":
                memory.attempts += 1
                reply = await self._call("POST", "/book", user, event_id, fields | {"quantity": quantity})
                self._remember("/book", memory, reply)
            case "gone":
                memory.attempts += 1
                task = asyncio.create_task(self._call("POST", "/book", user, event_id, fields))
                await asyncio.sleep(self._chance.random() * 0.004)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            case "mine":
                reply = await self._call("GET", f"/events/{event_id}/booking", user, event_id, None)
                if reply is not None and reply.status == 200 and reply.data["user_id"] != user:
                    self._client.violations.append(f"{user} was shown the booking of {reply.data['user_id']}")
            case _:
                await self._call("GET", f"/status/{event_id}", user, event_id, None)

    async def _settle(self, path: str, user: str, fields: dict[str, object], memory: Memory) -> None:
        """Repeats a call under one key until its outcome is known, as the contract requires of clients."""
        self._keys += 1
        key = f"{user}.{self._keys}"
        for _ in range(TRIES_MAX):
            await self._running.wait()
            reply = await self._call("POST", path, user, memory.event_id, fields, key)
            if reply is not None and reply.status not in (0, 429, 503):
                self._remember(path, memory, reply)
                self._last = (path, user, memory.event_id, fields, key, reply)
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _repeat(self) -> None:
        """Checks that the same call under the same key gets the first answer, byte for byte."""
        assert self._last is not None
        path, user, event_id, fields, key, first = self._last
        reply = await self._call("POST", path, user, event_id, fields, key)
        if reply is None or reply.status in (0, 429, 503):
            return  # unavailable at present
        is_refusal_forgotten = first.code in NOT_STORED or (first.code != "" and self._refusals_forgotten)
        may_change = self._keys_forgotten or is_refusal_forgotten
        if may_change and "idempotent-replayed" not in reply.headers:
            self._last = (path, user, event_id, fields, key, reply)  # no replay: now this is the first answer
        elif (reply.status, reply.body) != (first.status, first.body):
            self._client.violations.append(f"{path} under {key}: {first.body}, then {reply.body}")

    async def _call(
        self, method: str, path: str, user: str, event_id: int, fields: dict[str, object] | None, key: str | None = None
    ) -> Reply | None:
        tally, began = self._tally, monotonic()
        tally.operations += 1
        reply = await self._client.call(method, path, self._tokens[user], fields, key)
        failed = 0
        if reply is None or reply.code == "outcome_unknown":
            tally.unknown += 1
            failed = 1
        elif 200 <= reply.status < 300:
            tally.acknowledged += method == "POST"
        else:
            failed = reply.status == 503
            tally.refused += failed
        if shard_of(event_id, SHARDS) not in self._deployment.broken_shards:
            tally.elsewhere_seconds.append(monotonic() - began)
            tally.elsewhere_refused += failed
        return reply

    def _remember(self, path: str, memory: Memory, reply: Reply | None) -> None:
        if reply is None or not 200 <= reply.status < 300:
            return
        number = int(reply.data["id"].partition("-")[2])
        {"/book": memory.booked, "/cancel": memory.cancelled, "/confirm": memory.confirmed}[path].add(number)
