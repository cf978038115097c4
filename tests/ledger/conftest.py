"""A ledger on each of the two databases, with its tables made."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from booking.ledger import Ledger
from booking.settings import Settings


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The SQLAlchemy URL of an empty database, as `Settings.database_address` gives it."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'booking.sqlite3'}"
    url: str = request.getfixturevalue("postgres_url")
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


@pytest.fixture
def migrated_address(migrated_url: str) -> str:
    """The same of a database with its tables made."""
    return Settings.read({"BOOKING_DATABASE_URL": migrated_url}).database_address


@pytest.fixture
async def ledger(migrated_address: str) -> AsyncIterator[Ledger]:
    """A ledger with its tables made, and the shards 0 and 1 in the epochs `first` and `second`."""
    ledger = Ledger.open(migrated_address)
    await ledger.initialize_shards(["first", "second"])
    yield ledger
    await ledger.close()
