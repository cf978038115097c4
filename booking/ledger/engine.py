"""The database engine: a bounded pool of connections, configured so that commits are durable."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from booking.ledger.closing import ClosingEngine
from booking.ledger.errors import DatabaseUnfit
from booking.ledger.sqlite_file import SqliteEngine

CONNECTIONS_MAX = 4
"""Connections of one command, at most. A web worker has BOOKING_DATABASE_POOL of them."""

POOL_WAIT_SECONDS = 2.0
"""How long a call waits for a connection from the pool."""

CONNECT_SECONDS_MAX = 2.0
"""How long PostgreSQL may take to accept a connection."""

STATEMENT_SECONDS_MAX = 10.0
"""How long PostgreSQL may take for one statement; it bounds the wait for a server that stalls."""

LOCK_WAIT_MS = 5_000
"""How long a statement of a transaction that writes waits for a lock, in milliseconds. Reads lock nothing; if another
transaction locks their table, STATEMENT_SECONDS_MAX bounds the wait."""

ENCODING = "UTF8"
"""The only encoding of a PostgreSQL database that has every character that an answer may hold."""

SQLITE_CACHE_KIB = 65_536
"""A SQLite connection's page cache, in KiB. It is large because writes to the index by user hit random pages."""

SQLITE_CHECKPOINT_PAGES = 8_000
"""Size of the write-ahead log at which it is copied into the file, in pages of 4 KiB: 32 MB."""

TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""The values of `sslmode` (PostgreSQL's manual, libpq, SSL support)."""

TLS_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
"""The options of libpq that name a file."""

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
    any other address, or a wrong TLS option, without repeating the address.

    PostgreSQL may be behind pgbouncer in transaction mode, which gives each transaction another session. So no session
    is relied on: settings are of one transaction, statements have no names, and locks end with their transaction.
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
        _check_tls(dsn)

        async def connect() -> asyncpg.Connection:
            return await _connect(dsn)

        made = create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_pre_ping=True, **common)
        engine = ClosingEngine(made.sync_engine)
        event.listen(engine.sync_engine, "begin", _begin_postgresql)
        return engine
    if scheme.startswith("sqlite") and make_url(address).database not in (None, "", ":memory:"):
        url = make_url(address).set(drivername="sqlite+aiosqlite")
        sqlite = SqliteEngine(create_async_engine(url, **common).sync_engine)
        event.listen(sqlite.sync_engine, "connect", _set_up_sqlite)
        event.listen(sqlite.sync_engine, "begin", _begin_sqlite)
        return sqlite
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


def _check_tls(dsn: str) -> None:
    """Raises ValueError for an `sslmode` that is not one, and for a file that cannot be read."""
    options = dict(parse_qsl(urlsplit(dsn).query))
    if options.get("sslmode", TLS_MODES[0]) not in TLS_MODES:
        raise ValueError(f"sslmode has to be one of {', '.join(TLS_MODES)}")
    for name in TLS_FILES:
        if name in options and not os.access(options[name], os.R_OK):
            raise ValueError(f"{name} names {options[name]}, which is no file that can be read")


async def _connect(dsn: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_SECONDS_MAX,
        command_timeout=STATEMENT_SECONDS_MAX,
        statement_cache_size=0,  # statements without names, which are sent again with each call
        server_settings={"application_name": "booking"},  # pgbouncer refuses others
    )
    encoding = connection.get_settings().server_encoding
    if encoding != ENCODING:
        await connection.close()
        raise DatabaseUnfit(
            f"the database is encoded in {encoding}, which lacks characters of names and user ids; create one in "
            f"{ENCODING} (createdb --encoding={ENCODING} --template=template0 NAME), and name it"
        )
    return connection


def _begin_postgresql(connection: Connection) -> None:
    """Sets what a transaction that writes needs; the settings end with it (SET LOCAL)."""
    if connection.get_execution_options().get("writing", False):
        # Entries are trimmed from Redis after the commit here, so a commit has to be on disk, even if the server's
        # default is asynchronous.
        connection.exec_driver_sql(
            f"SELECT set_config('lock_timeout', '{LOCK_WAIT_MS}', true), set_config('synchronous_commit', "
            "replace(current_setting('synchronous_commit'), 'off', 'on'), true)"
        )


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
