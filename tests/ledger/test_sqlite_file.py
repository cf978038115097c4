"""A SQLite file belongs to its owner alone, is made by `migrate` alone, and leaves no thread behind."""

import asyncio
import sqlite3
import threading
import time
from asyncio import Future
from pathlib import Path

import aiosqlite
import pytest

from booking.ledger import Ledger, LedgerUnavailable, migrate
from booking.ledger.inspection import inspect
from booking.settings import Settings
from tests.fixtures.waiting import eventually_async

SLOW_SECONDS = 0.3


def address_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def connections_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if "_connection_worker_thread" in one.name]


def modes_in(folder: Path) -> dict[str, int]:
    return {one.name: one.stat().st_mode & 0o777 for one in folder.iterdir()}


@pytest.fixture
def _slow_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays the end of every connection's thread, as a busy machine does."""
    stop = aiosqlite.Connection.stop

    def slow_stop(connection: aiosqlite.Connection) -> "Future[None] | None":
        connection._tx.put_nowait((None, lambda: time.sleep(SLOW_SECONDS)))
        return stop(connection)

    monkeypatch.setattr(aiosqlite.Connection, "stop", slow_stop)


@pytest.mark.usefixtures("_slow_ends")
async def test_a_connection_that_could_not_be_made_leaves_no_thread(tmp_path: Path) -> None:
    for path in (tmp_path / "none.sqlite3", tmp_path):
        ledger = Ledger.open(address_of(path))
        with pytest.raises(LedgerUnavailable):
            await ledger.shards()
        await ledger.close()
        assert connections_threads() == []


async def test_a_call_that_was_cancelled_leaves_no_thread(tmp_path: Path) -> None:
    path = tmp_path / "booking.sqlite3"
    await migrate(address_of(path))
    ledger = Ledger.open(address_of(path))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    call = asyncio.create_task(ledger.initialize_shards(["first"]))
    await eventually_async(lambda: bool(connections_threads()), "it has a connection, or makes one")
    assert not call.done()
    call.cancel()
    asyncio.get_running_loop().call_later(SLOW_SECONDS, holder.close)
    await ledger.close()
    assert connections_threads() == []


async def test_a_reader_creates_no_file_and_the_error_names_migrate(tmp_path: Path) -> None:
    path = tmp_path / "booking.sqlite3"
    ledger = Ledger.open(address_of(path))
    with pytest.raises(LedgerUnavailable, match=f"there is no {path} yet; run booking migrate"):
        await ledger.shards()
    with pytest.raises(LedgerUnavailable, match="booking migrate"):
        await inspect(address_of(path))
    assert modes_in(tmp_path) == {}
    await migrate(address_of(path))
    assert await ledger.shards() == {}, "the ledger does not work after the file was created"
    assert modes_in(tmp_path) == dict.fromkeys((f"booking.sqlite3{end}" for end in ("", "-shm", "-wal")), 0o600)
    await ledger.close()


async def test_a_file_without_tables_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "booking.sqlite3"
    path.touch(0o600)
    ledger = Ledger.open(address_of(path))
    with pytest.raises(LedgerUnavailable, match=r"no such table: shards: .*run booking migrate"):
        await ledger.shards()
    await ledger.close()


async def test_a_file_that_can_not_be_opened_is_named_with_the_reason(tmp_path: Path) -> None:
    ledger = Ledger.open(address_of(tmp_path))
    with pytest.raises(LedgerUnavailable, match=rf"{tmp_path} cannot be opened \(Is a directory\)"):
        await ledger.ping()
    await ledger.close()


@pytest.mark.parametrize("name", ["50 % off? #1.sqlite3", "très tôt.sqlite3"])
async def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    settings = Settings(data_dir=tmp_path / name)
    settings.data_dir.mkdir()
    await migrate(settings.database_address)
    ledger = Ledger.open(settings.database_address)
    await ledger.ping()
    await ledger.close()
    assert (settings.data_dir / "booking.sqlite3").exists()
