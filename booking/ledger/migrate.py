"""Migrates a database to the newest tables. It may run again, and in several processes at once."""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from booking.ledger.engine import file_of, open_engine
from booking.ledger.errors import DatabaseUnfit, NotMigrated
from booking.ledger.failures import translated_errors
from booking.ledger.sqlite_file import make_file

if TYPE_CHECKING:
    from alembic.config import Config

_UNKNOWN = (
    "it is at a migration that this version of the service does not know; install the version that migrated it, or a "
    "newer one"
)

_ADVISORY_LOCK = 0x626F6F6B696E67
"""The number of the PostgreSQL advisory lock; its bytes spell "booking"."""


async def migrate(address: str) -> None:
    """Migrates the database at this SQLAlchemy URL to the newest migration, in one transaction.

    Creates the file of a SQLite database, readable only by its owner, but not its folder. Raises LedgerUnavailable if
    the database can't be used, LedgerError if it refuses a statement, DatabaseUnfit if it has a newer migration
    or is not in UTF-8, and ValueError for an address that open_engine does not accept.
    """
    engine = open_engine(address, connections=1)
    try:
        with translated_errors():
            if engine.dialect.name == "sqlite":
                make_file(file_of(address))
            async with engine.execution_options(writing=True).begin() as connection:
                if engine.dialect.name == "postgresql":
                    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
                await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


async def check_schema(address: str) -> None:
    """Checks that the database's tables are those of this version. Changes nothing.

    Raises NotMigrated if they are missing or older, DatabaseUnfit if they are newer, and as `migrate` does.
    """
    engine = open_engine(address, connections=1)
    try:
        with translated_errors():
            async with engine.connect() as connection:
                found = await connection.run_sync(_current_migration)
    finally:
        await engine.dispose()
    newest = newest_migration()
    if found is None:
        raise NotMigrated("it has no tables yet; run booking migrate")
    if found not in _known_migrations():
        raise DatabaseUnfit(_UNKNOWN)
    if found != newest:
        raise NotMigrated(f"its tables are at migration {found}, and this version needs {newest}; run booking migrate")


def newest_migration() -> str:
    """The newest migration of this version of the service."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_configuration()).get_current_head() or ""


def _upgrade(connection: Connection) -> None:
    from alembic import command  # imported here, so that only a migration pays for it at its start
    from alembic.util import CommandError

    configuration = _configuration()
    configuration.attributes["connection"] = connection
    try:
        command.upgrade(configuration, "head")
    except CommandError:  # migrations have no branches (a test checks it), so the database's migration is unknown
        raise DatabaseUnfit(_UNKNOWN) from None


def _current_migration(connection: Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def _known_migrations() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_configuration()).walk_revisions()}


def _configuration() -> "Config":
    from alembic.config import Config

    configuration = Config()
    configuration.set_main_option("script_location", "booking.ledger:migrations")
    return configuration
