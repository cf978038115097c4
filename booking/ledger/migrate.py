"""Brings a database's tables up to date; safe to run again, and by several processes at once."""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from booking.ledger.engine import file_of, open_engine
from booking.ledger.errors import LedgerUnavailable
from booking.ledger.failures import translated_errors
from booking.ledger.sqlite_file import make_file

if TYPE_CHECKING:
    from alembic.config import Config

_ADVISORY_LOCK = 0x626F6F6B696E67
"""PostgreSQL's advisory locks are known by a number; this one spells "booking"."""


async def migrate(address: str) -> None:
    """Takes the database at this SQLAlchemy URL to the newest migration, in one transaction.

    Makes the file of a SQLite database, readable by nobody else, but not its folder. Raises LedgerUnavailable where the
    database can't be reached or used or is of a newer version, LedgerError where it refuses, ValueError for an address
    that open_engine doesn't take.
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
    """The migration that this version of the service takes a database to."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_configuration()).get_current_head() or ""


def _upgrade(connection: Connection) -> None:
    from alembic import command  # here, because only this needs it and every process would pay at its start
    from alembic.util import CommandError

    configuration = _configuration()
    configuration.attributes["connection"] = connection
    try:
        command.upgrade(configuration, "head")
    except CommandError:  # there is one line of migrations (a test holds it), so the database is at none of it
        told = "it is at a migration that this version of the service does not know"
        raise LedgerUnavailable(f"{told}; install the version that made it, or a newer one") from None


def _configuration() -> "Config":
    from alembic.config import Config

    configuration = Config()
    configuration.set_main_option("script_location", "booking.ledger:migrations")
    return configuration
