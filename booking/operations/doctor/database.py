"""The database, and the shards: what Redis has of what SQL knows, and what SQL lacks of what Redis has."""

from collections.abc import Mapping

from booking.domain.diagnosis import Finding, fault, ok, warning
from booking.domain.lags import Lag
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.inspection import shard_lags
from booking.inventory.streams import trimmed_past
from booking.ledger.errors import LedgerError
from booking.ledger.inspection import Database, check_database, inspect, is_there
from booking.ledger.records import ShardRecord
from booking.persister.bootstrap import positions_of
from booking.settings import Settings

LAG_SECONDS_MAX = 30.0
"""As in /readyz: a persister that has left something lying for this long is not well."""


async def check_ledger(settings: Settings) -> tuple[list[Finding], Database | None]:
    """The findings, and the database if it could be asked."""
    address = settings.database_address
    if not is_there(address):
        return [ok("database", "SQLite; the first start makes its file")], None
    try:
        database = await inspect(address)
    except LedgerError as error:
        advice = (
            "see that the file and its folder belong to this user, and that its disk is well"
            if settings.database_url is None
            else "start it, or correct BOOKING_DATABASE_URL (host, port, user, password, database)"
        )
        return [fault("database", str(error), advice)], None
    return check_database(database), database


async def check_shards(
    settings: Settings, database: Database, *, reachable: bool = True, serving: bool = False
) -> list[Finding]:
    """Whether Redis has all that SQL has, and how far SQL is behind it; `reachable`: whether Redis could be asked."""
    name, shards = "shards", database.shards
    if not shards:
        return [ok(name, "none yet; the first start founds them")]
    if len(shards) != settings.shards:
        told = f"the database was founded with {len(shards)}, and BOOKING_SHARDS is {settings.shards}"
        return [fault(name, told, f"set BOOKING_SHARDS to {len(shards)}: events cannot move")]
    if not reachable:
        return [ok(name, f"{len(shards)} founded; whether Redis has all of them can be said once it runs")]
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
    """The shards of which SQL lacks what Redis has let go of, since SQL had it once. Raises LedgerError."""
    trimmed_to = {shard: lag.trimmed_to for shard, lag in lags.items()}
    # A running persister may have carried some between the two looks; what was let go of by then SQL has by now.
    if not trimmed_past(trimmed_to, positions_of(shards)):
        return []
    return list(map(str, trimmed_past(trimmed_to, positions_of((await inspect(settings.database_address)).shards))))


def _wholeness(lags: Mapping[int, Lag], behind: list[str]) -> Finding:
    if behind:
        return fault(
            "shards",
            f"the database lacks changes that it had of {', '.join(behind)}: an old copy of it, or another's database",
            "put the newer one back, or give up what was sold since: booking restore --force",
        )
    lost = [str(shard) for shard, lag in lags.items() if not lag.whole]
    if not lost:
        return ok("shards", f"{len(lags)}, all whole: Redis has everything that SQL has")
    return fault(
        "shards",
        f"Redis has not what SQL has of {', '.join(lost)}: emptied, an old copy, or another's Redis",
        "nothing is sold from them until booking restore; is BOOKING_REDIS_URL the right one?",
    )


def _lag(settings: Settings, lags: Mapping[int, Lag], *, serving: bool) -> Finding:
    name, most = "persister", max(lag.entries for lag in lags.values())
    oldest_seconds = max(lag.oldest_ms for lag in lags.values()) / 1000
    told = f"{sum(lag.entries for lag in lags.values()):,} changes wait for SQL"
    if most > settings.persister_lag_limit:
        return fault(name, f"{told}, so that nothing is sold", "see that a persister runs, and why it is slow")
    if oldest_seconds > LAG_SECONDS_MAX:
        told += f", the oldest for {oldest_seconds:,.0f} s"
        advice = "look at its log" if serving else "start booking serve, or booking persist"
        return warning(name, told, advice)
    return ok(name, told)
