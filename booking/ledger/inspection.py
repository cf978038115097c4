"""Reads the state and the settings of the database, and changes nothing."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.diagnosis import Finding, fault, ok, warning
from booking.ledger import service, shards
from booking.ledger.engine import open_engine
from booking.ledger.failures import translated_errors
from booking.ledger.migrate import newest_migration
from booking.ledger.records import ShardRecord

NAME = "database"

SQLITE_SYNCHRONOUS = {"0": "off", "1": "normal", "2": "full", "3": "extra"}
"""The meanings of the numbers of SQLite's PRAGMA synchronous."""

ANSWER_SECONDS_MAX = 5.0
"""How long the database may take for the whole inspection."""


@dataclass(frozen=True, slots=True)
class Database:
    """A database and its settings."""

    kind: str
    """`SQLite` or `PostgreSQL`."""
    version: str
    migration: str | None
    """The newest applied migration; None before the first."""
    shards: dict[int, ShardRecord]
    """Empty before the service's first start."""
    signing_secret: str | None
    """The fingerprint of the secret that signs tokens; None before the service's first start."""
    settings: dict[str, str]
    """The settings that decide whether a commit is on disk."""
    clock_skew_seconds: float | None
    """How far its clock is ahead of this machine's; None for SQLite, which has this machine's clock."""


def is_there(address: str) -> bool:
    """False for a SQLite file that does not exist; to connect would create it."""
    return not address.startswith("sqlite") or Path(make_url(address).database or "").exists()


async def inspect(address: str) -> Database:
    """Asks the database at this SQLAlchemy URL. Raises LedgerUnavailable, and LedgerError for a refused statement."""
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
        tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
    else:
        names = {name: f"SHOW {name}" for name in ("synchronous_commit", "fsync", "full_page_writes")}
        version = str(await connection.scalar(text("SHOW server_version")))
        asked_at = time.time()
        database_time = await connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
        skew = float(database_time or 0) - (asked_at + time.time()) / 2
        tables = "SELECT tablename FROM pg_tables WHERE to_regclass(quote_ident(tablename)) IS NOT NULL"
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
        signing_secret=await service.read(connection, service.FINGERPRINT) if "service" in there else None,
        settings={name: str(await connection.scalar(text(question))) for name, question in names.items()},
        clock_skew_seconds=skew,
    )


def check_database(database: Database) -> list[Finding]:
    """The findings about a database."""
    durable = _sqlite(database) if database.kind == "SQLite" else _postgresql(database)
    return [durable, _migrations(database)]


def _sqlite(database: Database) -> Finding:
    mode = database.settings["journal_mode"]
    synchronous = SQLITE_SYNCHRONOUS.get(database.settings["synchronous"], "unknown")
    found = f"SQLite {database.version}, journal_mode {mode}, synchronous {synchronous}"
    if mode != "wal":
        advice = "put it on a local disk: a network file system has no WAL, and without it readers block the persister"
        return warning(NAME, found, advice)
    return ok(NAME, found)


def _postgresql(database: Database) -> Finding:
    settings = database.settings
    found = f"PostgreSQL {database.version}, synchronous_commit {settings['synchronous_commit']}"
    off = [name for name in ("fsync", "full_page_writes") if settings[name] == "off"]
    if off:
        return fault(
            NAME, f"{found}, {' and '.join(off)} off: a power cut destroys it", f"set {' and '.join(off)} to on"
        )
    return ok(NAME, found)


def _migrations(database: Database) -> Finding:
    name, newest = "migrations", newest_migration()
    if database.migration == newest:
        return ok(name, f"up to date ({newest})")
    if database.migration is None:
        return warning(name, "the database has no tables yet", "run booking serve or booking migrate")
    if database.migration < newest:
        found = f"at {database.migration}, and {newest} is the newest"
        return warning(name, found, "run booking migrate, or restart booking serve, which migrates at its start")
    found = f"at {database.migration}, which this version of the service (at {newest}) does not know"
    return fault(name, found, "install the version that migrated it, or a newer one")
