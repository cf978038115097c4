"""The durability of an acknowledged change: chosen at the start, and awaited once for each batch."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import hiredis
from redis.exceptions import NoPermissionError, ResponseError

from booking.inventory import keys
from booking.inventory.connection import location_of
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.shard_clients import ShardClients, failures
from booking.inventory.topology import Topology

Level = Literal["redis", "disk", "replica", "database"]

ANSWER_SECONDS_MAX = 2.0
"""How long each question at the start may take."""

WAIT_MS = 1_000
"""How long disks or replicas may take; a little less than Redis may take for a whole batch."""

CHECK_MS = "100"
"""How long the check before a batch may take. It waits only after a write of the connection that no batch confirmed, as
of a lease or a rate, for the replicas to have it: some milliseconds if they are far away, and all of this if they are
missing."""


class LevelUnavailable(ValueError):
    """This Redis does not provide the requested level; the message says which configuration does."""


@dataclass(frozen=True, slots=True)
class Durability:
    """A level, and the commands that Redis gets after each batch of changes to confirm it."""

    level: Level
    command: bytes = b""
    """A packed command whose reply confirms the level. Empty if Redis's own answer is enough."""
    local: int = 0
    """Fsyncs that have to be confirmed."""
    replicas: int = 0
    """Replicas that have to confirm."""
    check: bytes = b""
    """A packed command that Redis gets before each batch of changes. Its reply has to be enough replicas, too."""

    def confirmation(self, changes: bytes) -> bytes:
        """Two packed commands: a write into the shard with the stream `changes`, and `command`, which waits for it."""
        written: bytes = hiredis.pack_command((b"SET", keys.written(changes), b"1"))  # type: ignore[arg-type]  # its stub names a tuple of one
        return written + self.command

    def is_confirmed(self, reply: object) -> bool:
        """Whether the last reply confirms enough copies. WAIT replies with one number, WAITAOF with two."""
        if isinstance(reply, int):
            return reply >= self.replicas
        return isinstance(reply, list) and reply[0] >= self.local and reply[1] >= self.replicas


REDIS = Durability("redis")


async def choose(topology: Topology | str, asked: Level | None, replicas: int) -> Durability:
    """The requested level; if none was requested, the strongest that every primary provides without waiting.

    That is `disk` if Redis fsyncs each write before it answers, else `redis`: replicas get a change after the answer,
    so any number of them adds nothing. Primaries that are away are left out: the level is checked with each batch, too.
    Raises LevelUnavailable, InventoryUnavailable if no primary can be asked.
    """
    clients = ShardClients(topology, ANSWER_SECONDS_MAX)
    try:
        answers = await clients.each(partial(_choose, asked=asked, replicas=replicas), "reached")
    finally:
        await clients.close()
    found = [one for one in answers.values() if isinstance(one, Durability)]
    if refused := next((one for one in answers.items() if isinstance(one[1], LevelUnavailable)), None):
        address, error = refused
        raise LevelUnavailable(f"{location_of(address)}: {error}" if len(answers) > 1 else str(error))
    if not found:
        raise next(iter(failures(answers.values())), InventoryUnavailable("no Redis server is known"))
    # The level that most of the work is for: one primary may sync by itself, and another one only if it is told to.
    waiting = [one for one in found if one.command]
    if len(found) == len(answers) and not waiting:
        return min(found, key=lambda one: one.level == "disk")
    return waiting[0] if waiting else Durability(asked or "redis")


async def _choose(redis: Any, asked: Level | None, replicas: int) -> Durability | LevelUnavailable:
    """The level that one server provides, or why it does not provide the one that was asked for."""
    synced = await _synced(redis)
    if asked is None:
        return Durability("disk") if synced == "always" else REDIS
    if asked == "disk":
        return await _disk(redis, synced)
    if asked == "replica":
        connected = int((await redis.info("replication"))["connected_slaves"])
        if connected < replicas:
            return LevelUnavailable(f"Redis has {connected} replicas connected, and {replicas} have to confirm")
        await redis.execute_command("WAIT", 0, 1)  # refused by an ACL now, and not after each sale
        return _waiting("replica", b"WAIT", str(replicas), replicas=replicas)
    return Durability(asked)


async def _synced(redis: Any) -> str:
    """`always`, `everysec` or `no`; `off` without an append-only file."""
    try:
        settings = await redis.config_get("append*")
    except ResponseError:  # a managed Redis may refuse CONFIG GET; assume the worst
        return "off"
    return str(settings["appendfsync"]) if settings["appendonly"] == "yes" else "off"


async def _disk(redis: Any, synced: str) -> Durability | LevelUnavailable:
    if synced == "always":
        return Durability("disk")
    if synced == "off":
        return LevelUnavailable("Redis has no append-only file, or does not report one; set appendonly yes")
    try:
        await redis.execute_command("WAITAOF", 0, 0, 1)
    except NoPermissionError:
        raise
    except ResponseError:
        return LevelUnavailable(
            "Redis does not sync each write and has no WAITAOF (7.2 or newer); set appendfsync always"
        )
    return _waiting("disk", b"WAITAOF", "1", "0", local=1)


def _waiting(level: Level, *words: bytes | str, local: int = 0, replicas: int = 0) -> Durability:
    wait: bytes = hiredis.pack_command((*words, str(WAIT_MS)))  # type: ignore[arg-type]  # its stub names a tuple of one
    # Without a write of the same client since it connected, WAIT counts the connected replicas; with one, those that
    # have it. If there are too few, a change would be made that nobody can be told of.
    check: bytes = hiredis.pack_command((*words, CHECK_MS)) if replicas else b""  # type: ignore[arg-type]  # as above
    return Durability(level, wait, local=local, replicas=replicas, check=check)
