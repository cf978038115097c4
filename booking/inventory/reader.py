"""Reads the inventory in Redis page by page, without scripts, and changes nothing. The audit and the metrics use it."""

from collections.abc import AsyncIterator, Container, Sequence
from itertools import compress, islice
from typing import Any

from booking.inventory import keys
from booking.inventory.connection import open_client, unavailable
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.records import read_epoch

PAGE = 1_000
"""Bookings read in one call, which takes Redis about a millisecond."""

EVENT_IDS_MAX = 10_000_000
"""The highest event id that is enumerated. A million ids that Redis has to be asked for take up to a minute."""

READ_SECONDS_MAX = 5.0
"""How long one call may take; no client waits for it."""

Numbers = dict[str, int]


class InventoryReader:
    """Reads over its own connection. Every method raises InventoryUnavailable if Redis cannot be read."""

    def __init__(self, address: str, shards: int, read_seconds_max: float = READ_SECONDS_MAX) -> None:
        self._redis: Any = open_client(address, read_seconds_max)
        self._shards = shards

    async def close(self) -> None:
        """Closes the connection."""
        await self._redis.aclose()

    async def memory_bytes(self) -> tuple[int, int]:
        """The memory that Redis uses, and its limit (0: none)."""
        with unavailable("read"):
            found = await self._redis.info("memory")
        return int(found.get("used_memory", 0)), int(found.get("maxmemory", 0))

    async def replicas(self) -> tuple[int, int]:
        """The replicas that Redis counts on, and how many it needs to accept a write (`min-replicas-to-write`)."""
        with unavailable("read"):
            found = await self._redis.info("replication")
            needed = await self._redis.config_get("min-replicas-to-write")
        connected = found.get("connected_slaves", 0)
        return int(found.get("min_slaves_good_slaves", connected)), int(needed.get("min-replicas-to-write", 0))

    async def epoch(self, shard: int) -> str | None:
        """The shard's epoch; None if it has none."""
        with unavailable("read"):
            found = await self._redis.get(keys.epoch(shard))
        return None if found is None else read_epoch(found)

    async def event_ids(self, excluded: Container[int] = ()) -> AsyncIterator[list[int]]:
        """The ids of all events that are not `excluded`, in order, in pages.

        An id that was assigned and has no event is left out.
        """
        with unavailable("read"):
            found = await self._redis.get(keys.LAST_EVENT) or b"0"
        if not _is_number(found) or int(found) > EVENT_IDS_MAX:
            raise InventoryUnavailable(f"{keys.LAST_EVENT.decode()} in Redis is not a possible event id")
        asked = (event_id for event_id in range(1, int(found) + 1) if event_id not in excluded)
        while page := list(islice(asked, PAGE)):
            with unavailable("read"):
                pipeline = self._redis.pipeline(transaction=False)
                for event_id in page:
                    pipeline.exists(keys.event(event_id, self._shards))
                there = await pipeline.execute()
            yield list(compress(page, there))

    async def event(self, event_id: int) -> Numbers | None:
        """An event's counters and numeric rules, all as of its `seq`; None if there is no such event."""
        with unavailable("read"):
            stored = await self._redis.hgetall(self._keys(event_id)[0])
        return {name.decode(): int(value) for name, value in stored.items() if _is_number(value)} if stored else None

    async def organizer_id(self, event_id: int) -> str | None:
        """The user id that created an event; None if it has none, or if there is no such event."""
        with unavailable("read"):
            found = await self._redis.hget(self._keys(event_id)[0], "organizer_id")
        return found.decode(errors="replace") if found else None

    async def sizes(self, event_id: int) -> tuple[int, int, float | None]:
        """The sizes of the waiting list and of the list of holds, and when the event's first hold ends (ms)."""
        _, _, waiting, holds, due, *_ = self._keys(event_id)
        with unavailable("read"):
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.zcard(waiting).zcard(holds).zscore(due, str(event_id))
            waits, held, due_ms = await pipeline.execute()
        return waits, held, due_ms

    async def records(self, event_id: int) -> AsyncIterator[dict[str, bytes]]:
        """Every booking's record by user, in pages. A booking that changes meanwhile is seen in either state."""
        cursor = None
        while cursor != 0:
            with unavailable("read"):
                cursor, found = await self._redis.hscan(self._keys(event_id)[1], cursor or 0, count=PAGE)
            yield {user.decode(errors="replace"): text for user, text in found.items()}

    async def records_of(self, event_id: int, users: Sequence[str]) -> list[bytes | None]:
        """The records of these users' bookings, in the order of `users`."""
        if not users:
            return []
        with unavailable("read"):
            texts: list[bytes | None] = await self._redis.hmget(self._keys(event_id)[1], list(users))
        return texts

    async def places(
        self, event_id: int, waiting: Sequence[str], holding: Sequence[str]
    ) -> tuple[list[float | None], list[float | None]]:
        """The scores of `waiting` on the waiting list, and the ends (ms) of the holds of `holding`, in their orders."""
        _, _, waiting_key, holds_key, *_ = self._keys(event_id)
        with unavailable("read"):
            found: list[list[float | None]] = []
            for key, users in ((waiting_key, waiting), (holds_key, holding)):
                found.append(await self._redis.zmscore(key, list(users)) if users else [])
        return found[0], found[1]

    def _keys(self, event_id: int) -> tuple[bytes, ...]:
        return keys.event_keys(event_id, self._shards)


def _is_number(value: bytes) -> bool:
    return value.removeprefix(b"-").isdigit()
