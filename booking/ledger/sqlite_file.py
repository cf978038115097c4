"""A SQLite file: creates it for its owner only, opens only an existing one, and ends the threads of its connections."""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import aiosqlite
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import ConnectionPoolEntry

from booking.ledger.closing import ClosingEngine, wait_until
from booking.ledger.errors import LedgerUnavailable, NotMigrated


def make_file(path: Path) -> None:
    """Creates the file if it does not exist, but not its folder. Only its owner may read it: it holds password hashes.

    Raises LedgerUnavailable if it cannot be created or written.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except FileNotFoundError:
        raise LedgerUnavailable(f"{path} cannot be created: there is no folder {path.parent}") from None
    except OSError as error:
        raise LedgerUnavailable(f"{path} cannot be created or written ({error.strerror})") from None


class SqliteEngine(ClosingEngine):
    """An engine whose connections create no file, and whose `dispose` waits for the threads of its connections.

    aiosqlite gives each connection a thread. If the connection fails or a call is cancelled, aiosqlite stops the thread
    without waiting for it. Such a thread may then send its result to an event loop that is already closed.
    """

    def __init__(self, sync_engine: Engine) -> None:
        super().__init__(sync_engine)
        self._threads: set[Thread] = set()
        event.listen(sync_engine, "do_connect", self._open)

    async def dispose(self, close: bool = True) -> None:
        """Closes every connection, and waits up to CLOSE_SECONDS_MAX for their threads to end."""
        await super().dispose(close)
        await wait_until(lambda: not any(thread.is_alive() for thread in self._threads))

    def _open(self, _: Dialect, __: ConnectionPoolEntry, ___: Sequence[Any], options: dict[str, Any]) -> None:
        """Sets the function that opens a connection; SQLAlchemy calls this before each one."""
        options["async_creator_fn"] = self._connect

    async def _connect(self, database: str, **options: Any) -> aiosqlite.Connection:
        path = Path(database)
        # mode=rw: SQLite must not create the file, because other users could then read it.
        connection = aiosqlite.connect(f"{path.as_uri()}?mode=rw", uri=True, **options)
        thread = connection._thread  # noqa: SLF001 - there is no public access; SQLAlchemy does the same
        thread.daemon = True
        self._threads = {one for one in self._threads if one.is_alive()} | {thread}
        try:
            return await connection
        except sqlite3.OperationalError as error:
            raise _refusal(path, error) from None


def _refusal(path: Path, error: sqlite3.OperationalError) -> LedgerUnavailable:
    """The reason why the file could not be opened; SQLite's message is the same for all reasons."""
    try:
        os.close(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        return NotMigrated(f"there is no {path} yet; run booking migrate")
    except OSError as refusal:
        return LedgerUnavailable(f"{path} cannot be opened ({refusal.strerror})")
    return LedgerUnavailable(f"{path}: {error}")
