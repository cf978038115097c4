"""The durability of an acknowledged change: chosen at the start, and awaited once for each batch."""

from dataclasses import dataclass
from typing import Any, Literal

import hiredis
from redis.exceptions import NoPermissionError, ResponseError

from booking.inventory.connection import open_client, unavailable

Level = Literal["redis", "disk", "replica", "database"]

ANSWER_SECONDS_MAX = 5.0
"""How long each question at the start may take."""

WAIT_MS = 1_000
"""How long disks or replicas may take; a little less than Redis may take for a whole batch."""

CHECK_MS = "1"
"""How long the check before a batch may take if replicas are missing. If none is, it does not wait."""

WRITTEN = b"booking:written"
"""A key that is written before each wait. WAIT and WAITAOF wait for the last write of the same client. A repeated
answer may be about a change that another worker made."""


class LevelUnavailable(ValueError):
    """This Redis does not provide the requested level; the message says which configuration does."""


@dataclass(frozen=True, slots=True)
class Durability:
    """A level, and the commands that Redis gets after each batch of changes to confirm it."""

    level: Level
    command: bytes = b""
    """Packed commands; the reply to the last one confirms the level. Empty if Redis's own answer is enough."""
    replies: int = 0
    local: int = 0
    """Fsyncs that have to be confirmed."""
    replicas: int = 0
    """Replicas that have to confirm."""
    check: bytes = b""
    """A packed command that Redis gets before each batch of changes. Its reply has to be enough replicas, too."""

    def is_confirmed(self, reply: object) -> bool:
        """Whether the last reply confirms enough copies. WAIT replies with one number, WAITAOF with two."""
        if isinstance(reply, int):
            return reply >= self.replicas
        return isinstance(reply, list) and reply[0] >= self.local and reply[1] >= self.replicas


REDIS = Durability("redis")


async def choose(address: str, asked: Level | None, replicas: int) -> Durability:
    """The requested level; if none was requested, the strongest that Redis provides without waiting.

    That is `disk` if Redis fsyncs each write before it answers, else `redis`: replicas get a change after the answer,
    so any number of them adds nothing. Raises LevelUnavailable, InventoryUnavailable.
    """
    redis: Any
    async with open_client(address, ANSWER_SECONDS_MAX) as redis:
        with unavailable("reached"):
            synced = await _synced(redis)
            if asked is None:
                return Durability("disk") if synced == "always" else REDIS
            if asked == "disk":
                return await _disk(redis, synced)
            if asked == "replica":
                connected = int((await redis.info("replication"))["connected_slaves"])
                if connected < replicas:
                    raise LevelUnavailable(f"Redis has {connected} replicas connected, and {replicas} have to confirm")
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


async def _disk(redis: Any, synced: str) -> Durability:
    if synced == "always":
        return Durability("disk")
    if synced == "off":
        raise LevelUnavailable("Redis has no append-only file, or does not report one; set appendonly yes")
    try:
        await redis.execute_command("WAITAOF", 0, 0, 1)
    except NoPermissionError:
        raise
    except ResponseError:
        raise LevelUnavailable(
            "Redis does not sync each write and has no WAITAOF (7.2 or newer); set appendfsync always"
        ) from None
    return _waiting("disk", b"WAITAOF", "1", "0", local=1)


def _waiting(level: Level, *words: bytes | str, local: int = 0, replicas: int = 0) -> Durability:
    written: bytes = hiredis.pack_command((b"SET", WRITTEN, b"1"))  # type: ignore[arg-type]  # its stub names a tuple of one
    wait: bytes = hiredis.pack_command((*words, str(WAIT_MS)))  # type: ignore[arg-type]  # as above
    # Without a write of the same client since it connected, WAIT counts the connected replicas; with one, those that
    # have it. If there are too few, a change would be made that nobody can be told of.
    check: bytes = hiredis.pack_command((*words, CHECK_MS)) if replicas else b""  # type: ignore[arg-type]  # as above
    return Durability(level, written + wait, replies=2, local=local, replicas=replicas, check=check)
