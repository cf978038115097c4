"""The change streams: read from a cursor, trimmed up to a cursor, and verified against what SQL has."""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from redis.exceptions import BusyLoadingError

from booking.domain.changes import Change, ShardBatch
from booking.domain.epochs import history_of
from booking.inventory import keys
from booking.inventory.connection import raise_first, refusal_error
from booking.inventory.durability import WAIT_MS
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.raw_connection import Argument
from booking.inventory.records import read_entry, read_epoch
from booking.inventory.script_connection import Acknowledged, Execute
from booking.inventory.scripts import load
from booking.inventory.shard_clients import Command, ShardClients, failures, is_of_one_key, opened_topology
from booking.inventory.topology import Topology

READ_SECONDS_MAX = 2.0
"""How long one read may take; a few thousand entries take milliseconds. If one of several primaries stands still, the
reads of the others wait for it once for so long."""

Positions = Mapping[int, tuple[str, str]]
"""Each shard's epoch and cursor, as the database has them."""


@dataclass(slots=True)
class StreamRead:
    """The result of one read of the streams."""

    batches: list[ShardBatch] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    """Shards that are not the ones that SQL knows: emptied, of another epoch, or an old copy."""
    trimmed_to: dict[int, str] = field(default_factory=dict)
    """Shards whose stream was trimmed beyond their position, and how far. Their entries are not read."""
    unreadable: dict[int, str] = field(default_factory=dict)
    """Shards whose stream holds an entry that cannot be parsed, and the reason."""


class ChangeStreams:
    """Every shard's stream, over connections of its own.

    A method raises InventoryUnavailable if no shard can be asked. If some can, it does its work for these; `away` tells
    of the others.
    """

    def __init__(self, topology: Topology | str, replicas: int = 0) -> None:
        """`replicas`: how many of them, of each primary, have to have the entries that `read` returns."""
        self._replicas = replicas
        # The raw reply: redis-py's callback makes a dictionary of each entry, at three times the cost.
        self._clients = ShardClients(topology, READ_SECONDS_MAX, unparsed=["XREAD", "INFO"])
        self.topology = self._clients.topology

    @property
    def away(self) -> Mapping[int, InventoryUnavailable]:
        """The shards that could not be asked at the last attempt, and why."""
        return self._clients.away

    async def is_loaded(self) -> bool:
        """False while a primary loads its data from disk. Raises InventoryUnavailable."""
        answers = await self._clients.each(_is_loaded, "reached")
        failed = failures(answers.values())
        if len(failed) == len(answers) and failed:
            raise failed[0]
        return all(answers.values())

    def executor(self, address: str) -> Execute:
        """Runs commands at one primary. What it returns raises InventoryUnavailable."""
        return self._clients.executor(address)

    async def initialize_shards(self, positions: Positions) -> None:
        """Gives each shard that has never been in Redis its epoch. Raises InventoryUnavailable.

        A shard whose cursor has moved has had an epoch in Redis. If the epoch is missing now, data is missing, too.
        Then the shard stays without an epoch, so that no script sells from it.
        """
        commands: dict[int, list[Command]] = {}
        for shard, (epoch, cursor) in positions.items():
            if cursor == "0-0":
                names = (keys.changes(shard), keys.restoring(shard), keys.epoch(shard))
                commands[shard] = [("EVAL", load("initialize_shard").source, len(names), *names, epoch)]
        await self._clients.ask(commands)

    async def verify_or_fence(self, positions: Positions) -> list[int]:
        """The shards in Redis that lack changes that SQL has. Raises InventoryUnavailable.

        The epoch of each is deleted, so that nothing is sold from it.
        """
        replies = await self._clients.ask(
            {
                shard: [_evaluation("verify_or_fence", shard, epoch, cursor, "")]
                for shard, (epoch, cursor) in positions.items()
            }
        )
        return [shard for shard, (whole,) in replies.items() if not _is_whole(whole)]

    async def read(self, positions: Positions, count: int) -> StreamRead:
        """Up to `count` entries of each shard after its cursor. Raises InventoryUnavailable.

        A problem of one shard is reported for that shard, and the others are read all the same. Entries before one that
        cannot be parsed are read first.
        """
        replies = await self._clients.ask(
            {
                shard: [
                    _evaluation("verify_or_fence", shard, epoch, cursor, ""),
                    ("XREAD", "COUNT", count, "STREAMS", keys.changes(shard), cursor),
                ]
                for shard, (epoch, cursor) in positions.items()
            }
        )
        read = StreamRead()
        for shard, (whole, reply) in replies.items():
            epoch, cursor = positions[shard]
            if not _is_whole(whole):
                read.lost.append(shard)
            elif order(trimmed := whole[0][2].decode()) > order(cursor):
                read.trimmed_to[shard] = trimmed
            elif isinstance(reply, Exception):
                read.unreadable[shard] = str(reply)
            elif reply:
                try:
                    read.batches.append(_batch(shard, epoch, cursor, reply[0][1]))
                except (KeyError, ValueError, IndexError) as error:
                    read.unreadable[shard] = f"an entry after {cursor} cannot be read ({error!r})"
        if read.batches and self._replicas:
            read.batches = await self._replicated(read.batches)
        return read

    async def _replicated(self, batches: Sequence[ShardBatch]) -> list[ShardBatch]:
        """The batches of the primaries whose replicas have all that this process has read.

        Otherwise SQL would be ahead of a replica that is promoted, and the shard would be fenced. Waits for up to
        WAIT_MS. Raises InventoryUnavailable if there is no such primary.
        """
        by_primary: dict[str, list[ShardBatch]] = {}
        for batch in batches:
            with suppress(InventoryUnavailable):  # away since it was read; the next read gets the batch again
                by_primary.setdefault(self.topology.locate(batch.shard), []).append(batch)
        asked: dict[int, list[Command]] = {
            some[0].shard: [("SET", keys.written(keys.changes(some[0].shard)), 1), ("WAIT", self._replicas, WAIT_MS)]
            for some in by_primary.values()
        }
        confirmed = {shard: int(number) for shard, (_, number) in (await self._clients.ask(asked)).items()}
        enough = [some for some in by_primary.values() if confirmed.get(some[0].shard, 0) >= self._replicas]
        if confirmed and not enough:
            found = max(confirmed.values())
            raise InventoryUnavailable(f"{found} of {self._replicas} replicas have the changes that SQL lacks")
        return [batch for some in enough for batch in some]

    async def trimmed_to(self, shards: Iterable[int]) -> dict[int, str]:
        """The cursor that each shard's stream was trimmed to, for those ever trimmed. Raises InventoryUnavailable."""
        replies = await self._clients.ask({shard: [("GET", keys.trimmed_to(shard))] for shard in shards})
        return {shard: trimmed.decode() for shard, (trimmed,) in replies.items() if isinstance(trimmed, bytes)}

    async def behind(self, positions: Positions) -> list[int]:
        """The fenced shards whose stream ends before its cursor, and of which no loss was told. Not if it is empty.

        A fenced shard has no epoch. An epoch of another term or history is another matter. Raises InventoryUnavailable.
        """
        asked: dict[int, list[Command]] = {
            shard: [
                ("GET", keys.epoch(shard)),
                ("GET", keys.trimmed_to(shard)),
                ("XREVRANGE", keys.changes(shard), "+", "-", "COUNT", 1),
            ]
            for shard in positions
        }
        found = []
        for shard, (epoch, trimmed, newest) in (await self._clients.ask(asked)).items():
            ends = [one for one in (trimmed, *(entry[0] for entry in newest or ())) if one] if epoch is None else []
            if ends and max(order(end.decode()) for end in ends) < order(positions[shard][1]):
                found.append(shard)
        return found

    async def read_remaining(self, shard: int, epoch: str, cursor: str, count: int) -> tuple[ShardBatch | None, bool]:
        """Up to `count` entries after a cursor, without a check of the shard's epoch.

        Returns None if there are none, and whether the stream could be read. Raises InventoryUnavailable.
        """
        read = ("XREAD", "COUNT", count, "STREAMS", keys.changes(shard), cursor)
        ((reply,),) = (await self._clients.ask({shard: [read]})).values()
        if isinstance(reply, Exception):
            return None, False
        if not reply:
            return None, True
        try:
            return _batch(shard, epoch, cursor, reply[0][1]), True
        except (KeyError, ValueError, IndexError):
            return None, False

    async def share(self, me: str, shards: Iterable[int], lease_ms: int) -> set[int]:
        """The shards that this persister has to read. Raises InventoryUnavailable.

        It counts as alive for `lease_ms` from now. Shard n goes to the n-th of those alive, modulo their number. While
        they disagree about who is alive, two may read a shard; only one of them can move its cursor.
        """
        script = load("share_persisters").source
        asked = {shard: [("EVAL", script, 1, keys.persisters(shard), me, lease_ms)] for shard in shards}
        replies = await self._clients.ask(asked)
        raise_first(chain.from_iterable(replies.values()))
        alive = {shard: rows[0] for shard, (rows,) in replies.items()}
        return {shard for shard, names in alive.items() if names[shard % len(names)] == me.encode()}

    async def leave(self, me: str, shards: Iterable[int]) -> None:
        """Ends this persister's leases, so that others read its shards at once. Raises InventoryUnavailable."""
        await self._clients.ask({shard: [("ZREM", keys.persisters(shard), me)] for shard in shards})

    async def version_records(self, positions: Positions) -> tuple[list[int], list[int]]:
        """Has later records of each shard begin with this version of their format. Raises InventoryUnavailable.

        Returns the shards that had another format, and those that Redis does not have in their epoch.
        """
        script = load("version_records").source
        asked = {shard: [("EVAL", script, 1, keys.epoch(shard), epoch)] for shard, (epoch, _) in positions.items()}
        replies = await self._clients.ask(asked)
        raise_first(chain.from_iterable(replies.values()))
        rows = {shard: reply[0] for shard, (reply,) in replies.items()}
        moved = [shard for shard, (_, was_moved) in rows.items() if was_moved]
        return moved, [shard for shard, (has_epoch, _) in rows.items() if not has_epoch]

    async def trim(self, positions: Positions) -> set[int]:
        """Trims each shard's stream up to its cursor; those entries are durable in SQL. Returns the trimmed shards.

        A shard that has another epoch by now, or is an old copy, is left as it is: the next `read` reports it. Raises
        InventoryUnavailable.
        """
        remaining, trimmed = dict(positions), set[int]()
        while remaining:
            replies = await self._clients.ask(
                {shard: [_evaluation("trim", shard, epoch, cursor)] for shard, (epoch, cursor) in remaining.items()}
            )
            raise_first(chain.from_iterable(replies.values()))
            remaining = {shard: remaining[shard] for shard, (rows,) in replies.items() if rows == [[2]]}
            trimmed |= replies.keys() - remaining.keys()
        return trimmed

    async def fence(self, shards: Iterable[int]) -> None:
        """Deletes the epochs of these shards, so that nothing is sold from them. Raises InventoryUnavailable."""
        replies = await self._clients.ask({shard: [("DEL", keys.epoch(shard))] for shard in shards})
        raise_first(chain.from_iterable(replies.values()))

    async def close(self) -> None:
        """Closes the connections."""
        await self._clients.close()


@asynccontextmanager
async def opened_streams(url: str, shards: int) -> AsyncIterator[ChangeStreams]:
    """The streams of `shards` shards at the URL of Redis. Raises InventoryUnavailable if no server is known to it."""
    async with opened_topology(url, shards) as topology:
        streams = ChangeStreams(topology)
        try:
            yield streams
        finally:
            await streams.close()


async def _is_loaded(redis: Any) -> bool:
    try:
        await redis.ping()
    except BusyLoadingError:
        return False
    return True


async def verify_or_fence(execute: Execute, positions: Positions, acknowledged: Acknowledged) -> dict[int, str]:
    """The shards that lack changes that SQL has, or that were acknowledged, on the server that `execute` talks to.

    Each loses its epoch, so that nothing is sold from it. For a shard that is found to lack acknowledged changes that
    SQL does not have, says which, as `Lag.lost`. Raises InventoryUnavailable if the server refuses.
    """
    commands = []
    for shard, (epoch, cursor) in positions.items():
        its_epoch, newest = acknowledged.get(keys.changes(shard), (epoch, b""))
        is_of_history = history_of(str(its_epoch)) == history_of(epoch)
        is_needed = newest and is_of_history and order(newest.decode()) > order(cursor)
        commands.append(_evaluation("verify_or_fence", shard, epoch, cursor, newest if is_needed else ""))
    replies = await execute(commands)
    _raise_refusal(replies)
    return {
        shard: "" if isinstance(reply, Exception) else reply[0][3].decode()
        for shard, reply in zip(positions, replies, strict=True)
        if not _is_whole(reply)
    }


async def held_epochs(execute: Execute, shards: Iterable[int]) -> dict[int, str]:
    """The epoch of each shard on the server that `execute` talks to; "" for none. Raises InventoryUnavailable."""
    numbers = list(shards)
    replies = await execute([("GET", keys.epoch(shard)) for shard in numbers])
    _raise_refusal(replies)
    return {
        shard: read_epoch(reply) if isinstance(reply, bytes) else ""
        for shard, reply in zip(numbers, replies, strict=True)
    }


async def begin_terms(execute: Execute, terms: Mapping[int, tuple[str, str]]) -> list[int]:
    """Replaces each shard's epoch, the first of the two, by the second. Raises InventoryUnavailable.

    Returns the shards that have the second one now. Another process may have done the same.
    """
    script = load("begin_term").source
    replies = await execute([("EVAL", script, 1, keys.epoch(shard), *epochs) for shard, epochs in terms.items()])
    _raise_refusal(replies)
    return [shard for shard, reply in zip(terms, replies, strict=True) if _is_whole(reply)]


async def run_id(execute: Execute) -> str | None:
    """The id of the server's process, which another process never has. None if the server does not tell it."""
    (reply,) = await execute([("INFO", "server")])
    found = re.search(rb"^run_id:(\w+)", reply, re.MULTILINE) if isinstance(reply, bytes) else None
    return found[1].decode() if found else None


def order(entry_id: str) -> tuple[int, int]:
    """The sort key of a stream entry's id: milliseconds, then a number."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


def trimmed_past(trimmed_to: Mapping[int, str], positions: Positions) -> list[int]:
    """The shards whose stream was trimmed beyond their position. Only entries that SQL had are ever trimmed."""
    return [shard for shard, trimmed in trimmed_to.items() if order(trimmed) > order(positions[shard][1])]


def _batch(shard: int, epoch: str, cursor: str, entries: Any) -> ShardBatch:
    """The entries before the first that cannot be parsed. Raises as `read_entry` does if that is the first of all."""
    upto, changes = cursor.encode(), list[Change]()
    for entry_id, fields in entries:
        try:
            changes.append(read_entry(fields))
        except (KeyError, ValueError, IndexError):
            if not changes:
                raise
            break
        upto = entry_id
    return ShardBatch(shard, epoch, cursor, upto.decode(), tuple(changes))


def _evaluation(script: str, shard: int, *arguments: Argument) -> Sequence[Argument]:
    """The command that runs `trim` or `verify_or_fence`: both take the same keys."""
    script_keys = (keys.changes(shard), keys.trimmed_to(shard), keys.epoch(shard))
    return ("EVAL", load(script).source, len(script_keys), *script_keys, *arguments)


def _is_whole(reply: Any) -> bool:
    return not isinstance(reply, Exception) and reply[0][0] == 1


def _raise_refusal(replies: Iterable[Any]) -> None:
    """Raises InventoryUnavailable if the server loads or is busy. A key of the wrong type concerns one shard only."""
    for reply in replies:
        if isinstance(reply, Exception) and not is_of_one_key(reply):
            raise refusal_error(reply)
