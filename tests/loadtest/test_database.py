"""SQL is read after it has caught up, and the database of another service is recognized."""

from pathlib import Path
from time import perf_counter_ns

import pytest

from booking.domain.changes import ShardBatch
from booking.ledger import Ledger, LedgerUnavailable, migrate
from booking.loadtest.database import Database
from tests.loadtest.test_history import HONEST, RECORDS, TICKETS


@pytest.fixture
async def address(tmp_path: Path) -> str:
    """A SQLite database that holds the honest history."""
    address = f"sqlite+aiosqlite:///{tmp_path / 'booking.sqlite3'}"
    await migrate(address)
    ledger = Ledger.open(address)
    await ledger.initialize_shards(["epoch"])
    await ledger.apply([ShardBatch(0, "epoch", "0-0", "8-0", HONEST)])
    await ledger.close()
    return address


async def test_a_history_is_read_and_is_clean(address: str) -> None:
    database = Database(address, 1)
    try:
        caught_up = await database.caught_up("Load test", 8, perf_counter_ns(), 2.0)
        history = await database.history(TICKETS)
    finally:
        await database.close()
    assert caught_up is not None
    assert (caught_up.reached, caught_up.seq) == (True, 8)
    history.compare(RECORDS, redis_seq=8)
    assert history.findings.examples == {}
    assert sorted(history.live) == ["buyer-2", "buyer-3"]


async def test_sql_that_stays_behind_is_reported(address: str) -> None:
    database = Database(address, 1)
    try:
        caught_up = await database.caught_up("Load test", 9, perf_counter_ns(), 0.1)
    finally:
        await database.close()
    assert caught_up is not None
    assert (caught_up.reached, caught_up.seq) == (False, 8)
    assert caught_up.seconds > 0.1


async def test_a_sale_that_never_reached_sql_is_reported(address: str) -> None:
    database = Database(address, 2)
    try:
        caught_up = await database.caught_up("Load test", 1, perf_counter_ns(), 0.1)
    finally:
        await database.close()
    assert caught_up is not None
    assert (caught_up.reached, caught_up.seq) == (False, 0)


async def test_the_database_of_another_service_is_recognized(address: str) -> None:
    database = Database(address, 1)
    try:
        assert await database.caught_up("Another sale", 1, perf_counter_ns(), 0.1) is None
    finally:
        await database.close()


async def test_a_missing_database_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'none' / 'booking.sqlite3'}", 1)
    try:
        with pytest.raises(LedgerUnavailable):
            await database.caught_up("Load test", 1, perf_counter_ns(), 0.1)
    finally:
        await database.close()


async def test_sql_is_not_called_equal_if_redis_could_not_be_read(address: str) -> None:
    database = Database(address, 1)
    try:
        caught_up = await database.caught_up("Load test", None, perf_counter_ns(), 60.0)
    finally:
        await database.close()
    assert caught_up is not None
    assert (caught_up.reached, caught_up.seq, caught_up.redis_seq) == (False, 8, None)
