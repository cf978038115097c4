"""What the database says of itself: read once, and nothing is changed by it."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.diagnosis import Finding, fault, ok, warning
from booking.ledger import shards
from booking.ledger.engine import open_engine
from booking.ledger.failures import translated_errors
from booking.ledger.migrate import newest_migration
from booking.ledger.records import ShardRecord

NAME = "database"

SQLITE_SYNCHRONOUS = {"0": "off", "1": "normal", "2": "full", "3": "extra"}
"""What SQLite's PRAGMA means by its numbers."""

ANSWER_SECONDS_MAX = 5.0
"""How long a database may take to answer all of it."""


@dataclass(frozen=True, slots=True)
class Database:
    """One database, as it is set up now."""

    kind: str
    """`SQLite` or `PostgreSQL`."""
    version: str
    migration: str | None
    """The newest migration it has had; None before the first."""
    shards: dict[int, ShardRecord]
    """Empty before the service's first start."""
    settings: dict[str, str]
    """What decides whether a commit is on disk."""
    clock_skew_seconds: float | None
    """How far its clock is ahead of ours; None for SQLite, whose clock is ours."""


def is_there(address: str) -> bool:
    """False for a SQLite file that nobody has made yet, which to look at would make."""
    return not address.startswith("sqlite") or Path(make_url(address).database or "").exists()


async def inspect(address: str) -> Database:
    """Asks the database at this SQLAlchemy URL. Raises LedgerUnavailable, and LedgerError for what is refused."""
    engine = open_engine(address, connections=1)
    try:
        with translated_errors():
            async with asyncio.timeout(ANSWER_SECONDS_MAX), engine.connect() as connection:
                return await _inspect(connection)
    finally:
        await engine.dispose()


async def _inspect(connection: AsyncConnection) -> Database:
    if connection.dialect.name == "sqlite":
        names = {"journal_mode": "PRAGMA journal_mode", "synchronous": "PRAGMA synchronous"}
        version, skew = str(await connection.scalar(text("SELECT sqlite_version()"))), None
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('alembic_version', 'shards')"
    else:
        names = {name: f"SHOW {name}" for name in ("synchronous_commit", "fsync", "full_page_writes")}
        version = str(await connection.scalar(text("SHOW server_version")))
        asked_at = time.time()
        told = await connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
        skew = float(told or 0) - (asked_at + time.time()) / 2
        tables = (
            "SELECT name FROM unnest(ARRAY['alembic_version', 'shards']) AS name WHERE to_regclass(name) IS NOT NULL"
        )
    there = set((await connection.execute(text(tables))).scalars())
    return Database(
        kind="SQLite" if connection.dialect.name == "sqlite" else "PostgreSQL",
        version=version,
        migration=(
            await connection.scalar(text("SELECT version_num FROM alembic_version"))
            if "alembic_version" in there
            else None
        ),
        shards=await shards.read(connection) if "shards" in there else {},
        settings={name: str(await connection.scalar(text(question))) for name, question in names.items()},
        clock_skew_seconds=skew,
    )


def check_database(database: Database) -> list[Finding]:
    """Everything that can be said of a database by itself."""
    durable = _sqlite(database) if database.kind == "SQLite" else _postgresql(database)
    return [durable, _migrations(database)]


def _sqlite(database: Database) -> Finding:
    mode = database.settings["journal_mode"]
    synchronous = SQLITE_SYNCHRONOUS.get(database.settings["synchronous"], "unknown")
    told = f"SQLite {database.version}, journal_mode {mode}, synchronous {synchronous}"
    if mode != "wal":
        advice = "put it on a disk of this machine: a network's file system has no WAL, and readers stop the persister"
        return warning(NAME, told, advice)
    return ok(NAME, told)


def _postgresql(database: Database) -> Finding:
    settings = database.settings
    told = f"PostgreSQL {database.version}, synchronous_commit {settings['synchronous_commit']}"
    off = [name for name in ("fsync", "full_page_writes") if settings[name] == "off"]
    if off:
        return fault(
            NAME, f"{told}, {' and '.join(off)} off: a power cut destroys it", f"set {' and '.join(off)} to on"
        )
    return ok(NAME, told)


def _migrations(database: Database) -> Finding:
    name, newest = "migrations", newest_migration()
    if database.migration == newest:
        return ok(name, f"up to date ({newest})")
    if database.migration is None:
        return warning(name, "the database has no tables yet", "booking serve makes them, or booking migrate")
    if database.migration < newest:
        told = f"at {database.migration}, and {newest} is the newest"
        return warning(name, told, "booking migrate, or start booking serve anew, which does so by itself")
    told = f"at {database.migration}, which this version of the service (at {newest}) does not know"
    return fault(name, told, "install the version that made it, or a newer one")
