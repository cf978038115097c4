"""What a Redis says of itself, and of the shards in it: read once, and nothing is changed by it."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from booking.domain.lags import Lag
from booking.inventory import keys
from booking.inventory.connection import open_client
from booking.inventory.errors import AddressUnreadable, InventoryUnavailable
from booking.inventory.records import read_epoch
from booking.inventory.streams import order

ANSWER_SECONDS_MAX = 3.0
"""How long a Redis may take to let us in, and to answer."""


Kind = Literal["Redis", "Valkey"]


@dataclass(frozen=True, slots=True)
class Server:
    """One Redis or Valkey, as it is set up now. None: it does not say, as managed ones often do."""

    kind: Kind
    version: str
    clustered: bool
    role: str
    """`master` or `slave`."""
    replicas: int
    append_only: bool
    synced: str | None
    """`appendfsync`: `always`, `everysec` or `no`."""
    policy: str
    """`maxmemory-policy`."""
    memory_bytes: int
    memory_bytes_max: int
    """0: as much as there is."""
    clients: int
    clients_max: int | None
    clock_skew_seconds: float
    """How far its clock is ahead of ours, give or take half of what asking it took."""


async def inspect(address: str) -> Server:
    """Asks the server at `address`. Raises InventoryUnavailable, whose message says why and holds no password.

    AddressUnreadable, which is one, where it cannot even be tried.
    """
    async with _connected(address) as redis:
        told: Mapping[str, Any] = await redis.info()
        settings = await _settings(redis)
        asked_at = time.time()
        seconds, microseconds = await redis.time()
        skew = seconds + microseconds / 1e6 - (asked_at + time.time()) / 2
    is_valkey = told.get("server_name") == "valkey" or "valkey_version" in told
    return Server(
        kind="Valkey" if is_valkey else "Redis",
        version=str(told.get("valkey_version") or told.get("redis_version") or "0"),
        clustered=bool(told.get("cluster_enabled", 0)),
        role=str(told.get("role", "master")),
        replicas=int(told.get("connected_slaves", 0)),
        append_only=bool(told.get("aof_enabled", 0)),
        synced=settings.get("appendfsync"),
        policy=str(told.get("maxmemory_policy") or settings.get("maxmemory-policy") or "noeviction"),
        memory_bytes=int(told.get("used_memory", 0)),
        memory_bytes_max=int(told.get("maxmemory", 0)),
        clients=int(told.get("connected_clients", 0)),
        clients_max=_number(told.get("maxclients") or settings.get("maxclients")),
        clock_skew_seconds=skew,
    )


async def shard_lags(address: str, positions: Mapping[int, tuple[str, str]]) -> dict[int, Lag]:
    """How far SQL is behind each shard, of which it has this epoch and cursor, and whether the shard is whole.

    The scripts `verify_or_fence` and `lag` come to the same, but the first takes a lost shard's epoch away. A command
    that only looks, perhaps at the wrong Redis, must not do that. Raises InventoryUnavailable.
    """
    async with _connected(address) as redis:
        now_ms = int((await redis.time())[0]) * 1000
        return {shard: await _lag(redis, shard, epoch, cursor, now_ms) for shard, (epoch, cursor) in positions.items()}


async def _lag(redis: Any, shard: int, epoch: str, cursor: str, now_ms: int) -> Lag:
    stream = keys.changes(shard)
    pipeline = redis.pipeline(transaction=False)
    pipeline.get(keys.epoch(shard)).get(keys.trimmed_to(shard)).xlen(stream)
    pipeline.xrange(stream, "-", "+", count=1).xrange(stream, cursor, cursor)
    found, mark, entries, oldest, at_cursor = await pipeline.execute()
    let_go = (mark or b"0-0").decode()
    waits_ms = max(0, now_ms - order(oldest[0][0].decode())[0]) if oldest else 0
    whole = found is not None and read_epoch(found) == epoch and (order(let_go) >= order(cursor) or bool(at_cursor))
    return Lag(entries, waits_ms, whole, let_go=let_go)


def check_address(address: str) -> None:
    """Connects to nothing. Raises AddressUnreadable for an address that could not even be tried."""
    _client(address)


def place_of(address: str) -> str:
    """Where the server is looked for: host and port, or the socket's path, and nothing that is secret.

    Raises AddressUnreadable.
    """
    options = _client(address).connection_pool.connection_kwargs
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


def _client(address: str) -> Any:
    try:
        redis: Any = open_client(address, ANSWER_SECONDS_MAX)
        redis.connection_pool.make_connection()  # connects to nothing yet, and takes the options or refuses them
    except (TypeError, ValueError):  # whose words may repeat what is in the address
        raise AddressUnreadable("the URL has an option that is not known, or a value that cannot be read") from None
    return redis


@asynccontextmanager
async def _connected(address: str) -> AsyncIterator[Any]:
    """A connection for as long as something is looked at."""
    redis = _client(address)
    try:
        yield redis
    except (RedisError, OSError) as error:
        if isinstance(error, AuthenticationError) or isinstance(error.__cause__, AuthenticationError):
            raise AddressUnreadable("Redis refuses the password or the user name") from None
        raise InventoryUnavailable(_reason(error)) from None
    finally:
        await redis.aclose()


def _reason(error: Exception) -> str:
    """redis-py's own words may repeat an address with its password; Redis's begin with a code."""
    if isinstance(error, NoPermissionError):
        return "Redis does not let this user look (an ACL)"
    if isinstance(error, ResponseError):
        return f"Redis refuses ({str(error).split(' ')[0]})"
    return f"Redis cannot be reached ({type(error).__name__})"


async def _settings(redis: Any) -> Mapping[str, str]:
    try:
        told: Mapping[str, str] = await redis.config_get("appendfsync", "maxmemory-policy", "maxclients")
    except ResponseError:  # a managed Redis does not tell
        return {}
    return told


def _number(value: object) -> int | None:
    return int(str(value)) if value is not None else None
