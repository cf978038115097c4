"""The migrations make the tables that the code uses, also if they run again or in several processes at once."""

import asyncio
import warnings
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from booking.domain.accounts import Role
from booking.ledger import Ledger, LedgerUnavailable, migrate
from booking.ledger.engine import open_engine
from booking.ledger.errors import DatabaseUnfit, NotMigrated
from booking.ledger.migrate import check_schema, newest_migration
from booking.ledger.tables import metadata
from tests.fixtures.forks import FORKS

MIGRATIONS = Path(__file__).parents[2] / "booking" / "ledger" / "migrations"


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


async def test_the_migrations_make_the_tables_of_the_code(address: str) -> None:
    await migrate(address)
    engine = open_engine(address)
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(differences)
            names = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
    finally:
        await engine.dispose()
    assert found == []
    assert names == {*metadata.tables, "alembic_version"}


async def test_an_index_serves_each_list(address: str) -> None:
    await migrate(address)
    engine = open_engine(address)
    try:
        async with engine.connect() as connection:
            indexes = await connection.run_sync(lambda sync: inspect(sync).get_indexes("bookings"))
    finally:
        await engine.dispose()
    assert sorted(tuple(index["column_names"]) for index in indexes) == [
        ("event_id", "status", "number", "quantity"),
        ("user_id", "created_at_ms", "event_id", "number"),
    ]


async def test_migrating_again_changes_nothing(address: str) -> None:
    await migrate(address)
    ledger = Ledger.open(address)
    try:
        initialized = await ledger.initialize_shards(["a"])
        account = await ledger.add_account("a@example.org", "a@example.org", "hash")
        await migrate(address)
        assert await ledger.shards() == initialized
        assert await ledger.find_account("a@example.org") == account
    finally:
        await ledger.close()


def migrate_strictly(address: str) -> None:
    """Migrates, and fails at a warning."""
    warnings.simplefilter("error")
    asyncio.run(migrate(address))


async def test_the_newest_migrations_can_be_undone_and_made_again(address: str) -> None:
    await migrate(address)
    ledger = Ledger.open(address)
    await ledger.add_account("a@example.org", "a@example.org", "hash", Role.ORGANIZER)
    configuration = Config()
    configuration.set_main_option("script_location", "booking.ledger:migrations")

    def undo(connection: Connection) -> None:
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "0003")

    engine = open_engine(address)
    try:
        async with engine.execution_options(writing=True).begin() as connection:
            await connection.run_sync(undo)
            columns = await connection.run_sync(lambda sync: inspect(sync).get_columns("users"))
            assert "service" not in await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        assert "admin" not in {column["name"] for column in columns}
        await migrate(address)
        async with engine.connect() as connection:
            assert await connection.run_sync(differences) == []
        account = await ledger.find_account("a@example.org")
        assert account is not None
        assert (account.organizer, account.admin, account.tokens_from) == (True, False, 0)
    finally:
        await engine.dispose()
        await ledger.close()


async def test_processes_that_migrate_at_once_all_succeed(address: str) -> None:
    processes = [FORKS.Process(target=migrate_strictly, args=(address,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    ledger = Ledger.open(address)
    try:
        await ledger.ping()
        assert await ledger.shards() == {}
    finally:
        await ledger.close()


async def test_migrate_creates_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "booking.sqlite3"
    await migrate(f"sqlite+aiosqlite:///{path}")
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_database_without_tables_is_an_error_with_advice(postgres_url: str) -> None:
    ledger = Ledger.open(postgres_url)
    try:
        with pytest.raises(LedgerUnavailable, match="booking migrate"):
            await ledger.ping()
    finally:
        await ledger.close()


async def test_a_missing_folder_is_reported_and_not_created(tmp_path: Path) -> None:
    path = tmp_path / "mistyped" / "booking.sqlite3"
    with pytest.raises(LedgerUnavailable, match=f"{path} cannot be created: there is no folder {path.parent}"):
        await migrate(f"sqlite+aiosqlite:///{path}")
    assert not path.parent.exists()


async def test_a_file_that_can_not_be_made_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "booking.sqlite3"
    with pytest.raises(LedgerUnavailable, match=f"{path} cannot be created or written .Not a directory."):
        await migrate(f"sqlite+aiosqlite:///{path}")


async def test_a_database_of_a_newer_version_is_reported_and_not_changed(address: str) -> None:
    await migrate(address)
    engine = open_engine(address)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        for refusing in (migrate, check_schema):
            with pytest.raises(DatabaseUnfit, match="install the version that migrated it, or a newer one"):
                await refusing(address)
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    finally:
        await engine.dispose()


async def test_the_check_of_the_tables_tells_missing_and_older_ones_and_changes_nothing(address: str) -> None:
    with pytest.raises(NotMigrated, match="run booking migrate"):
        await check_schema(address)
    await migrate(address)
    await check_schema(address)
    engine = open_engine(address)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        with pytest.raises(NotMigrated, match=f"at migration 0001, and this version needs {newest_migration()}"):
            await check_schema(address)
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"
    finally:
        await engine.dispose()


def test_the_migrations_are_one_linear_history() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert len(scripts.get_heads()) == 1
    assert sorted(revisions, reverse=True) == revisions
    assert len(revisions) == len(list((MIGRATIONS / "versions").glob("0*.py")))
