"""Whether SQL has what was acknowledged: an answer from SQL, or at the level `database`, waits for it."""

from pathlib import Path

from booking.web.read_your_writes import ReadYourWrites
from tests.fixtures.backend import open_backend


async def test_a_change_that_redis_lost_does_not_count_as_saved(clean_valkey: str, tmp_path: Path) -> None:
    async with open_backend(clean_valkey, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as backend:
        read_your_writes = ReadYourWrites(backend.stock.office, backend.ledger)
        await backend.stock.sale(2)
        await backend.drain()
        assert await read_your_writes.saved()
        await backend.stock.office.book(2, "ann")
        await backend.stock.redis.flushall()
        assert not await read_your_writes.saved(), "it is in neither of the two"
