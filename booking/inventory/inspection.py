"""Reads the state of a Redis server and of the shards in it, and changes nothing."""

import asyncio
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
from booking.inventory.connection import location_of, open_client, reason_of, refusal_of, tls_fault_of
from booking.inventory.errors import AddressUnreadable, CommandRefused, InventoryUnavailable
from booking.inventory.records import read_entry, read_epoch, read_lost
from booking.inventory.scripts import all_scripts
from booking.inventory.shard_clients import Command, ShardClients, opened_topology, placement
from booking.inventory.streams import order
from booking.inventory.topology import SLOTS, Form, Topology, open_topology

ANSWER_SECONDS_MAX = 3.0
"""How long Redis may take to accept a connection, and for each reply."""

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
    watches: str | None = None
    """The name under which a Sentinel watches `primary`."""


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
        watches=str(info["master0"]["name"]) if isinstance(info.get("master0"), dict) else None,
    )


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a URL of Redis leads to."""

    form: Form
    placement: Mapping[str, Sequence[int]]
    """The shards of each known primary, by its location."""
    servers: Mapping[str, Server | InventoryUnavailable]
    """Each known primary, or why it cannot be inspected; if none is known, the URL's own location and the reason."""


async def inspect_all(url: str, shards: int) -> Inspected:
    """Finds the primaries of `shards` shards, and inspects them. An AddressUnreadable may be among the reasons."""
    try:
        async with opened_topology(url, shards) as topology:
            found = await asyncio.gather(*map(_inspected, topology.addresses()))
            where = placement(topology)
            return Inspected(topology.form, where, dict(zip(where, found, strict=True)))
    except ValueError as error:
        return Inspected("server", {}, {"": AddressUnreadable(str(error))})
    except InventoryUnavailable as error:
        return Inspected("server", {}, {location_of(url): error})


async def _inspected(address: str) -> Server | InventoryUnavailable:
    try:
        return await inspect(address)
    except InventoryUnavailable as error:
        return error


async def shard_lags(
    topology: Topology | str, positions: Mapping[int, tuple[str, str]]
) -> dict[int, Lag | InventoryUnavailable]:
    """How far SQL is behind each shard, and whether the shard is whole; `positions` has SQL's epochs and cursors.

    A shard whose primary is away has the error. Raises InventoryUnavailable if all are away.

    The scripts `verify_or_fence` and `lag` give the same result. But `verify_or_fence` deletes the epoch of a lost
    shard, and a command that only inspects, perhaps the wrong Redis, must not do that.
    """
    clients = ShardClients(topology, ANSWER_SECONDS_MAX, unparsed=["XRANGE"])
    try:
        replies = await clients.ask({shard: _lag_commands(shard, cursor) for shard, (_, cursor) in positions.items()})
        found: dict[int, Lag | InventoryUnavailable] = {}
        for shard, position in positions.items():
            error = next((reply for reply in replies.get(shard, []) if isinstance(reply, Exception)), None)
            if error is not None:
                found[shard] = InventoryUnavailable(f"Redis refuses ({reason_of(error)})")
            else:
                found[shard] = _lag(position, *replies[shard]) if shard in replies else clients.away[shard]
        return found
    finally:
        await clients.close()


def _lag_commands(shard: int, cursor: str) -> list[Command]:
    stream = keys.changes(shard)
    return [
        ("TIME",),
        ("GET", keys.epoch(shard)),
        ("GET", keys.trimmed_to(shard)),
        ("XLEN", stream),
        ("XRANGE", stream, "-", "+", "COUNT", 1),
        ("XRANGE", stream, cursor, cursor),
    ]


def _lag(
    position: tuple[str, str], now: Any, found: Any, stored_trim: Any, entries: int, oldest: Any, at_cursor: Any
) -> Lag:
    """`Lag` from the replies to `_lag_commands`."""
    epoch, cursor = position
    now_ms = int(now[0]) * 1000
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
        return read_entry(fields).at_ms
    except (KeyError, ValueError, IndexError):
        return now_ms


def check_address(address: str) -> None:
    """Parses the URL of a server, of a cluster or of Sentinels; connects nothing. Raises AddressUnreadable."""
    try:
        open_topology(address, 1)
    except ValueError as error:
        raise AddressUnreadable(str(error)) from None


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
