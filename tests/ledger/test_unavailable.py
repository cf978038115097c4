"""A database that cannot be used is reported as unavailable, soon, and without a secret in the message."""

import asyncio
import os
import signal
import socket
import sqlite3
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest

from booking.ledger import Ledger, LedgerError, LedgerUnavailable, migrate
from booking.ledger import engine as engine_module
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.waiting import eventually_async
from tests.ledger.sale import Sale

PASSWORD = "hunter2-secret"


def text_of(error: pytest.ExceptionInfo[BaseException]) -> str:
    """All text that a log could show of an error and its causes."""
    return "".join(traceback.format_exception(error.value))


@pytest.fixture
async def postgres_ledger(postgres_url: str) -> AsyncIterator[Ledger]:
    await migrate(postgres_url)
    ledger = Ledger.open(postgres_url)
    await ledger.initialize_shards(["first"])
    yield ledger
    await ledger.close()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as unused:  # bound and not listening: connections are refused
        unused.bind(("127.0.0.1", 0))
        address = f"postgresql+asyncpg://ada:{PASSWORD}@127.0.0.1:{unused.getsockname()[1]}/booking"
        ledger = Ledger.open(address)
        for call in (ledger.ping, ledger.shards, lambda: ledger.apply([Sale().all()]), lambda: migrate(address)):
            with pytest.raises(LedgerUnavailable) as error:
                await call()
            assert PASSWORD not in text_of(error)
        await ledger.close()


async def test_a_database_that_does_not_exist_is_unavailable(postgres_server: PostgresServer) -> None:
    ledger = Ledger.open(postgres_server.url("nowhere"))
    with pytest.raises(LedgerUnavailable, match="no such database"):
        await ledger.ping()
    await ledger.close()


async def test_a_refused_user_is_unavailable_and_the_password_stays_unsaid(postgres_server: PostgresServer) -> None:
    url = postgres_server.url("postgres").replace("postgres@", f"nobody-here:{PASSWORD}@")
    ledger = Ledger.open(url)
    with pytest.raises(LedgerUnavailable, match="28000") as error:
        await ledger.ping()
    assert PASSWORD not in text_of(error)
    await ledger.close()


async def test_a_stopped_server_is_unavailable_until_it_continues(
    postgres_ledger: Ledger, postgres_server: PostgresServer
) -> None:
    await postgres_ledger.ping()
    backends = await backend_pids(postgres_ledger)
    for pid in (postgres_server.pid, *backends):
        os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(LedgerUnavailable):
                await postgres_ledger.ping()
    finally:
        for pid in (postgres_server.pid, *backends):
            os.kill(pid, signal.SIGCONT)
    await postgres_ledger.ping()


async def test_a_server_stopped_during_a_call_is_given_up_and_used_again(
    postgres_url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "STATEMENT_SECONDS_MAX", 0.3)
    monkeypatch.setattr(engine_module, "CONNECT_SECONDS_MAX", 0.3)
    await migrate(postgres_url)
    ledger = Ledger.open(postgres_url)
    await ledger.initialize_shards(["first"])
    backends = await backend_pids(ledger)
    for pid in (postgres_server.pid, *backends):
        os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):  # on the connection that was there, and on one that has to be made
            async with asyncio.timeout(30):
                with pytest.raises(LedgerUnavailable, match="in time"):
                    await ledger.apply([Sale().all()])
    finally:
        for pid in (postgres_server.pid, *backends):
            os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    assert await ledger.apply([Sale().all()]) == 1
    await ledger.close()


async def backend_pids(ledger: Ledger) -> list[int]:
    async with ledger.reading() as connection:
        rows = await connection.exec_driver_sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'booking'")
        return [row.pid for row in rows]


async def test_after_its_connections_are_broken_the_next_call_works(
    postgres_ledger: Ledger, postgres_server: PostgresServer
) -> None:
    await asyncio.gather(*(postgres_ledger.ping() for _ in range(4)))
    other = await asyncpg.connect(postgres_server.url("postgres"))
    await other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'booking'")
    await other.close()
    sale = Sale()
    sale.ask("ada")
    assert await postgres_ledger.apply([sale.all()]) == 2


async def test_a_connection_broken_during_a_transaction_leaves_no_change(
    postgres_ledger: Ledger, postgres_server: PostgresServer
) -> None:
    sale = Sale()
    for number in range(10):
        sale.ask(str(number))
    holder = await asyncpg.connect(postgres_server.url("postgres"))
    async with postgres_ledger._writing() as connection:  # holds the changes, so that the applier waits in its midst
        await connection.exec_driver_sql("LOCK TABLE changes IN ACCESS EXCLUSIVE MODE")
        applying = asyncio.create_task(postgres_ledger.apply([sale.all()]))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'booking'"
        )
        await eventually_async(lambda: holder.fetchval(waiting), "it waits for the lock")
        await holder.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND application_name = 'booking'"
        )
        with pytest.raises(LedgerUnavailable):
            await applying
    await holder.close()
    assert (await postgres_ledger.shards())[0].cursor == "0-0"
    assert await postgres_ledger.event_ids() == []
    assert await postgres_ledger.apply([sale.all()]) == 11


async def test_a_locked_sqlite_is_unavailable_for_writes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "LOCK_WAIT_MS", 50)
    path = tmp_path / "booking.sqlite3"
    address = f"sqlite+aiosqlite:///{path}"
    await migrate(address)
    ledger = Ledger.open(address)
    await ledger.initialize_shards(["first"])
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        for call in (
            lambda: ledger.apply([Sale().all()]),
            lambda: ledger.add_account("ada@example.org", "ada@example.org", "$argon2id$"),
        ):
            with pytest.raises(LedgerUnavailable, match="locked") as error:
                await call()
            assert [secret for secret in ("ada@", "$argon2id$", "INSERT") if secret in text_of(error)] == []
        await ledger.ping()
        assert (await ledger.shards())[0].cursor == "0-0"
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert await ledger.apply([Sale().all()]) == 1
    await ledger.close()


async def test_a_full_disk_is_unavailable_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    """The file's largest size stands in for the disk's: SQLite answers both with the same error."""
    address = f"sqlite+aiosqlite:///{tmp_path / 'booking.sqlite3'}"
    await migrate(address)
    ledger = Ledger.open(address)
    await ledger.initialize_shards(["first"])
    sale = Sale()
    for number in range(2_000):
        sale.ask(str(number))
    async with ledger.reading() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(LedgerUnavailable, match="full"):
        await ledger.apply([sale.all()])
    assert (await ledger.shards())[0].cursor == "0-0"
    assert await ledger.changes(1) == []
    async with ledger.reading() as connection:
        await connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert await ledger.apply([sale.all()]) == 2_001
    await ledger.close()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "booking.sqlite3"
    path.write_bytes(b"not a database, " * 1_000)
    with pytest.raises(LedgerUnavailable, match="not a database"):
        await migrate(f"sqlite+aiosqlite:///{path}")


async def test_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite+aiosqlite:///{tmp_path / 'gone' / 'booking.sqlite3'}")
    with pytest.raises(LedgerUnavailable, match="booking migrate"):
        await ledger.ping()
    await ledger.close()


async def test_more_calls_than_connections_wait_their_turn(ledger: Ledger) -> None:
    answers = await asyncio.gather(*(ledger.shards() for _ in range(50)))
    assert all(answer.keys() == {0, 1} for answer in answers)


async def test_calls_that_wait_too_long_for_a_connection_fail(
    migrated_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "POOL_WAIT_SECONDS", 0.05)
    ledger = Ledger.open(migrated_address)
    async with ledger._connected(), ledger._connected(), ledger._connected(), ledger._connected():
        with pytest.raises(LedgerUnavailable, match="in use"):
            await ledger.shards()
    assert await ledger.shards() == {}
    await ledger.close()


async def test_logins_and_cursors_do_not_wait_for_reports(
    migrated_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "POOL_WAIT_SECONDS", 0.05)
    ledger = Ledger.open(migrated_address, 2)
    await ledger.initialize_shards(["first"])
    await ledger.add_account("ada@example.org", "ada@example.org", "hash")
    async with ledger.reading():
        with pytest.raises(LedgerUnavailable, match="every connection for reports is in use"):
            await ledger.event_ids()
        account = await ledger.find_account("ada@example.org")
        assert account is not None
        assert await ledger.tokens_from(account.id) == 0
        assert (await ledger.shards())[0].cursor == "0-0"
        assert await ledger.apply([Sale().all()]) == 1
        await ledger.ping()
    assert await ledger.event_ids() == [1]
    await ledger.close()


async def test_an_error_of_the_database_is_reported_without_values(ledger: Ledger) -> None:
    secret = "ada\ud800@example.org"  # half a character, which callers keep away; no database can store it
    with pytest.raises((LedgerError, UnicodeEncodeError)) as error:
        await ledger.add_account(secret, secret, PASSWORD)
    assert PASSWORD not in text_of(error)
    assert "INSERT" not in text_of(error)


async def test_a_programming_error_is_reported_by_its_code_only(postgres_ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="22012") as error:
        async with postgres_ledger.reading() as connection:
            await connection.exec_driver_sql("SELECT 'their-name', 1 / 0")
    assert not isinstance(error.value, LedgerUnavailable)
    assert "their-name" not in text_of(error)


@pytest.mark.parametrize("address", ["mysql://root:pw-secret@localhost/x", "sqlite+aiosqlite://", "sqlite:///:memory:"])
def test_an_address_of_another_kind_is_refused_unrepeated(address: str) -> None:
    with pytest.raises(ValueError, match="PostgreSQL server or a SQLite file") as error:
        Ledger.open(address)
    assert "pw-secret" not in str(error.value)


async def test_url_parameters_of_hosting_platforms_are_understood(postgres_url: str) -> None:
    url = f"{postgres_url}&sslmode=disable&channel_binding=prefer&connect_timeout=5"
    await migrate(url)
    ledger = Ledger.open(url.replace("postgresql://", "postgres://"))
    await ledger.ping()
    await ledger.close()


async def test_a_commit_is_on_disk_whatever_the_servers_default(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    await migrate(postgres_url)
    other = await asyncpg.connect(postgres_url)
    await other.execute(f"ALTER DATABASE {postgres_url.split('/')[3].split('?')[0]} SET synchronous_commit = off")
    await other.close()
    ledger = Ledger.open(postgres_url)
    async with ledger._writing() as connection:
        assert (await connection.exec_driver_sql("SHOW synchronous_commit")).scalar_one() == "on"
    await ledger.close()


async def test_a_commit_into_sqlite_survives_the_power(tmp_path: Path) -> None:
    address = f"sqlite+aiosqlite:///{tmp_path / 'booking.sqlite3'}"
    await migrate(address)
    ledger = Ledger.open(address)
    async with ledger._writing() as connection:
        full = 2  # NORMAL, the usual choice beside WAL, is 1: it survives a crash of the program alone
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar_one() == full
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one() == "wal"
    await ledger.close()
