"""Whether SQL has what was acknowledged: what an answer out of it, or at the level `database`, waits for."""

import asyncio
from pathlib import Path

from booking.inventory.box_office import BoxOffice, KnownLags
from booking.ledger.ledger import Ledger
from booking.ledger.records import ShardRecord
from booking.operations.read_your_writes import CATCH_UP_SECONDS_MAX, POLL_SECONDS, ReadYourWrites
from tests.fixtures.backend import Backend, open_backend

WAITERS = 400


async def test_a_change_that_redis_lost_does_not_count_as_saved(clean_valkey: str, tmp_path: Path) -> None:
    async with open_backend(clean_valkey, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as backend:
        read_your_writes = ReadYourWrites(backend.stock.office, backend.ledger)
        await backend.stock.sale(2)
        await backend.drain()
        assert await read_your_writes.saved()
        await backend.stock.office.book(2, "ann")
        await backend.stock.redis.flushall()
        assert not await read_your_writes.saved(), "it is in neither of the two"


class Counted:
    """The two sides that responses wait for. Counts the questions to each, and those under way at the same time."""

    def __init__(self, backend: Backend) -> None:
        self.office: BoxOffice = backend.stock.office
        self.ledger: Ledger = backend.ledger
        self.asked, self.together, self._under_way = {"redis": 0, "sql": 0}, 0, 0

    async def known_lags(self) -> KnownLags:
        self.asked["redis"] += 1
        return await self.office.known_lags()

    async def shards(self) -> dict[int, ShardRecord]:
        self.asked["sql"] += 1
        self._under_way += 1
        self.together = max(self.together, self._under_way)
        try:
            return await self.ledger.shards()
        finally:
            self._under_way -= 1

    def shard_of(self, event_id: int) -> int:
        return self.office.shard_of(event_id)


async def test_400_waiting_responses_share_their_questions_to_redis_and_to_sql(
    clean_valkey: str, tmp_path: Path
) -> None:
    async with open_backend(clean_valkey, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as backend:
        counted = Counted(backend)
        read_your_writes = ReadYourWrites(counted, counted)  # type: ignore[arg-type]  # the methods that it uses
        await backend.stock.sale(2)  # SQL stands still, so all of them wait until the end
        assert await asyncio.gather(*(read_your_writes.reach() for _ in range(WAITERS))) == [False] * WAITERS
        assert counted.asked["redis"] <= 2
        assert 2 <= counted.asked["sql"] <= CATCH_UP_SECONDS_MAX / POLL_SECONDS + 2
        assert counted.together == 1
        await backend.drain()
        assert await asyncio.gather(*(read_your_writes.reach(2) for _ in range(WAITERS))) == [True] * WAITERS


async def test_a_change_acknowledged_before_a_call_is_waited_for_whoever_asked_before(
    clean_valkey: str, tmp_path: Path
) -> None:
    async with open_backend(clean_valkey, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as backend:
        read_your_writes = ReadYourWrites(backend.stock.office, backend.ledger)
        earlier = [asyncio.create_task(read_your_writes.reach()) for _ in range(3)]
        await asyncio.sleep(0)  # their question is under way
        await backend.stock.sale(2)
        assert not await read_your_writes.reach(), "the change is not in SQL"
        await asyncio.gather(*earlier)


async def test_a_waiter_that_is_cancelled_does_not_end_the_wait_of_others(clean_valkey: str, tmp_path: Path) -> None:
    async with open_backend(clean_valkey, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as backend:
        read_your_writes = ReadYourWrites(backend.stock.office, backend.ledger)
        await backend.stock.sale(2)
        first, second = (asyncio.create_task(read_your_writes.reach()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await backend.drain()
        assert await second
