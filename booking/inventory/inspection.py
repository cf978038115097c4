"""Reads the state of a Redis server and of the shards in it, and changes nothing."""

import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from booking.domain.epochs import follows
from booking.domain.lags import Lag
from booking.inventory import keys
from booking.inventory.connection import open_client, refusal_of, tls_fault_of
from booking.inventory.errors import AddressUnreadable, CommandRefused, InventoryUnavailable
from booking.inventory.records import read_change, read_epoch, read_lost
from booking.inventory.scripts import all_scripts
from booking.inventory.streams import order

ANSWER_SECONDS_MAX = 3.0
"""How long Redis may take to accept a connection, and for each reply."""


SLOTS = 16_384
"""The slots of a cluster."""

COMMANDS = frozenset(
    re.findall(
        r"\S+",
        """del eval evalsha exec exists get hdel hget hgetall hmget hscan hset info multi pexpire ping pttl scan
        script|load set time unlink unwatch wait watch xlen xrange xread zadd zcard zmscore zrange zrem zscore""",
    )
)
"""The commands that the service sends itself. CONFIG GET and WAITAOF are used only if they are there."""

SCRIPT_COMMAND = re.compile(rb"\bcall\('([A-Z]+)'")
"""A command that a script uses."""

FIND_REFUSED = """
local refused = {}
for _, name in ipairs(ARGV) do
  local command, sub = string.match(name, '^([^|]+)|?(.*)$')
  local allowed
  if sub ~= '' then allowed = redis.acl_check_cmd(command, sub, '0')
  else -- a command may take a key first, or any number of keys, or a number of keys
    allowed = redis.acl_check_cmd(command, KEYS[1], '0', '0') or redis.acl_check_cmd(command, KEYS[1], KEYS[1])
  end
  if not allowed then table.insert(refused, name) end
end
return refused
"""

Kind = Literal["Redis", "Valkey"]


@dataclass(frozen=True, slots=True)
class Server:
    """A Redis or Valkey server and its settings. None: the server does not tell, which is usual for managed ones."""

    kind: Kind
    version: str
    clustered: bool
    """Whether it is a node of a cluster, and other nodes have some of the slots."""
    role: str
    """`master`, `slave`, or `sentinel`."""
    primary: str | None
    """A replica's or a Sentinel's primary: host and port."""
    refused: tuple[str, ...]
    """The commands that the service needs and its user may not run."""
    replicas: int
    append_only: bool
    synced: str | None
    """`appendfsync`: `always`, `everysec` or `no`."""
    policy: str
    """`maxmemory-policy`."""
    memory_bytes: int
    memory_bytes_max: int
    """0: no limit."""
    clients: int
    clients_max: int | None
    clock_skew_seconds: float
    """How far its clock is ahead of this machine's; wrong by up to half of the time that the question took."""


async def inspect(address: str) -> Server:
    """Asks the server at `address`.

    Raises InventoryUnavailable; its message says why and holds no password. Raises its subclass AddressUnreadable if
    the address cannot be parsed or its password is refused.
    """
    async with _connected(address) as redis:
        info: Mapping[str, Any] = await redis.info()
        is_sentinel = "sentinel" in (info.get("redis_mode"), info.get("server_mode"))
        skew, settings, refused, clustered = 0.0, dict[str, str](), list[bytes](), False
        if not is_sentinel:  # which has no such commands
            settings = await _settings(redis)
            asked_at = time.time()
            seconds, microseconds = await redis.time()
            skew = seconds + microseconds / 1e6 - (asked_at + time.time()) / 2
            refused = await _refused_commands(redis)
            clustered = bool(info.get("cluster_enabled", 0)) and not await _has_all_slots(redis)
    is_valkey = info.get("server_name") == "valkey" or "valkey_version" in info
    return Server(
        kind="Valkey" if is_valkey else "Redis",
        version=str(info.get("valkey_version") or info.get("redis_version") or "0"),
        clustered=clustered,
        role="sentinel" if is_sentinel else str(info.get("role", "master")),
        primary=_primary(info),
        refused=tuple(name.decode() for name in refused),
        replicas=int(info.get("connected_slaves", 0)),
        append_only=bool(info.get("aof_enabled", 0)),
        synced=settings.get("appendfsync"),
        policy=str(info.get("maxmemory_policy") or settings.get("maxmemory-policy") or "noeviction"),
        memory_bytes=int(info.get("used_memory", 0)),
        memory_bytes_max=int(info.get("maxmemory", 0)),
        clients=int(info.get("connected_clients", 0)),
        clients_max=_number(info.get("maxclients") or settings.get("maxclients")),
        clock_skew_seconds=skew,
    )


async def shard_lags(address: str, positions: Mapping[int, tuple[str, str]]) -> dict[int, Lag]:
    """How far SQL is behind each shard, and whether the shard is whole; `positions` has SQL's epochs and cursors.

    The scripts `verify_or_fence` and `lag` give the same result. But `verify_or_fence` deletes the epoch of a lost
    shard, and a command that only inspects, perhaps the wrong Redis, must not do that. Raises InventoryUnavailable.
    """
    async with _connected(address) as redis:
        now_ms = int((await redis.time())[0]) * 1000
        return {shard: await _lag(redis, shard, epoch, cursor, now_ms) for shard, (epoch, cursor) in positions.items()}


async def _lag(redis: Any, shard: int, epoch: str, cursor: str, now_ms: int) -> Lag:
    stream = keys.changes(shard)
    pipeline = redis.pipeline(transaction=False)
    pipeline.get(keys.epoch(shard)).get(keys.trimmed_to(shard)).xlen(stream)
    pipeline.xrange(stream, "-", "+", count=1).xrange(stream, cursor, cursor)
    found, stored_trim, entries, oldest, at_cursor = await pipeline.execute()
    trimmed_to = (stored_trim or b"0-0").decode()
    waits_ms = max(0, now_ms - _written_ms(oldest[0], now_ms)) if oldest else 0
    held = read_epoch(found or b"")
    is_expected = held == epoch or follows(held, epoch)  # between the two steps of a new term
    whole = is_expected and (order(trimmed_to) >= order(cursor) or bool(at_cursor))
    return Lag(entries, waits_ms, whole, lost=read_lost(found or b""), trimmed_to=trimmed_to)


def _written_ms(entry: Sequence[Any], now_ms: int) -> int:
    """When an entry was written. If Redis's clock was ahead before, ids stay ahead; then the entry's text counts."""
    entry_id, fields = entry
    at_ms, _ = order(entry_id.decode())
    if at_ms <= now_ms:
        return at_ms
    try:
        return read_change(fields[b"c"]).at_ms
    except (KeyError, ValueError, IndexError):
        return now_ms


def check_address(address: str) -> None:
    """Parses an address without connecting. Raises AddressUnreadable if it is not valid."""
    _client(address)


def location_of(address: str) -> str:
    """The server's location without secrets: host and port, or the socket's path. Raises AddressUnreadable."""
    options = _client(address).connection_pool.connection_kwargs
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


def _client(address: str) -> Any:
    try:
        redis: Any = open_client(address, ANSWER_SECONDS_MAX)
        redis.connection_pool.make_connection()  # checks the options; it does not connect yet
    except (TypeError, ValueError):  # not repeated: their text may hold parts of the address
        raise AddressUnreadable("the URL has an option that is not known, or a value that cannot be read") from None
    return redis


@asynccontextmanager
async def _connected(address: str) -> AsyncIterator[Any]:
    """A client that is closed at the end. Raises AddressUnreadable, InventoryUnavailable."""
    redis = _client(address)
    try:
        yield redis
    except (RedisError, OSError) as error:
        if isinstance(error, AuthenticationError) or isinstance(error.__cause__, AuthenticationError):
            raise AddressUnreadable("Redis refuses the password or the user name") from None
        if fault := tls_fault_of(error):
            raise AddressUnreadable(f"Redis cannot be reached: {fault}") from None
        if refusal := refusal_of(error):
            raise CommandRefused(f"Redis cannot be inspected: {refusal}") from None
        raise InventoryUnavailable(_reason(error)) from None
    finally:
        await redis.aclose()


def _reason(error: Exception) -> str:
    """A reason without secrets. A message of redis-py may hold an address with its password; Redis's have a code."""
    if isinstance(error, ResponseError):
        return f"Redis refuses ({str(error).split(' ')[0]})"
    return f"Redis cannot be reached ({type(error).__name__})"


async def _settings(redis: Any) -> dict[str, str]:
    try:
        info: dict[str, str] = await redis.config_get("appendfsync", "maxmemory-policy", "maxclients")
    except ResponseError:  # a managed Redis refuses CONFIG GET
        return {}
    return info


async def _refused_commands(redis: Any) -> list[bytes]:
    """The needed commands that this user may not run on the service's keys, by the server's own check."""
    used = {name.lower().decode() for script in all_scripts() for name in SCRIPT_COMMAND.findall(script.source)}
    try:
        names = sorted(COMMANDS | used)
        refused: list[bytes] = await redis.eval(FIND_REFUSED, 1, keys.epoch(0), *names)
    except NoPermissionError:
        raise
    except ResponseError:  # older than Redis 7, which has no such check
        return []
    return refused


async def _has_all_slots(redis: Any) -> bool:
    """Whether a node of a cluster serves every slot, and so every key."""
    try:
        me, ranges = await redis.execute_command("CLUSTER MYID"), await redis.execute_command("CLUSTER SLOTS")
    except ResponseError:
        return False
    own: int = sum(last - first + 1 for first, last, (_, _, node, *_), *_ in ranges if node == me)
    return own == SLOTS


def _primary(info: Mapping[str, Any]) -> str | None:
    """The primary of a replica, or the first that a Sentinel watches."""
    if "master_host" in info:
        return f"{info['master_host']}:{info['master_port']}"
    watched = info.get("master0")
    return str(watched["address"]) if isinstance(watched, dict) else None


def _number(value: object) -> int | None:
    return int(str(value)) if value is not None else None
