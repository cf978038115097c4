"""`booking restore` as a command: what it waits for, refuses and reports."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.restore_writer import RestoreWriter
from booking.operations.restore.command import DONE, REFUSED, UNREADABLE, restore
from tests.fixtures.backend import Backend, open_backend
from tests.fixtures.valkey import running_valkey
from tests.fixtures.waiting import eventually_async

LOAD_DELAY_US = 20_000
"""For each key, of which there are 60: more than a second, with a look at clients a kilobyte."""


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    with running_valkey("--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024") as server:
        async with open_backend(server.address, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as opened:
            yield opened


async def test_a_restore_waits_for_a_redis_that_is_loading(
    backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    await backend.stock.sale(1)
    await backend.stock.office.book(1, "ann")
    await backend.drain()
    for number in range(60):
        await backend.stock.redis.set(f"ballast:{number}", "x" * 4_000)
    await backend.stock.redis.config_set("key-load-delay", LOAD_DELAY_US)
    reloading = asyncio.create_task(backend.stock.redis.execute_command("DEBUG", "RELOAD"))

    async def is_loading() -> bool:
        told = await backend.stock.redis.info("persistence")  # which is answered while a server loads
        return bool(told["loading"])

    await eventually_async(is_loading, "Redis reads its data")
    ended = await asyncio.to_thread(restore, backend.settings, (), yes=True, force=False)
    await reloading
    said = capsys.readouterr().err
    assert ended == DONE, said
    assert "the restoration waits for it" in said
    assert "nothing to restore" in said


async def test_a_database_that_has_lost_commits_is_not_restored_from_without_force(
    backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    await backend.stock.sale(1)
    await backend.drain()
    before = await backend.ledger.shards()
    await backend.stock.office.book(1, "ann")
    await backend.drain()
    async with backend.ledger._writing() as connection:
        await connection.execute(text("DELETE FROM bookings"))
        await connection.execute(text("DELETE FROM changes WHERE seq > 1"))
        await connection.execute(text("UPDATE events SET seq = 1"))
        await connection.execute(text(f"UPDATE shards SET cursor = '{before[1].cursor}' WHERE shard = 1"))
    await backend.stock.redis.delete(keys.epoch(1))  # as the persister does then
    assert await asyncio.to_thread(restore, backend.settings, (), yes=True, force=False) == REFUSED
    assert "The database lacks changes that it had of the shards 1" in capsys.readouterr().err
    assert await backend.stock.redis.hlen(keys.event_keys(1, 2)[1]) == 1, "ann's booking is there still"
    assert await asyncio.to_thread(restore, backend.settings, (1,), yes=True, force=True) == DONE
    assert await backend.stock.redis.hlen(keys.event_keys(1, 2)[1]) == 0


async def test_only_a_restore_that_has_begun_is_reported_as_incomplete(
    backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = backend.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'none.sqlite3'}"})
    assert await asyncio.to_thread(restore, nowhere, (), yes=True, force=False) == UNREADABLE
    (told,) = capsys.readouterr().err.splitlines()
    assert told == f"booking: there is no {tmp_path / 'none.sqlite3'} yet; run booking migrate"

    async def cut_off(*_: object) -> None:
        raise InventoryUnavailable("the cable was pulled")

    await backend.stock.sale(1)
    await backend.drain()
    await backend.stock.redis.flushall()
    monkeypatch.setattr(RestoreWriter, "clear", cut_off)
    assert await asyncio.to_thread(restore, backend.settings, (), yes=True, force=False) == UNREADABLE
    assert capsys.readouterr().err.endswith(
        "booking: the cable was pulled\nbooking: nothing is sold from a half restored shard; run the command again\n"
    )
