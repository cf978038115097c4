"""The first start: the first process sets the shards' epochs, and all others get the same ones."""

import asyncio
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.records import stored_epoch
from booking.inventory.streams import ChangeStreams, StreamRead
from booking.ledger import Ledger, LedgerUnavailable, migrate
from booking.ledger.records import ShardRecord
from booking.persister.bootstrap import initialize_shards
from booking.settings import Settings, SettingsError
from tests.fixtures.backend import open_backend
from tests.fixtures.forks import FORKS
from tests.fixtures.stock import SHARDS


def settings_for(redis_url: str, database_url: str, shards: int = SHARDS) -> Settings:
    environment = {"BOOKING_REDIS_URL": redis_url, "BOOKING_DATABASE_URL": database_url, "BOOKING_SHARDS": str(shards)}
    return Settings.read(environment)


async def found_once(settings: Settings) -> dict[int, ShardRecord]:
    """Initializes the shards as a process does at its start."""
    ledger, streams = Ledger.open(settings.database_address), ChangeStreams(settings.redis_address)
    try:
        return await initialize_shards(settings, ledger, streams)
    finally:
        await streams.close()
        await ledger.close()


def tell_epochs(settings: Settings, parent: Connection) -> None:
    parent.send(asyncio.run(found_once(settings)))


async def test_many_processes_at_once_come_to_the_same_epochs(clean_valkey: str, database_url: str) -> None:
    settings = settings_for(clean_valkey, database_url)
    await migrate(settings.database_address)
    pipes = [FORKS.Pipe(duplex=False) for _ in range(4)]
    processes = [FORKS.Process(target=tell_epochs, args=(settings, there)) for _, there in pipes]
    for process in processes:
        process.start()
    for _, there in pipes:
        there.close()
    said = [await asyncio.to_thread(here.recv) for here, _ in pipes]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)
    assert said == [await found_once(settings)] * len(said)


async def test_every_shard_has_an_epoch_of_its_own_on_both_sides(clean_valkey: str, tmp_path: Path) -> None:
    async with open_backend(clean_valkey, f"sqlite:///{tmp_path / 'b.sqlite3'}", tmp_path) as backend:
        records = await backend.ledger.shards()
        epochs = [records[shard].epoch for shard in range(SHARDS)]
        assert len(set(epochs)) == SHARDS
        assert [await backend.stock.redis.get(keys.epoch(shard)) for shard in range(SHARDS)] == [
            stored_epoch(epoch).encode() for epoch in epochs
        ]


async def test_initializing_again_changes_nothing(clean_valkey: str, database_url: str) -> None:
    settings = settings_for(clean_valkey, database_url)
    await migrate(settings.database_address)
    assert await found_once(settings) == await found_once(settings)


@pytest.mark.parametrize("shards", [1, SHARDS + 1, 1024])
async def test_another_number_of_shards_is_refused_in_one_line(clean_valkey: str, tmp_path: Path, shards: int) -> None:
    database_url = f"sqlite:///{tmp_path / 'b.sqlite3'}"
    await migrate(settings_for(clean_valkey, database_url).database_address)
    await found_once(settings_for(clean_valkey, database_url))
    with pytest.raises(SettingsError, match=rf"^BOOKING_SHARDS: .*{SHARDS} shards.*set it to {SHARDS}$"):
        await found_once(settings_for(clean_valkey, database_url, shards))
    assert len(await found_once(settings_for(clean_valkey, database_url))) == SHARDS


async def test_a_redis_that_came_back_empty_gets_no_epoch_for_what_sql_has(clean_valkey: str, tmp_path: Path) -> None:
    async with open_backend(clean_valkey, f"sqlite:///{tmp_path / 'b.sqlite3'}", tmp_path) as backend:
        await backend.stock.sale(1)
        await backend.drain()
        await backend.stock.redis.flushall()
        await found_once(backend.settings)
        assert await backend.stock.redis.get(keys.epoch(1)) is None
        # Of the other shard nothing was ever sold, so nothing of it can be missing.
        assert await backend.stock.redis.get(keys.epoch(0)) is not None
        assert [lag.whole for lag in await backend.stock.office.lags()] == [True, False]


async def test_an_initialization_that_broke_off_between_sql_and_redis_is_finished_later(
    clean_valkey: str, tmp_path: Path
) -> None:
    database_url = f"sqlite:///{tmp_path / 'b.sqlite3'}"
    settings = settings_for(clean_valkey, database_url)
    await migrate(settings.database_address)
    away = settings_for("unix:///nowhere/at-all.sock", database_url)
    with pytest.raises(InventoryUnavailable):
        await found_once(away)
    records = await found_once(settings)
    streams = ChangeStreams(clean_valkey)
    try:
        positions = {shard: (record.epoch, record.cursor) for shard, record in records.items()}
        assert await streams.read(positions, 1) == StreamRead()
    finally:
        await streams.close()


async def test_a_database_without_tables_is_unavailable(clean_valkey: str, database_url: str) -> None:
    with pytest.raises(LedgerUnavailable):
        await found_once(settings_for(clean_valkey, database_url))
