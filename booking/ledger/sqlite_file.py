"""A SQLite file: made in one place, for nobody else's eyes; opened where it is; and let go of with its threads."""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import aiosqlite
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from booking.ledger.errors import LedgerUnavailable

CLOSE_SECONDS_MAX = 6.0
"""How long threads are waited for at the end: a call that was cancelled may still wait for a lock, for up to 5 s."""

POLL_SECONDS = 0.005


def make_file(path: Path) -> None:
    """Makes a file that nobody else may read (it will hold password hashes), where there is none, but not its folder.

    Raises LedgerUnavailable where it can neither be made nor written.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except FileNotFoundError:
        raise LedgerUnavailable(f"{path} cannot be made: there is no folder {path.parent}") from None
    except OSError as error:
        raise LedgerUnavailable(f"{path} cannot be made or written ({error.strerror})") from None


class SqliteEngine(AsyncEngine):
    """An engine whose connections make no file, and of which no thread is left once it is disposed of.

    aiosqlite gives each connection a thread, and tells it to stop without waiting for that where a connection could not
    be made or a call was cancelled. Such a thread has its last word for an event loop that may be closed by then.
    """

    def __init__(self, sync_engine: Engine) -> None:
        super().__init__(sync_engine)
        self._threads: set[Thread] = set()
        event.listen(sync_engine, "do_connect", self._open)

    async def dispose(self, close: bool = True) -> None:
        """Closes every connection, and waits for their threads to end, for a bounded time."""
        await super().dispose(close)
        loop = asyncio.get_running_loop()
        end = loop.time() + CLOSE_SECONDS_MAX
        while any(thread.is_alive() for thread in self._threads) and loop.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    def _open(self, _: Dialect, __: ConnectionPoolEntry, ___: Sequence[Any], options: dict[str, Any]) -> None:
        """Called by SQLAlchemy before each connection, which it then makes with these options."""
        options["async_creator_fn"] = self._connect

    async def _connect(self, database: str, **options: Any) -> aiosqlite.Connection:
        path = Path(database)
        # By SQLite itself it would be made with the rights that any file has.
        connection = aiosqlite.connect(f"{path.as_uri()}?mode=rw", uri=True, **options)
        thread = connection._thread  # noqa: SLF001 - there is no other way to it; SQLAlchemy does as much
        thread.daemon = True
        self._threads = {one for one in self._threads if one.is_alive()} | {thread}
        try:
            return await connection
        except sqlite3.OperationalError as error:
            raise LedgerUnavailable(_reason(path, error)) from None


def _reason(path: Path, error: sqlite3.OperationalError) -> str:
    """SQLite says "unable to open database file", whatever it is."""
    try:
        os.close(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        return f"there is no {path} yet; booking migrate makes it"
    except OSError as refusal:
        return f"{path} cannot be opened ({refusal.strerror})"
    return f"{path}: {error}"
