"""The database engine: a bounded pool of connections, configured so that commits are durable."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from booking.ledger.errors import DatabaseUnfit
from booking.ledger.sqlite_file import SqliteEngine

CONNECTIONS_MAX = 4
"""Connections of one process, at most."""

POOL_WAIT_SECONDS = 2.0
"""How long a call waits for a connection from the pool."""

CONNECT_SECONDS_MAX = 2.0
"""How long PostgreSQL may take to accept a connection."""

STATEMENT_SECONDS_MAX = 10.0
"""How long PostgreSQL may take for one statement; it bounds the wait for a server that stalls."""

LOCK_WAIT_MS = 5_000
"""How long a statement waits for a lock, in milliseconds."""

ENCODING = "UTF8"
"""The only encoding of a PostgreSQL database that has every character that an answer may hold."""

SQLITE_CACHE_KIB = 65_536
"""A SQLite connection's page cache, in KiB. It is large because writes to the index by user hit random pages."""

SQLITE_CHECKPOINT_PAGES = 8_000
"""Size of the write-ahead log at which it is copied into the file, in pages of 4 KiB: 32 MB."""

# Options of libpq that asyncpg would pass on to the server, which then refuses the connection. Hosting platforms put
# some of them into their URLs.
_LIBPQ_ONLY = {
    "channel_binding", "connect_timeout", "gssencmode", "keepalives", "keepalives_idle", "keepalives_interval",
    "keepalives_count", "load_balance_hosts", "require_auth", "sslcompression", "sslsni", "tcp_user_timeout",
}  # fmt: skip


def open_engine(address: str, *, connections: int = CONNECTIONS_MAX) -> AsyncEngine:
    """Creates the engine for a `sqlite+aiosqlite:///…` or `postgresql+asyncpg://…` address; connects when first used.

    A connection creates no SQLite file; `migrate` does. Without the file it raises LedgerUnavailable with that advice.
    The engine begins every transaction itself. With the execution option `writing`, SQLite takes its write lock at the
    beginning: a transaction that reads first and then writes would be refused instead of waiting. Raises ValueError for
    any other address, without repeating it.
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
    raise ValueError("the database address must name a PostgreSQL server or a SQLite file")


def file_of(address: str) -> Path:
    """The file of a SQLite database."""
    return Path(make_url(address).database or "").absolute()


def location_of(address: str) -> str:
    """The database's location without secrets, for messages: the file, or the host and the database's name."""
    if address.startswith("sqlite"):
        return str(file_of(address))
    parts = urlsplit(_dsn(address))
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def _dsn(address: str) -> str:
    """The address in libpq's form. asyncpg parses it, so that sslmode, host lists and sockets work."""
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
    encoding = connection.get_settings().server_encoding
    if encoding != ENCODING:
        await connection.close()
        raise DatabaseUnfit(
            f"the database is encoded in {encoding}, which lacks characters of names and user ids; create one in "
            f"{ENCODING} (createdb --encoding={ENCODING} --template=template0 NAME), and name it"
        )
    # Entries are trimmed from Redis after the commit here, so a commit has to be on disk, even if the server's default
    # is asynchronous.
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    return connection


def _set_up_sqlite(connection: DBAPIConnection, _record: object) -> None:
    connection.isolation_level = None  # _begin_sqlite begins transactions, not the driver
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {LOCK_WAIT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # In WAL mode, NORMAL survives a crash of the program but not a power cut.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {SQLITE_CHECKPOINT_PAGES}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
