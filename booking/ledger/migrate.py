"""Migrates a database to the newest tables. It may run again, and in several processes at once."""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from booking.ledger.engine import file_of, open_engine
from booking.ledger.errors import LedgerUnavailable
from booking.ledger.failures import translated_errors
from booking.ledger.sqlite_file import make_file

if TYPE_CHECKING:
    from alembic.config import Config

_ADVISORY_LOCK = 0x626F6F6B696E67
"""The number of the PostgreSQL advisory lock; its bytes spell "booking"."""


async def migrate(address: str) -> None:
    """Migrates the database at this SQLAlchemy URL to the newest migration, in one transaction.

    Creates the file of a SQLite database, readable only by its owner, but not its folder. Raises LedgerUnavailable if
    the database can't be used or has a newer migration, LedgerError if it refuses a statement, DatabaseUnfit if it is
    not in UTF-8, and ValueError for an address that open_engine does not accept.
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
        reason = "it is at a migration that this version of the service does not know"
        raise LedgerUnavailable(f"{reason}; install the version that migrated it, or a newer one") from None


def _configuration() -> "Config":
    from alembic.config import Config

    configuration = Config()
    configuration.set_main_option("script_location", "booking.ledger:migrations")
    return configuration
