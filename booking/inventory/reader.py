"""Reads the inventory in Redis page by page, without scripts, and changes nothing. The audit and the metrics use it."""

from collections.abc import AsyncIterator, Container, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from redis.exceptions import ResponseError

from booking.inventory import keys
from booking.inventory.connection import location_of
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.records import read_epoch
from booking.inventory.shard_clients import Command, ShardClients, opened_topology
from booking.inventory.topology import Topology

PAGE = 1_000
"""Bookings read in one call, which takes Redis about a millisecond."""

EVENT_IDS_MAX = 10_000_000
"""The highest event id that is enumerated. A million ids that Redis has to be asked for take up to a minute."""

READ_SECONDS_MAX = 5.0
"""How long one call may take; no client waits for it."""

Numbers = dict[str, int]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """What Redis stores of an event."""

    numbers: Numbers
    """Its counters and numeric rules."""
    organizer_id: str | None
    details: str
    """The JSON of its details; empty if it has never had any."""


@dataclass(frozen=True, slots=True)
class Primary:
    """A primary's state; its numbers are 0 unless it `is_up`."""

    location: str
    """Its host and port, or its socket's path."""
    shards: tuple[int, ...]
    """The shards that it has now."""
    is_up: bool
    """Whether it answers INFO, which a managed one may refuse."""
    memory_bytes: int = 0
    memory_bytes_max: int = 0
    """Its limit (`maxmemory`); 0: none."""
    replicas: int = 0
    """The replicas that it counts on."""
    replicas_min: int = 0
    """How many of them it needs to accept a write (`min-replicas-to-write`)."""


class InventoryReader:
    """Reads over connections of its own. Every method raises InventoryUnavailable if Redis cannot be read."""

    def __init__(self, topology: Topology | str, shards: int, read_seconds_max: float = READ_SECONDS_MAX) -> None:
        self._clients = ShardClients(topology, read_seconds_max)
        self._call = self._clients.call
        self._shards = shards

    async def close(self) -> None:
        """Closes the connections."""
        await self._clients.close()

    async def primaries(self) -> list[Primary]:
        """Every known primary, in the order of its first shard. It raises nothing."""
        topology = self._clients.topology
        answers = await self._clients.each(_state)
        found = [
            Primary(
                location_of(address),
                tuple(topology.shards_at(address)),
                is_up=isinstance(answer, dict),
                **(answer if isinstance(answer, dict) else {}),
            )
            for address, answer in answers.items()
        ]
        return sorted(found, key=lambda one: one.shards or (self._shards,))

    async def epoch(self, shard: int) -> str | None:
        """The shard's epoch; None if it has none."""
        found = await self._call(shard, lambda redis: redis.get(keys.epoch(shard)))
        return None if found is None else read_epoch(found)

    async def event_ids(self, excluded: Container[int] = ()) -> AsyncIterator[list[int]]:
        """The ids of all events that are not `excluded`, in order, in pages.

        An id that was assigned and has no event is left out.
        """
        names = {shard: keys.last_event(shard) for shard in range(self._shards)}
        if self._clients.topology.form != "cluster":
            names = {0: keys.LAST_EVENT}
        last = 0
        for shard, (found,) in (
            await self._clients.ask({one: [("GET", name)] for one, name in names.items()}, "read")
        ).items():
            if found is not None and not (
                isinstance(found, bytes) and _is_number(found) and int(found) <= EVENT_IDS_MAX
            ):
                raise InventoryUnavailable(f"{names[shard].decode()} in Redis is not a possible event id")
            last = max(last, int(found or 0))
        asked = (event_id for event_id in range(1, last + 1) if event_id not in excluded)
        while page := list(islice(asked, PAGE)):
            commands: dict[int, list[Command]] = {}
            for event_id in page:
                commands.setdefault(self._shard_of(event_id), []).append(("EXISTS", keys.event(event_id, self._shards)))
            replies = await self._clients.ask(commands, "read")
            there = {shard: iter(numbers) for shard, numbers in replies.items()}
            yield [event_id for event_id in page if next(there.get(self._shard_of(event_id), iter([0])))]

    async def event(self, event_id: int) -> Numbers | None:
        """An event's counters and numeric rules, all as of its `seq`; None if there is no such event."""
        found = await self.stored_event(event_id)
        return None if found is None else found.numbers

    async def stored_event(self, event_id: int) -> StoredEvent | None:
        """What Redis stores of an event, all as of its `seq`; None if there is no such event."""
        stored = await self._call(self._shard_of(event_id), lambda redis: redis.hgetall(self._keys(event_id)[0]))
        if not stored:
            return None
        numbers = {name.decode(): int(value) for name, value in stored.items() if _is_number(value)}
        organizer_id = stored.get(b"organizer_id", b"").decode(errors="replace")
        return StoredEvent(numbers, organizer_id or None, stored.get(b"details", b"").decode(errors="replace"))

    async def sizes(self, event_id: int) -> tuple[int, int, float | None]:
        """The sizes of the waiting list and of the list of holds, and when the event's first hold ends (ms)."""
        _, _, waiting, holds, due, *_ = self._keys(event_id)

        def ask(redis: Any) -> Any:
            return redis.pipeline(transaction=True).zcard(waiting).zcard(holds).zscore(due, str(event_id)).execute()

        waits, held, due_ms = await self._call(self._shard_of(event_id), ask)
        return waits, held, due_ms

    async def records(self, event_id: int) -> AsyncIterator[dict[str, bytes]]:
        """Every booking's record by user, in pages. A booking that changes meanwhile is seen in either state."""
        _, key, *_ = self._keys(event_id)
        cursor = None
        while cursor != 0:
            ask = partial(_scan, key=key, cursor=cursor or 0)
            cursor, found = await self._call(self._shard_of(event_id), ask)
            yield {user.decode(errors="replace"): text for user, text in found.items()}

    async def records_of(self, event_id: int, users: Sequence[str]) -> list[bytes | None]:
        """The records of these users' bookings, in the order of `users`."""
        if not users:
            return []
        _, key, *_ = self._keys(event_id)
        texts: list[bytes | None] = await self._call(
            self._shard_of(event_id), lambda redis: redis.hmget(key, list(users))
        )
        return texts

    async def payments(self, event_id: int) -> AsyncIterator[dict[str, bytes]]:
        """What is remembered of payments, by user and in pages. `records.read_payments` parses it."""
        *_, key = self._keys(event_id)
        cursor = None
        while cursor != 0:
            ask = partial(_scan, key=key, cursor=cursor or 0)
            cursor, found = await self._call(self._shard_of(event_id), ask)
            yield {user.decode(errors="replace"): text for user, text in found.items()}

    async def payers(self, event_id: int) -> int:
        """The number of users of whom payments are remembered."""
        *_, key = self._keys(event_id)
        count: int = await self._call(self._shard_of(event_id), lambda redis: redis.hlen(key))
        return count

    async def payments_of(self, event_id: int, users: Sequence[str]) -> list[bytes | None]:
        """What is remembered of the payments of these users, in the order of `users`."""
        *_, key = self._keys(event_id)
        texts: list[bytes | None] = await self._call(
            self._shard_of(event_id), lambda redis: redis.hmget(key, list(users))
        )
        return texts

    async def places(
        self, event_id: int, waiting: Sequence[str], holding: Sequence[str]
    ) -> tuple[list[float | None], list[float | None]]:
        """The scores of `waiting` on the waiting list, and the ends (ms) of the holds of `holding`, in their orders."""
        _, _, waiting_key, holds_key, *_ = self._keys(event_id)

        async def ask(redis: Any) -> list[list[float | None]]:
            return [
                await redis.zmscore(key, list(users)) if users else []
                for key, users in ((waiting_key, waiting), (holds_key, holding))
            ]

        found = await self._call(self._shard_of(event_id), ask)
        return found[0], found[1]

    def _shard_of(self, event_id: int) -> int:
        return keys.shard_of(event_id, self._shards)

    def _keys(self, event_id: int) -> tuple[bytes, ...]:
        return keys.event_keys(event_id, self._shards)


def _is_number(value: bytes) -> bool:
    return value.removeprefix(b"-").isdigit()


@asynccontextmanager
async def opened_reader(url: str, shards: int) -> AsyncIterator[InventoryReader]:
    """A reader of the Redis at a URL. Raises InventoryUnavailable if no server is known to it."""
    async with opened_topology(url, shards) as topology:
        reader = InventoryReader(topology, shards)
        try:
            yield reader
        finally:
            await reader.close()


def _scan(redis: Any, key: bytes, cursor: int) -> Any:
    return redis.hscan(key, cursor, count=PAGE)


async def _state(redis: Any) -> dict[str, int]:
    """The numbers of a `Primary`."""
    memory, replication = await redis.info("memory"), await redis.info("replication")
    connected = replication.get("connected_slaves", 0)
    try:
        needed = await redis.config_get("min-replicas-to-write")
    except ResponseError:  # a managed Redis refuses CONFIG GET
        needed = {}
    return {
        "memory_bytes": int(memory.get("used_memory", 0)),
        "memory_bytes_max": int(memory.get("maxmemory", 0)),
        "replicas": int(replication.get("min_slaves_good_slaves", connected)),
        "replicas_min": int(needed.get("min-replicas-to-write", 0)),
    }
