"""What an acknowledged change has survived: decided at the start, and waited for once a batch."""

from dataclasses import dataclass
from typing import Any, Literal

import hiredis
from redis.exceptions import ResponseError

from booking.inventory.connection import open_client, unavailable

Level = Literal["redis", "disk", "replica", "database"]

ANSWER_SECONDS_MAX = 5.0
"""For each question at the start."""

WAIT_MS = 1_000
"""How long disks or replicas may take; a little under what Redis may take over a batch as a whole."""

WRITTEN = b"booking:written"
"""A key that is written in front of each wait. Redis waits for what its own client has written last, and an answer
that is given again may be about a change that another worker has made."""


class LevelNotGiven(ValueError):
    """The Redis at hand does not give the level that was asked for; the message says what would."""


@dataclass(frozen=True, slots=True)
class Durability:
    """A level, and what has to be asked of Redis behind a batch of changes for it to be true."""

    level: Level
    command: bytes = b""
    """Commands with one reply each but the last's, which is looked at; empty where Redis's answer is enough."""
    replies: int = 0
    local: int = 0
    """Fsyncs that have to be confirmed."""
    replicas: int = 0
    """Replicas that have to confirm."""

    def is_given(self, reply: object) -> bool:
        """Whether the last reply says that enough have confirmed. WAIT tells a number, WAITAOF two."""
        if isinstance(reply, int):
            return reply >= self.replicas
        return isinstance(reply, list) and reply[0] >= self.local and reply[1] >= self.replicas


REDIS = Durability("redis")


async def choose(address: str, asked: Level | None, replicas: int) -> Durability:
    """How the asked level is given, or, where none was asked for, the strongest that Redis gives by itself.

    That is `disk` where each write is fsynced before its answer, and `redis` otherwise: replicas are told after the
    answer, however many there are. Raises LevelNotGiven, InventoryUnavailable.
    """
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
                    raise LevelNotGiven(f"Redis has {connected} replicas connected, and {replicas} are to confirm")
                return _waiting("replica", b"WAIT", str(replicas), replicas=replicas)
            return Durability(asked)


async def _synced(redis: Any) -> str:
    """`always`, `everysec` or `no`, or `off` without an append-only file."""
    try:
        told = await redis.config_get("append*")
    except ResponseError:  # a managed Redis may not tell; then it is not relied on
        return "off"
    return str(told["appendfsync"]) if told["appendonly"] == "yes" else "off"


async def _disk(redis: Any, synced: str) -> Durability:
    if synced == "always":
        return Durability("disk")
    if synced == "off":
        raise LevelNotGiven("Redis keeps no append-only file, or does not say so; set appendonly yes")
    try:
        await redis.execute_command("WAITAOF", 0, 0, 1)
    except ResponseError:
        raise LevelNotGiven("Redis syncs now and then, and has no WAITAOF (7.2); set appendfsync always") from None
    return _waiting("disk", b"WAITAOF", "1", "0", local=1)


def _waiting(level: Level, *words: bytes | str, local: int = 0, replicas: int = 0) -> Durability:
    written: bytes = hiredis.pack_command((b"SET", WRITTEN, b"1"))  # type: ignore[arg-type]  # its stub names a tuple of one
    wait: bytes = hiredis.pack_command((*words, str(WAIT_MS)))  # type: ignore[arg-type]  # as above
    return Durability(level, written + wait, replies=2, local=local, replicas=replicas)
