"""How the database is reached: a bounded pool of connections, set up so that what was committed stays."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from booking.ledger.sqlite_file import SqliteEngine

CONNECTIONS_MAX = 4
"""Connections of one process, at most."""

POOL_WAIT_SECONDS = 2.0
"""How long a call waits for one of them."""

CONNECT_SECONDS_MAX = 2.0
"""How long PostgreSQL may take to let us in."""

STATEMENT_SECONDS_MAX = 10.0
"""How long PostgreSQL may take over one statement; it bounds the wait for a server that stands still."""

LOCK_WAIT_MS = 5_000
"""How long a statement waits for somebody else's lock, in milliseconds."""

SQLITE_CACHE_KIB = 65_536
"""What one connection may keep of a SQLite file in memory, in KiB. The index by user is written all over."""

SQLITE_CHECKPOINT_PAGES = 8_000
"""How long the write-ahead log grows before it is carried into the file, in pages of 4 KiB: 32 MB."""

# What libpq knows and asyncpg would hand on to the server, which then refuses the connection. Hosting platforms
# write some of these into the URLs they give out.
_LIBPQ_ONLY = {
    "channel_binding", "connect_timeout", "gssencmode", "keepalives", "keepalives_idle", "keepalives_interval",
    "keepalives_count", "load_balance_hosts", "require_auth", "sslcompression", "sslsni", "tcp_user_timeout",
}  # fmt: skip


def open_engine(address: str, *, connections: int = CONNECTIONS_MAX) -> AsyncEngine:
    """Makes the engine for a `sqlite+aiosqlite:///…` or `postgresql+asyncpg://…` address; connects only when used.

    To connect makes no SQLite file: `migrate` does, and until then it raises LedgerUnavailable, which says so.
    A connection made by it begins every transaction itself. Where `writing` is among the execution options, SQLite
    takes its write lock at the beginning: a reader that turns writer could not be made to wait, only refused.
    Raises ValueError for an address of neither kind, without repeating it.
    """
    scheme = address.split("://", 1)[0]
    common: dict[str, Any] = {
        "hide_parameters": True,  # neither a log nor an exception shows an email or a hash
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": POOL_WAIT_SECONDS,
    }
    if scheme.startswith("postgres"):
        dsn = _dsn(address)

        async def connect() -> asyncpg.Connection:
            return await _connect(dsn)

        return create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_pre_ping=True, **common)
    if scheme.startswith("sqlite") and make_url(address).database not in (None, "", ":memory:"):
        url = make_url(address).set(drivername="sqlite+aiosqlite")
        engine = SqliteEngine(create_async_engine(url, **common).sync_engine)
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    raise ValueError("the database address has to name a PostgreSQL server or a SQLite file")


def file_of(address: str) -> Path:
    """The file of a SQLite database."""
    return Path(make_url(address).database or "").absolute()


def location_of(address: str) -> str:
    """Which database an address means, for people: the file, or host and name, and nothing that is secret."""
    if address.startswith("sqlite"):
        return str(file_of(address))
    parts = urlsplit(_dsn(address))
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def _dsn(address: str) -> str:
    """The address as PostgreSQL's own tools take it; asyncpg reads it, so that sslmode, host lists and sockets work."""
    parts = urlsplit(address)
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name not in _LIBPQ_ONLY])
    return urlunsplit(("postgresql", parts.netloc, parts.path, query, ""))


async def _connect(dsn: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_SECONDS_MAX,
        command_timeout=STATEMENT_SECONDS_MAX,
        server_settings={"application_name": "booking", "lock_timeout": str(LOCK_WAIT_MS)},
    )
    # Entries leave Redis once they are committed here, so a commit has to be on disk whatever the server's default.
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    return connection


def _set_up_sqlite(connection: DBAPIConnection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; _begin_sqlite does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {LOCK_WAIT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # In WAL, NORMAL survives a crash of the program but not of the power.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {SQLITE_CHECKPOINT_PAGES}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
