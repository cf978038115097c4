"""The change streams, as the persister reads them: from a cursor on, trimmed behind it, and vouched for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import BusyLoadingError, ResponseError

from booking.domain.changes import Change, ShardBatch
from booking.inventory import keys
from booking.inventory.connection import open_client, unavailable
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.records import read_change
from booking.inventory.scripts import load

READ_SECONDS_MAX = 5.0
"""How long one reading may take; a few thousand entries take milliseconds."""

Positions = Mapping[int, tuple[str, str]]
"""Each shard's epoch and cursor, as the database has them."""


@dataclass(slots=True)
class Reading:
    """What came of one look at the streams."""

    batches: list[ShardBatch] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    """Shards that are not what the database knows: emptied, of another founding, or an old copy."""
    let_go: dict[int, str] = field(default_factory=dict)
    """Shards of which Redis has let go of more than these positions say, and how far; nothing of them is read."""
    unreadable: dict[int, str] = field(default_factory=dict)
    """Shards whose stream holds what no script of ours writes, and why it cannot be read."""


class ChangeStreams:
    """Every shard's stream, over a connection of its own."""

    def __init__(self, address: str) -> None:
        self._redis = open_client(address, READ_SECONDS_MAX)
        # The reply as it came: redis-py's own callback makes a dictionary of each entry, at three times the cost.
        self._redis.response_callbacks["XREAD"] = _as_it_came  # type: ignore[assignment]  # it takes any options

    async def is_loaded(self) -> bool:
        """False while the server still reads its data from disk. Raises InventoryUnavailable."""
        with unavailable("reached"):
            try:
                await self._redis.ping()
            except BusyLoadingError:
                return False
        return True

    async def initialize_shards(self, positions: Positions) -> list[int]:
        """Gives each shard its epoch if nothing of it was ever there, and verifies the others, as `vouch` does.

        A shard whose cursor has moved has had an epoch in Redis: where it is missing now, data is missing too, and the
        shard is left without one, which keeps every script from selling from it.
        """
        with unavailable("reached"):
            for shard, (epoch, cursor) in positions.items():
                if cursor == "0-0":
                    names = (keys.changes(shard), keys.restoring(shard), keys.epoch(shard))
                    await self._redis.eval(load("initialize_shard").source, len(names), *names, epoch)  # type: ignore[arg-type]  # bytes, too
        return await self.verify_or_fence(positions)

    async def verify_or_fence(self, positions: Positions) -> list[int]:
        """The shards that do not have all that the database has of them; nothing is sold from these any more.

        Raises InventoryUnavailable.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for shard, (epoch, cursor) in positions.items():
            _evaluate(pipeline, "verify_or_fence", shard, epoch, cursor)
        replies = await self._execute(pipeline)
        return [shard for shard, reply in zip(positions, replies, strict=True) if not _is_whole(reply)]

    async def read(self, positions: Positions, count: int) -> Reading:
        """Up to `count` entries a shard after each cursor. Raises InventoryUnavailable.

        What is wrong with one shard is told of that shard, and keeps no other from being read; what comes before an
        entry that cannot be read is read first.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for shard, (epoch, cursor) in positions.items():
            _evaluate(pipeline, "verify_or_fence", shard, epoch, cursor)
            pipeline.execute_command("XREAD", "COUNT", count, "STREAMS", keys.changes(shard), cursor)
        replies = await self._execute(pipeline)
        reading = Reading()
        for (shard, (epoch, cursor)), whole, reply in zip(positions.items(), replies[::2], replies[1::2], strict=True):
            if not _is_whole(whole):
                reading.lost.append(shard)
            elif order(mark := whole[0][2].decode()) > order(cursor):
                reading.let_go[shard] = mark
            elif isinstance(reply, Exception):
                reading.unreadable[shard] = str(reply)
            elif reply:
                try:
                    reading.batches.append(_batch(shard, epoch, cursor, reply[0][1]))
                except (KeyError, ValueError, IndexError) as error:
                    reading.unreadable[shard] = f"an entry after {cursor} cannot be read ({error!r})"
        return reading

    async def let_go(self, shards: Iterable[int]) -> dict[int, str]:
        """How far each shard's stream was let go of, since the database had it. Raises InventoryUnavailable."""
        numbers = list(shards)
        pipeline = self._redis.pipeline(transaction=False)
        for shard in numbers:
            pipeline.get(keys.trimmed_to(shard))
        replies = await self._execute(pipeline)
        return {shard: mark.decode() for shard, mark in zip(numbers, replies, strict=True) if isinstance(mark, bytes)}

    async def rest(self, shard: int, epoch: str, cursor: str, count: int) -> tuple[ShardBatch | None, bool]:
        """Up to `count` entries after a cursor, whatever the shard's epoch; None for none, and whether they were read.

        Raises InventoryUnavailable.
        """
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.execute_command("XREAD", "COUNT", count, "STREAMS", keys.changes(shard), cursor)
        (reply,) = await self._execute(pipeline)
        if isinstance(reply, Exception):
            return None, False
        if not reply:
            return None, True
        try:
            return _batch(shard, epoch, cursor, reply[0][1]), True
        except (KeyError, ValueError, IndexError):
            return None, False

    async def trim(self, positions: Positions) -> None:
        """Lets go of the entries of each shard up to its cursor, which are durable elsewhere. Raises as `read` does.

        A shard that is of another founding by now, or an old copy, is left as it is: the next reading tells.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for shard, (epoch, cursor) in positions.items():
            _evaluate(pipeline, "trim", shard, epoch, cursor)
        _raise_first(await self._execute(pipeline))

    async def fence(self, shards: Iterable[int]) -> None:
        """Takes these shards' epochs away, so that nothing is sold from them. Raises InventoryUnavailable."""
        pipeline = self._redis.pipeline(transaction=False)
        for shard in shards:
            pipeline.delete(keys.epoch(shard))
        _raise_first(await self._execute(pipeline))

    async def close(self) -> None:
        """Closes the connection."""
        await self._redis.aclose()

    async def _execute(self, pipeline: Any) -> list[Any]:
        """The replies; an error that Redis answered with is one of them."""
        with unavailable("reached"):
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        for reply in replies:
            # A server that loads or is busy refuses everything; a key of the wrong type is one shard's matter.
            if isinstance(reply, Exception) and not _is_of_one_key(reply):
                await self._redis.connection_pool.disconnect()  # a replica now? Its name may lead to another server
                raise InventoryUnavailable(f"Redis refuses ({type(reply).__name__})") from None
        return replies


def order(entry_id: str) -> tuple[int, int]:
    """What the ids of a stream's entries are compared by: milliseconds, then a number."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


def past(let_go: Mapping[int, str], positions: Positions) -> list[int]:
    """The shards of which Redis has let go of more than these positions say, as it does of what the database has."""
    return [shard for shard, mark in let_go.items() if order(mark) > order(positions[shard][1])]


def _batch(shard: int, epoch: str, cursor: str, entries: Any) -> ShardBatch:
    """The entries up to the first that cannot be read; raises as `read_change` does where none comes before that."""
    upto, changes = cursor.encode(), list[Change]()
    for entry_id, fields in entries:
        try:
            changes.append(read_change(fields[1]))
        except (KeyError, ValueError, IndexError):
            if not changes:
                raise
            break
        upto = entry_id
    return ShardBatch(shard, epoch, cursor, upto.decode(), tuple(changes))


def _evaluate(pipeline: Any, script: str, shard: int, epoch: str, cursor: str) -> None:
    """`trim` and `verify_or_fence` look at the same keys and are asked about the same position."""
    script_keys = (keys.changes(shard), keys.trimmed_to(shard), keys.epoch(shard))
    pipeline.execute_command("EVAL", load(script).source, len(script_keys), *script_keys, epoch, cursor)


def _is_whole(reply: Any) -> bool:
    return not isinstance(reply, Exception) and reply[0][0] == 1


def _is_of_one_key(error: Exception) -> bool:
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def _raise_first(replies: Iterable[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise InventoryUnavailable(f"Redis refuses ({type(reply).__name__})")


def _as_it_came(reply: Any, **_: Any) -> Any:
    return reply
