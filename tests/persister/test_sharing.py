"""Several persisters share the shards, instead of repeating each other's work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from booking.inventory import keys
from booking.inventory.streams import ChangeStreams
from booking.ledger import CursorMoved, writer
from booking.persister import persister as module
from booking.persister.persister import Persister, run_when_migrated
from booking.settings import SettingsError
from tests.fixtures.backend import Backend
from tests.fixtures.notes import Notes, take_notes
from tests.fixtures.stock import SHARDS
from tests.fixtures.waiting import eventually_async

LEASE_MS = 60_000


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    return take_notes(monkeypatch, module)


@pytest.fixture
async def streams(clean_valkey: str) -> AsyncIterator[ChangeStreams]:
    opened = ChangeStreams(clean_valkey)
    yield opened
    await opened.close()


def rows_of(persister: Persister) -> float:
    return persister.metrics.counters.get(("booking_persisted_rows_total", ""), 0)


@asynccontextmanager
async def running(backend: Backend) -> AsyncIterator[Persister]:
    """A persister that runs, and is stopped at the end."""
    stop = asyncio.Event()
    async with backend.persister() as persister:
        task = asyncio.create_task(persister.run(stop))
        try:
            yield persister
        finally:
            stop.set()
            await task


async def alive(backend: Backend) -> list[int]:
    """How many persisters share each shard."""
    return [await backend.stock.redis.zcard(keys.persisters(shard)) for shard in range(SHARDS)]


async def test_each_shard_has_one_of_the_persisters_that_are_alive(streams: ChangeStreams) -> None:
    shards = set(range(8))
    assert await streams.share("a", shards, LEASE_MS) == shards
    await streams.share("b", shards, LEASE_MS)
    await streams.share("c", shards, LEASE_MS)
    shared = [await streams.share(name, shards, LEASE_MS) for name in "abc"]
    assert sorted(shard for one in shared for shard in one) == sorted(shards)
    assert sorted(map(len, shared)) == [2, 3, 3]
    await streams.leave("b", shards)
    shared = [await streams.share(name, shards, LEASE_MS) for name in "ac"]
    assert sorted(shard for one in shared for shard in one) == sorted(shards)


async def test_a_killed_persisters_shards_go_to_the_others_when_its_lease_ends(streams: ChangeStreams) -> None:
    shards = set(range(4))
    await streams.share("killed", shards, 50)
    assert await streams.share("other", shards, LEASE_MS) != shards

    async def has_all() -> bool:
        return await streams.share("other", shards, LEASE_MS) == shards

    await eventually_async(has_all, "the other one has all shards")


async def test_a_lease_written_while_the_clock_was_ahead_does_not_count(
    backend: Backend, streams: ChangeStreams
) -> None:
    hour_ahead_ms = (await backend.stock.redis.time())[0] * 1000 + 3_600_000
    await backend.stock.redis.zadd(keys.persisters(0), {"a": hour_ahead_ms})
    assert await streams.share("b", [0], LEASE_MS) == {0}


async def test_two_persisters_share_the_work_and_meet_no_moved_cursor(
    backend: Backend, notes: Notes, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_MS", LEASE_MS)  # so that none ends on a busy machine
    moved: list[CursorMoved] = []

    class Noted(CursorMoved):
        def __init__(self, *reason: Any) -> None:
            super().__init__(*reason)
            moved.append(self)

    for event_id in (1, 2, 3):
        await backend.stock.sale(event_id, capacity=200)
    stop = asyncio.Event()
    async with running(backend) as one, running(backend) as other:
        await eventually_async(
            lambda: sorted([tuple(one._mine or ()), tuple(other._mine or ())]) == [(0,), (1,)], "each has one shard"
        )

        async def is_idle() -> bool:
            return sum(lag.entries for lag in await backend.stock.office.lags()) == 0

        await eventually_async(is_idle, "what one of them had read before is persisted")
        assert await alive(backend) == [2] * SHARDS
        monkeypatch.setattr(writer, "CursorMoved", Noted)
        before = rows_of(one) + rows_of(other)
        load = asyncio.create_task(backend.load(seed, stop))
        await eventually_async(
            lambda: min(rows_of(one), rows_of(other)) > 50 and rows_of(one) + rows_of(other) > before + 200,
            "both persist changes",
        )
        stop.set()
        await load
    await backend.drain()
    await backend.check_both_sides_agree()
    assert await alive(backend) == [0] * SHARDS, "a stopped one leaves its shards at once"
    assert moved == []
    assert [line for line in notes.lines if line[0] == "error"] == []


async def test_a_persister_waits_for_its_tables_and_refuses_newer_ones(backend: Backend, notes: Notes) -> None:
    stop = asyncio.Event()

    async def at(migration: str) -> None:
        async with backend.ledger._writing() as connection:
            await connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{migration}'")

    async with backend.ledger.reading() as connection:
        newest = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar_one()
    await at("0001")
    await backend.stock.sale(1, capacity=5)
    task = asyncio.create_task(run_when_migrated(backend.settings, stop))
    await eventually_async(lambda: bool(notes.lines), "it says that it waits")
    (line,) = notes.lines
    assert "its tables are at migration 0001" in str(line)
    assert await backend.ledger.event(1) is None
    await at(newest)

    async def persisted() -> bool:
        return await backend.ledger.event(1) is not None

    await eventually_async(persisted, "it persists once the tables are migrated")
    stop.set()
    await task
    await at("9999")
    with pytest.raises(SettingsError, match=r"BOOKING_DATABASE_URL: .* install the version that migrated it"):
        await run_when_migrated(backend.settings, asyncio.Event())
    await at(newest)
