"""Checks the database and the shards: whether Redis has lost changes of SQL, and how far SQL is behind Redis."""

from collections.abc import Mapping

from booking.domain.diagnosis import Finding, fault, ok, warning
from booking.domain.lags import Lag, describe_lost
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.inspection import shard_lags
from booking.inventory.streams import trimmed_past
from booking.ledger.errors import DatabaseUnfit, LedgerError
from booking.ledger.inspection import Database, check_database, inspect, is_there
from booking.ledger.records import ShardRecord
from booking.persister.bootstrap import positions_of
from booking.settings import Settings

LAG_SECONDS_MAX = 30.0
"""How old an entry may be before the persister has a problem; the same as in /readyz."""


async def check_ledger(settings: Settings) -> tuple[list[Finding], Database | None]:
    """The findings, and the database if it could be read."""
    address = settings.database_address
    if not is_there(address):
        return [ok("database", "SQLite; the first start creates its file")], None
    try:
        database = await inspect(address)
    except DatabaseUnfit as error:
        found, _, advice = str(error).partition("; ")
        return [fault("database", found, advice)], None
    except LedgerError as error:
        advice = (
            "check that the file and its folder belong to this user, and that the disk works"
            if settings.database_url is None
            else "start it, or correct BOOKING_DATABASE_URL (host, port, user, password, database)"
        )
        return [fault("database", str(error), advice)], None
    return check_database(database), database


async def check_shards(
    settings: Settings, database: Database, *, reachable: bool = True, serving: bool = False
) -> list[Finding]:
    """Whether Redis has every change that SQL has, and how far SQL is behind; `reachable`: whether Redis answers."""
    name, shards = "shards", database.shards
    if not shards:
        return [ok(name, "none yet; the first start creates them")]
    if len(shards) != settings.shards:
        found = f"the database was created with {len(shards)}, and BOOKING_SHARDS is {settings.shards}"
        return [fault(name, found, f"set BOOKING_SHARDS to {len(shards)}: events cannot move")]
    if not reachable:
        return [ok(name, f"{len(shards)} in the database; Redis has to run to be compared with it")]
    try:
        lags = await shard_lags(settings.redis_address, positions_of(shards))
    except InventoryUnavailable as error:
        return [fault(name, str(error), "see Redis above")]
    try:
        behind = await _behind(settings, shards, lags)
    except LedgerError as error:
        return [fault(name, str(error), "see database above")]
    return [_wholeness(lags, behind), _lag(settings, lags, serving=serving)]


async def _behind(settings: Settings, shards: Mapping[int, ShardRecord], lags: Mapping[int, Lag]) -> list[str]:
    """The shards whose stream was trimmed beyond SQL's cursor, so that SQL is an old copy. Raises LedgerError."""
    trimmed_to = {shard: lag.trimmed_to for shard, lag in lags.items()}
    # A running persister may have moved cursors between the two reads, so SQL's cursors are read again.
    if not trimmed_past(trimmed_to, positions_of(shards)):
        return []
    return list(map(str, trimmed_past(trimmed_to, positions_of((await inspect(settings.database_address)).shards))))


def _wholeness(lags: Mapping[int, Lag], behind: list[str]) -> Finding:
    if behind:
        return fault(
            "shards",
            f"the database lacks changes that it had of {', '.join(behind)}: it is an old copy, or the wrong database",
            "put the newer one back, or drop the later bookings with booking restore --force",
        )
    lost = [str(shard) for shard, lag in lags.items() if not lag.whole]
    if not lost:
        return ok("shards", f"{len(lags)}, all whole: Redis has every change that SQL has")
    gone = [describe_lost(shard, lag.lost) for shard, lag in lags.items() if lag.lost]
    if gone:
        return fault(
            "shards",
            f"Redis lacks what the database may not have either: {'; '.join(gone)}",
            "bring back the Redis that has these changes, or give them up with booking restore",
        )
    return fault(
        "shards",
        f"Redis lacks changes that SQL has of {', '.join(lost)}: it was emptied, is an old copy, or is the wrong Redis",
        "nothing is sold from these shards until they are restored: by a running persister within seconds if Redis is "
        "only behind, else by booking restore; check BOOKING_REDIS_URL first",
    )


def _lag(settings: Settings, lags: Mapping[int, Lag], *, serving: bool) -> Finding:
    name, most = "persister", max(lag.entries for lag in lags.values())
    oldest_seconds = max(lag.oldest_ms for lag in lags.values()) / 1000
    found = f"{sum(lag.entries for lag in lags.values()):,} changes wait for SQL"
    if most > settings.persister_lag_limit:
        return fault(name, f"{found}, so nothing is sold", "check that a persister runs, and why it is slow")
    if oldest_seconds > LAG_SECONDS_MAX:
        found += f", the oldest for {oldest_seconds:,.0f} s"
        advice = "read its log" if serving else "start booking serve, or booking persist"
        return warning(name, found, advice)
    return ok(name, found)
