"""`booking restore` at the keyboard: what it does besides restoring."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.restore_writer import RestoreWriter
from booking.operations.restore.command import DONE, REFUSED, UNREADABLE, restore
from tests.fixtures.spine import Spine, open_spine
from tests.fixtures.valkey import running_valkey
from tests.fixtures.waiting import eventually_async

LOAD_DELAY_US = 20_000
"""For each key, of which there are 60: more than a second, with a look at clients a kilobyte."""


@pytest.fixture
async def spine(tmp_path: Path) -> AsyncIterator[Spine]:
    with running_valkey("--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024") as server:
        async with open_spine(server.address, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as opened:
            yield opened


async def test_a_redis_that_still_reads_its_data_is_waited_for(
    spine: Spine, capsys: pytest.CaptureFixture[str]
) -> None:
    await spine.stock.sale(1)
    await spine.stock.office.book(1, "ann")
    await spine.drain()
    for number in range(60):
        await spine.stock.redis.set(f"ballast:{number}", "x" * 4_000)
    await spine.stock.redis.config_set("key-load-delay", LOAD_DELAY_US)
    reloading = asyncio.create_task(spine.stock.redis.execute_command("DEBUG", "RELOAD"))

    async def is_loading() -> bool:
        told = await spine.stock.redis.info("persistence")  # which is answered while a server loads
        return bool(told["loading"])

    await eventually_async(is_loading, "Redis reads its data")
    ended = await asyncio.to_thread(restore, spine.settings, (), yes=True, force=False)
    await reloading
    said = capsys.readouterr().err
    assert ended == DONE, said
    assert "the restoration waits for it" in said
    assert "nothing to restore" in said


async def test_a_database_that_has_lost_commits_is_not_restored_from_without_force(
    spine: Spine, capsys: pytest.CaptureFixture[str]
) -> None:
    await spine.stock.sale(1)
    await spine.drain()
    before = await spine.ledger.shards()
    await spine.stock.office.book(1, "ann")
    await spine.drain()
    async with spine.ledger._writing() as connection:
        await connection.execute(text("DELETE FROM bookings"))
        await connection.execute(text("DELETE FROM changes WHERE seq > 1"))
        await connection.execute(text("UPDATE events SET seq = 1"))
        await connection.execute(text(f"UPDATE shards SET cursor = '{before[1].cursor}' WHERE shard = 1"))
    await spine.stock.redis.delete(keys.epoch(1))  # as the persister does then
    assert await asyncio.to_thread(restore, spine.settings, (), yes=True, force=False) == REFUSED
    assert "The database lacks changes that it had of the shards 1" in capsys.readouterr().err
    assert await spine.stock.redis.hlen(keys.event_keys(1, 2)[1]) == 1, "ann's booking is there still"
    assert await asyncio.to_thread(restore, spine.settings, (1,), yes=True, force=True) == DONE
    assert await spine.stock.redis.hlen(keys.event_keys(1, 2)[1]) == 0


async def test_only_a_restoration_that_was_begun_is_called_half_done(
    spine: Spine, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = spine.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'none.sqlite3'}"})
    assert await asyncio.to_thread(restore, nowhere, (), yes=True, force=False) == UNREADABLE
    (told,) = capsys.readouterr().err.splitlines()
    assert told == f"booking: there is no {tmp_path / 'none.sqlite3'} yet; run booking migrate"

    async def cut_off(*_: object) -> None:
        raise InventoryUnavailable("the cable was pulled")

    await spine.stock.sale(1)
    await spine.drain()
    await spine.stock.redis.flushall()
    monkeypatch.setattr(RestoreWriter, "clear", cut_off)
    assert await asyncio.to_thread(restore, spine.settings, (), yes=True, force=False) == UNREADABLE
    assert capsys.readouterr().err.endswith(
        "booking: the cable was pulled\nbooking: nothing is sold from a half restored shard; run the command again\n"
    )
