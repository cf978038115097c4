"""The stock as it lies in Redis, for those who count it: read in pieces, by no script, and never changed."""

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
"""Event ids that are gone through, at most. A million that have to be asked for take up to a minute."""

READ_SECONDS_MAX = 5.0
"""How long one call may take where no client waits for what comes of it."""

Numbers = dict[str, int]


class InventoryReader:
    """Reads over a connection of its own. Every method raises InventoryUnavailable when Redis cannot be read."""

    def __init__(self, address: str, shards: int, read_seconds_max: float = READ_SECONDS_MAX) -> None:
        self._redis: Any = open_client(address, read_seconds_max)
        self._shards = shards

    async def close(self) -> None:
        """Closes the connection."""
        await self._redis.aclose()

    async def epoch(self, shard: int) -> str | None:
        """The shard's epoch, if it has one."""
        with unavailable("read"):
            found = await self._redis.get(keys.epoch(shard))
        return None if found is None else read_epoch(found)

    async def event_ids(self, besides: Container[int] = ()) -> AsyncIterator[list[int]]:
        """The ids of every event that there is, besides these, in order and some at a time.

        An id that was given out and never became an event is none of them.
        """
        with unavailable("read"):
            found = await self._redis.get(keys.LAST_EVENT) or b"0"
        if not _is_number(found) or int(found) > EVENT_IDS_MAX:
            raise InventoryUnavailable(f"{keys.LAST_EVENT.decode()} in Redis is no event id that can be gone up to")
        asked = (event_id for event_id in range(1, int(found) + 1) if event_id not in besides)
        while page := list(islice(asked, PAGE)):
            with unavailable("read"):
                pipeline = self._redis.pipeline(transaction=False)
                for event_id in page:
                    pipeline.exists(keys.event(event_id, self._shards))
                there = await pipeline.execute()
            yield list(compress(page, there))

    async def event(self, event_id: int) -> Numbers | None:
        """An event's counters and rules that are numbers, all as of its `seq`; None where there is no such event."""
        with unavailable("read"):
            stored = await self._redis.hgetall(self._keys(event_id)[0])
        return {name.decode(): int(value) for name, value in stored.items() if _is_number(value)} if stored else None

    async def sizes(self, event_id: int) -> tuple[int, int, float | None]:
        """How many wait by the waiting list, how many hold by the list of holds, and when the event is due (ms)."""
        _, _, waiting, holds, due, *_ = self._keys(event_id)
        with unavailable("read"):
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.zcard(waiting).zcard(holds).zscore(due, str(event_id))
            waits, held, due_ms = await pipeline.execute()
        return waits, held, due_ms

    async def records(self, event_id: int) -> AsyncIterator[dict[str, bytes]]:
        """Every booking's text by its user, some at a time; one that changes meanwhile may be seen before or after."""
        cursor = None
        while cursor != 0:
            with unavailable("read"):
                cursor, found = await self._redis.hscan(self._keys(event_id)[1], cursor or 0, count=PAGE)
            yield {user.decode(errors="replace"): text for user, text in found.items()}

    async def records_of(self, event_id: int, users: Sequence[str]) -> list[bytes | None]:
        """The texts of these users' bookings, in their order."""
        if not users:
            return []
        with unavailable("read"):
            texts: list[bytes | None] = await self._redis.hmget(self._keys(event_id)[1], list(users))
        return texts

    async def places(
        self, event_id: int, waiting: Sequence[str], holding: Sequence[str]
    ) -> tuple[list[float | None], list[float | None]]:
        """Where these stand on the waiting list, and when the holds of those end (ms), in their order."""
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
