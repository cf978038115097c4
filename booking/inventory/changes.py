"""The change streams, as the persister reads them: from a cursor on, and trimmed behind it."""

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from booking.domain.changes import ShardBatch
from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.records import read_change

READ_SECONDS_MAX = 5.0
"""How long one reading may take; a few thousand entries take milliseconds."""


class ChangeStreams:
    """Every shard's stream, over a connection of its own."""

    def __init__(self, address: str) -> None:
        self._redis = Redis.from_url(
            address,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=READ_SECONDS_MAX,
            socket_connect_timeout=READ_SECONDS_MAX,
            protocol=2,
        )
        # The reply as it came: redis-py's own callback makes a dictionary of each entry, at three times the cost.
        self._redis.response_callbacks["XREAD"] = _as_it_came  # type: ignore[assignment]  # it takes any options

    async def found(self, epochs: Mapping[int, tuple[str, str]]) -> None:
        """Gives each shard its epoch, from `(epoch, cursor)`, if nothing of it was ever there.

        A shard whose cursor has moved has had an epoch in Redis: where it is missing now, data is missing too, and the
        shard is left without one, which keeps every script from selling from it.
        """
        try:
            for shard, (epoch, cursor) in epochs.items():
                if cursor == "0-0" and not await self._redis.exists(keys.changes(shard)):
                    await self._redis.set(keys.epoch(shard), epoch, nx=True)
        except (RedisError, OSError) as error:
            raise InventoryUnavailable(f"Redis cannot be reached ({type(error).__name__})") from None

    async def read(self, positions: Mapping[int, tuple[str, str]], count: int) -> tuple[list[ShardBatch], list[int]]:
        """Up to `count` entries a shard after each `(epoch, cursor)`, and the shards that have another epoch.

        Raises InventoryUnavailable.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for shard, (_, cursor) in positions.items():
            pipeline.get(keys.epoch(shard))
            pipeline.execute_command("XREAD", "COUNT", count, "STREAMS", keys.changes(shard), cursor)
        replies = await self._execute(pipeline)
        batches, lost = [], []
        for (shard, (epoch, cursor)), found, reply in zip(positions.items(), replies[::2], replies[1::2], strict=True):
            if found is None or found.decode() != epoch:
                lost.append(shard)
            elif reply:
                entries = reply[0][1]
                changes = tuple(read_change(fields[1]) for _, fields in entries)
                batches.append(ShardBatch(shard, epoch, cursor, entries[-1][0].decode(), changes))
        return batches, lost

    async def trim(self, cursors: Mapping[int, str]) -> None:
        """Lets go of the entries of each shard up to its cursor, which are durable elsewhere. Raises as `read` does."""
        pipeline = self._redis.pipeline(transaction=False)
        for shard, cursor in cursors.items():
            milliseconds, number = cursor.split("-")
            pipeline.execute_command("XTRIM", keys.changes(shard), "MINID", f"{milliseconds}-{int(number) + 1}")
        await self._execute(pipeline)

    async def close(self) -> None:
        """Closes the connection."""
        await self._redis.aclose()

    async def _execute(self, pipeline: Any) -> list[Any]:
        try:
            replies: list[Any] = await pipeline.execute()
        except (RedisError, OSError) as error:
            raise InventoryUnavailable(f"Redis cannot be reached ({type(error).__name__})") from None
        return replies


def _as_it_came(reply: Any, **_: Any) -> Any:
    return reply
