"""Health checks: whether the process is alive, and whether the service is ready."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NotRequired

import orjson
from pydantic import Field
from starlette.types import Receive, Scope
from typing_extensions import TypedDict  # pydantic takes it from here before Python 3.12

from booking.domain.lags import describe_lost
from booking.inventory.box_office import BoxOffice
from booking.inventory.durability import Durability
from booking.inventory.errors import Overloaded, ServerUnverified
from booking.inventory.reader import InventoryReader, Primary
from booking.ledger.errors import LedgerUnavailable
from booking.ledger.ledger import Ledger
from booking.web.response_schemas import Count, documented
from booking.web.responses import PlainResponse

LAG_SECONDS_MAX = 30.0
"""If a change waits for the persister longer than this, the persister counts as unhealthy."""

LOST = (
    "Redis has lost changes of these shards that the database has; they sell nothing until they are restored, by "
    "themselves within seconds after a failover to a replica that is only behind, else by `booking restore`"
)

AWAY = "Redis does not answer for these shards; they sell nothing, and the others do"

UNVERIFIED = "Redis answers, but it cannot be compared with the database, which is away"

FULL = "Redis's memory is full: bookings are refused, and cancellations go on"

FEW_REPLICAS = "Redis has {} replicas that keep up, and {} have to: nothing is sold"

ALIVE, STOPPING = b'{"status":"alive"}', b'{"status":"stopping"}'

RETRY = b"retry-after", b"1"


@documented
class AliveData(TypedDict):
    """The process answers; `stopping`: it is about to stop, and wants no new requests (BOOKING_DRAIN_SECONDS)."""

    status: Literal["alive", "stopping"]


@documented
class RedisPart(TypedDict):
    """Redis."""

    ok: bool
    shards: NotRequired[int]
    acknowledged: NotRequired[str]
    """What an acknowledged change has survived (BOOKING_ACK)."""
    lost: NotRequired[list[int]]
    """Shards that sell nothing until they are restored."""
    away: NotRequired[list[int]]
    """Shards that sell nothing because their Redis server does not answer, while others do."""
    memory_bytes: NotRequired[Count]
    memory_bytes_max: NotRequired[Count]
    """Redis's limit (`maxmemory`); 0: none. A full Redis refuses bookings and takes cancellations; it is not ok. Of
    several servers these are the sums."""
    reason: NotRequired[str]


@documented
class DatabasePart(TypedDict):
    """The database."""

    ok: bool
    reason: NotRequired[str]


@documented
class PersisterPart(TypedDict):
    """The process that writes changes from Redis into the database."""

    ok: bool
    lag_entries: Count | None
    lag_seconds: Annotated[float, Field(ge=0)] | None
    reason: NotRequired[str]


@documented
class PartsData(TypedDict):
    """The service's parts."""

    redis: RedisPart
    database: DatabasePart
    persister: PersisterPart


@documented
class ReadyData(TypedDict):
    """Whether the service can serve, part by part; `unavailable`, too, if it is about to stop."""

    status: Literal["ready", "unavailable"]
    parts: PartsData


class HealthEndpoints:
    """For load balancers and operators."""

    def __init__(
        self,
        office: BoxOffice,
        reader: InventoryReader,
        ledger: Ledger,
        unsaved_limit: int,
        durability: Durability,
        is_draining: Callable[[], bool],
    ) -> None:
        self._is_draining = is_draining
        self._level = durability.level
        self._replicas = durability.replicas
        self._reader = reader
        self._office = office
        self._ledger = ledger
        self._unsaved_limit = unsaved_limit

    async def alive(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """`GET /healthz`: the process answers; 503 if it is about to stop."""
        return PlainResponse(503, STOPPING, RETRY) if self._is_draining() else PlainResponse(200, ALIVE)

    async def ready(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """`GET /readyz`: whether every part works; if not, which part fails, and why."""
        (redis, persister), database = await asyncio.gather(self._redis_and_persister(), self._database())
        ready = redis["ok"] and database["ok"] and persister["ok"] and not self._is_draining()
        data: ReadyData = {
            "status": "ready" if ready else "unavailable",
            "parts": {"redis": redis, "database": database, "persister": persister},
        }
        body = orjson.dumps(data)
        return PlainResponse(200, body) if ready else PlainResponse(503, body, RETRY)

    async def _redis_and_persister(self) -> tuple[RedisPart, PersisterPart]:
        (lags, errors), servers = await asyncio.gather(self._office.known_lags(), self._reader.primaries())
        if not lags:
            error, reason = errors[0], "Redis does not answer"
            if isinstance(error, Overloaded):
                reason = "overloaded"
            elif isinstance(error, ServerUnverified):
                reason = UNVERIFIED
            unknown: PersisterPart = {
                "ok": False,
                "lag_entries": None,
                "lag_seconds": None,
                "reason": "unknown without Redis",
            }
            return {"ok": False, "reason": reason}, unknown
        reasons: list[str] = []
        redis: RedisPart = {"ok": True, "shards": self._office.shards, "acknowledged": self._level}
        if errors:
            redis["away"] = sorted(errors)
            reasons.append(AWAY)
        if lost := [shard for shard, lag in lags.items() if not lag.whole]:
            redis["lost"] = lost
            reasons += [LOST, *(describe_lost(shard, lag.lost) for shard, lag in lags.items() if lag.lost)]
        reasons += self._check_servers(redis, [one for one in servers if one.is_up])
        if reasons:
            redis |= {"ok": False, "reason": "; ".join(reasons)}
        seconds = max(lag.oldest_ms for lag in lags.values()) / 1000
        healthy = seconds <= LAG_SECONDS_MAX and all(lag.entries <= self._unsaved_limit for lag in lags.values())
        persister: PersisterPart = {
            "ok": healthy,
            "lag_entries": sum(lag.entries for lag in lags.values()),
            "lag_seconds": seconds,
        }
        return redis, persister

    def _check_servers(self, redis: RedisPart, servers: Sequence[Primary]) -> list[str]:
        """Adds the memory of the servers. Returns what is wrong with them. A managed one may tell nothing."""
        if not servers:
            return []
        redis["memory_bytes"] = sum(one.memory_bytes for one in servers)
        limits = [one.memory_bytes_max for one in servers]
        redis["memory_bytes_max"] = sum(limits) if all(limits) else 0
        reasons = []
        if any(0 < one.memory_bytes_max <= one.memory_bytes for one in servers):
            reasons.append(FULL)
        few = [(one.replicas, max(one.replicas_min, self._replicas)) for one in servers]
        reasons += [FEW_REPLICAS.format(found, needed) for found, needed in few if found < needed][:1]
        return reasons

    async def _database(self) -> DatabasePart:
        try:
            await self._ledger.ping()
        except LedgerUnavailable as error:
            return {"ok": False, "reason": str(error)}
        return {"ok": True}
