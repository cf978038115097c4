"""A restore brings back from the database all that Redis has lost, once, and nothing is sold before it is done."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from booking.cli.main import main
from booking.domain.details import Details, Price
from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable, ShardFenced
from booking.inventory.reader import InventoryReader
from booking.inventory.restore_writer import LeaseLost, RestoreWriter
from booking.inventory.streams import ChangeStreams
from booking.operations.audit.comparison import audit_event
from booking.operations.restore.restoration import Restored, lost_shards, restore_empty, restore_shard
from tests.fixtures.backend import Backend, on_sqlite, open_backend
from tests.fixtures.commands import run_command
from tests.fixtures.forks import ForkedProgram
from tests.fixtures.stock import SHARDS, contents
from tests.fixtures.waiting import eventually_async
from tests.rules.expired_holds import end_hold


@pytest.fixture
async def streams(backend: Backend) -> AsyncIterator[ChangeStreams]:
    opened = ChangeStreams(backend.settings.redis_address)
    yield opened
    await opened.close()


async def sell(backend: Backend, *event_ids: int) -> None:
    """Bookings of every kind for each event, one that expired among them; SQL has them all."""
    await asyncio.gather(*(sell_one(backend, event_id) for event_id in event_ids))
    await backend.drain()


async def sell_one(backend: Backend, event_id: int) -> None:
    office = backend.stock.office
    details = Details("One.\nTwo.", starts_at_ms=5, ends_at_ms=2**45, price=Price(4_500, "EUR"), offer_seconds=90)
    await backend.stock.sale(
        event_id, capacity=6, hold_seconds=60, waitlist_limit=50, opens_at_ms=5, closes_at_ms=2**45, details=details
    )
    await office.book(event_id, "late", 1)
    await office.book(event_id, "back", 1)
    for user in ("late", "back"):
        await end_hold(backend.stock, event_id, user)
    await office.change(event_id, {"name": "Ünter — 99 %", "max_per_user": 5, "venue": "Große Halle"})
    await office.book(event_id, "back", 2)
    for user in ("ann", "bob", "cid"):
        await office.book(event_id, user, 1)
    for user in ("ann", "bob"):
        await office.confirm(event_id, user)
    await office.book(event_id, "eve", 4)
    await office.book(event_id, "fay", 1)
    await office.cancel(event_id, "ann")
    await office.confirm(event_id, "back")
    await office.confirm(event_id, "cid")
    await office.cancel(event_id, "eve")


async def of_the_sale(backend: Backend) -> dict[str, object]:
    """What a restoration has to bring back: all but the streams, the epochs, and what counts calls and refusals."""
    kept: dict[str, object] = {}
    for event_id in (1, 2):
        event, bookings, waiting, holds, due, *_ = keys.event_keys(event_id, SHARDS)
        fields = await backend.stock.redis.hgetall(event)
        fields.pop(b"rules_version", None)  # a restored event has a new tag
        kept[f"event {event_id}"] = {name: text for name, text in fields.items() if not name.startswith(b"refused:")}
        # Without the end of an ended hold, which is not restored.
        texts = await backend.stock.redis.hgetall(bookings)
        kept[f"bookings of {event_id}"] = {
            user: text.rsplit(b" ", 1)[0] if text.startswith(b"1 x") else text for user, text in texts.items()
        }
        for key in (waiting, holds, due):
            kept[key.decode()] = await backend.stock.redis.zrange(key, 0, -1, withscores=True)
    return kept


async def restored(backend: Backend, streams: ChangeStreams, shard: int) -> Restored | None:
    done = await restore_shard(backend.settings, backend.ledger, streams, shard)
    records = await backend.ledger.shards()
    backend.stock.office.use_epochs([records[one].epoch for one in sorted(records)])
    return done


async def check_clean(backend: Backend, *event_ids: int) -> None:
    reader = InventoryReader(backend.settings.redis_address, SHARDS)
    try:
        for event_id in event_ids:
            audit = await audit_event(reader, backend.ledger, event_id)
            assert audit.differences == []
    finally:
        await reader.close()


async def test_an_emptied_shard_comes_back_as_it_was_and_sells_on(backend: Backend, streams: ChangeStreams) -> None:
    await sell(backend, 1, 2)
    before = await of_the_sale(backend)
    await backend.stock.redis.flushall()
    with pytest.raises(ShardFenced):
        await backend.stock.office.book(1, "zoe")
    assert await lost_shards(backend.ledger, streams) == [0, 1]
    done = await restored(backend, streams, 1)
    assert done is not None
    assert (done.events, done.saved, done.discarded) == (1, 0, False)
    assert await lost_shards(backend.ledger, streams) == [0], "the other is a matter of its own"
    with pytest.raises(ShardFenced):
        await backend.stock.office.book(2, "zoe")
    await restored(backend, streams, 0)
    assert await of_the_sale(backend) == before
    office = backend.stock.office
    assert (await office.confirm(1, "late")).status is Status.HOLD_EXPIRED, "a restoration does not forget that"
    assert (await office.book(1, "bob")).status is Status.ALREADY_BOOKED
    assert (await office.book(1, "zoe")).booking is not None
    assert await office.last_event_id() == 2, "no event's id is given out twice"
    await backend.drain()
    await check_clean(backend, 1, 2)


async def test_changes_only_in_redis_are_saved_before_their_shard_is_rewritten(
    backend: Backend, streams: ChangeStreams
) -> None:
    await sell(backend, 1)
    await backend.stock.office.change(1, {"capacity": 9})
    await backend.stock.office.book(1, "last")
    await backend.stock.redis.delete(keys.epoch(1))
    done = await restored(backend, streams, 1)
    assert done is not None
    assert (done.saved, done.discarded) == (2, False)
    found = await backend.stock.office.get_booking(1, "last")
    assert found.booking is not None
    await check_clean(backend, 1)


async def check_ann_is_kept(backend: Backend, streams: ChangeStreams, *, carried: int, discarded: bool) -> None:
    """Restores the shard of event 1 and checks that ann's acknowledged booking is there."""
    done = await restored(backend, streams, 1)
    assert done is not None
    assert (done.saved, done.discarded) == (carried, discarded)
    assert (await backend.stock.office.get_booking(1, "ann")).booking is not None
    await check_clean(backend, 1)


async def test_a_restore_succeeds_if_a_persister_saves_the_rest_first(
    backend: Backend, streams: ChangeStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.stock.sale(1, capacity=9)
    await backend.drain()
    await backend.stock.office.book(1, "ann")
    rest = streams.read_remaining

    async def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(streams, "read_remaining", rest)
        batch, readable = await rest(*arguments)
        assert batch is not None
        await backend.ledger.apply([batch])  # it had read the same before the shard was fenced
        return batch, readable

    monkeypatch.setattr(streams, "read_remaining", overtaken)
    await backend.stock.redis.delete(keys.epoch(1))
    await check_ann_is_kept(backend, streams, carried=0, discarded=False)


async def test_changes_before_an_unreadable_entry_are_saved(backend: Backend, streams: ChangeStreams) -> None:
    await backend.stock.sale(1, capacity=9)
    await backend.drain()
    await backend.stock.office.book(1, "ann")
    await backend.stock.redis.xadd(keys.changes(1), {"c": "no words of ours"})
    await backend.stock.redis.delete(keys.epoch(1))
    await check_ann_is_kept(backend, streams, carried=1, discarded=True)


@on_sqlite
@pytest.mark.parametrize("follow", [0, 1, 2, 11, 12])
async def test_changes_before_a_gap_are_saved(backend: Backend, streams: ChangeStreams, follow: int) -> None:
    await backend.stock.sale(1, capacity=20)
    await backend.drain()
    for number in range(12):
        await backend.stock.office.book(1, f"buyer-{number}")
    await backend.stock.redis.delete(keys.epoch(1))
    entries = await backend.stock.redis.xrange(keys.changes(1))
    for entry_id, _ in entries[follow : follow + 1]:  # the one after it follows on nothing
        await backend.stock.redis.xdel(keys.changes(1), entry_id)
    done = await restored(backend, streams, 1)
    assert done is not None
    saved = min(follow, 12)
    assert (done.saved, done.discarded) == (saved, follow < 11)
    assert done.bookings == saved
    await check_clean(backend, 1)


async def test_a_gap_in_one_event_does_not_affect_other_events(backend: Backend, streams: ChangeStreams) -> None:
    office = backend.stock.office
    for event_id in (1, 3, 5):  # of one shard
        await backend.stock.sale(event_id, capacity=20)
    await backend.drain()
    for number in range(6):
        for event_id in (1, 3, 5):
            await office.book(event_id, f"buyer-{number}")
    await backend.stock.redis.delete(keys.epoch(1))
    entries = await backend.stock.redis.xrange(keys.changes(1))
    for entry_id, _ in (entries[0], entries[7]):  # the first of event 1, the third of event 3
        await backend.stock.redis.xdel(keys.changes(1), entry_id)
    done = await restored(backend, streams, 1)
    assert done is not None
    assert (done.saved, done.discarded, done.bookings) == (8, True, 8)
    found = {event_id: await office.get_event(event_id) for event_id in (1, 3, 5)}
    assert {event_id: event and event.tickets_sold for event_id, event in found.items()} == {1: 0, 3: 2, 5: 6}
    await check_clean(backend, 1, 3, 5)


async def test_bookings_sold_from_an_old_copy_are_dropped_and_reported(
    backend: Backend, streams: ChangeStreams
) -> None:
    await backend.stock.sale(1, capacity=3)
    await backend.drain()
    dumps = {key: await backend.stock.redis.dump(key) for key in await backend.stock.redis.keys("*")}
    await backend.stock.office.book(1, "ann", 3)
    await backend.drain()
    await backend.stock.redis.flushall()
    for key, dump in dumps.items():
        await backend.stock.redis.restore(key, 0, dump)
    assert (await backend.stock.office.book(1, "bob")).status is Status.BOOKED, "the old copy was detected too early"
    await backend.drain()
    with pytest.raises(ShardFenced):
        await backend.stock.office.book(1, "cid")
    done = await restored(backend, streams, 1)
    assert done is not None
    assert done.discarded
    assert (await backend.stock.office.book(1, "bob")).status is Status.JOINED
    await backend.drain()
    await check_clean(backend, 1)


async def test_an_intact_shard_is_not_restored_without_force(backend: Backend, streams: ChangeStreams) -> None:
    await sell(backend, 1)
    before = await contents(backend.stock.redis)
    assert await restored(backend, streams, 1) is None
    assert await contents(backend.stock.redis) == before
    done = await restore_shard(backend.settings, backend.ledger, streams, 1, even_if_whole=True)
    assert done is not None
    await check_clean(backend, 1)


async def test_a_start_restores_an_empty_shard_and_no_other(backend: Backend, streams: ChangeStreams) -> None:
    await sell(backend, 1)
    await backend.stock.redis.set(keys.epoch(1), "another")
    await restore_empty(backend.settings, backend.ledger, streams, await lost_shards(backend.ledger, streams))
    assert await lost_shards(backend.ledger, streams) == [1], "an operator has to decide about existing data"
    await backend.stock.redis.flushall()
    await restore_empty(backend.settings, backend.ledger, streams, await lost_shards(backend.ledger, streams))
    assert await lost_shards(backend.ledger, streams) == []
    await check_clean(backend, 1)


async def test_only_one_of_five_simultaneous_restores_writes(backend: Backend, streams: ChangeStreams) -> None:
    await sell(backend, 1)
    await backend.stock.redis.flushall()
    done = await asyncio.gather(
        *(restore_shard(backend.settings, backend.ledger, streams, 1, only_empty=True) for _ in range(5))
    )
    assert sum(one is not None for one in done) == 1
    await check_clean(backend, 1)


async def test_a_lease_that_was_lost_ends_a_restoration_before_it_opens_the_shard(backend: Backend) -> None:
    rebuild = RestoreWriter(backend.settings.redis_address, 1, SHARDS, "me")
    try:
        assert await rebuild.take_lease()
        other = RestoreWriter(backend.settings.redis_address, 1, SHARDS, "you")
        assert not await other.take_lease()
        await other.close()
        await backend.stock.redis.flushall()
        with pytest.raises(LeaseLost):
            await rebuild.keep_lease()
        with pytest.raises(LeaseLost):
            await rebuild.finish("epoch", 1)
        assert await backend.stock.redis.get(keys.epoch(1)) is None
        await rebuild.give_lease_back()
    finally:
        await rebuild.close()
    gone = RestoreWriter("unix:///nowhere/at-all.sock", 1, SHARDS, "me")
    with pytest.raises(InventoryUnavailable):
        await gone.is_empty()
    await gone.close()


@on_sqlite
@pytest.mark.parametrize("standing_still", ["fence", "clear", "write_bookings", "write_event", "finish"])
async def test_a_restoration_that_has_lost_its_lease_leaves_the_shard_alone(
    backend: Backend, streams: ChangeStreams, monkeypatch: pytest.MonkeyPatch, standing_still: str
) -> None:
    await backend.stock.sale(1, capacity=5)
    await backend.stock.office.book(1, "ann")
    await backend.drain()
    await backend.stock.redis.delete(keys.epoch(1))
    step, stands, goes_on = getattr(RestoreWriter, standing_still), asyncio.Event(), asyncio.Event()

    async def first_stands(*arguments: object) -> None:
        if not stands.is_set():
            stands.set()
            await goes_on.wait()
        await step(*arguments)

    monkeypatch.setattr(RestoreWriter, standing_still, first_stands)
    late = asyncio.create_task(restore_shard(backend.settings, backend.ledger, streams, 1))
    await stands.wait()
    await backend.stock.redis.delete(keys.restoring(1))  # as if its lease had run out
    assert await restored(backend, streams, 1) is not None
    booked = await backend.stock.office.book(1, "bob")
    await backend.stock.office.cancel(1, "ann")
    before = await contents(backend.stock.redis)
    goes_on.set()
    assert await late is None
    assert await contents(backend.stock.redis) == before
    assert (await backend.stock.office.get_booking(1, "bob")).booking == booked.booking
    await backend.drain()
    await check_clean(backend, 1)


async def test_a_late_restoration_does_not_replace_the_epoch_that_another_has_set(
    backend: Backend, streams: ChangeStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sell(backend, 1)
    await backend.stock.redis.flushall()
    use_epochs, other = backend.ledger.replace_shard, list[Restored | None]()

    async def overtaken(*arguments: Any) -> bool:
        monkeypatch.setattr(backend.ledger, "replace_shard", use_epochs)
        await backend.stock.redis.delete(keys.restoring(1))  # as if its lease had run out
        other.append(await restored(backend, streams, 1))
        return await use_epochs(*arguments)

    monkeypatch.setattr(backend.ledger, "replace_shard", overtaken)
    assert await restore_shard(backend.settings, backend.ledger, streams, 1) is None
    assert other[0] is not None
    assert await lost_shards(backend.ledger, streams) == [0]
    assert (await backend.stock.office.book(1, "zoe")).booking is not None
    await backend.drain()
    await check_clean(backend, 1)


def settings_of(backend: Backend) -> dict[str, str]:
    return {
        "BOOKING_REDIS_URL": backend.settings.redis_address,
        "BOOKING_DATABASE_URL": backend.settings.database_url or "",
        "BOOKING_SHARDS": str(SHARDS),
        "BOOKING_DATA_DIR": str(backend.settings.data_dir),
    }


def restore_by_command(backend: Backend) -> "subprocess.CompletedProcess[str]":
    return run_command(["restore", "--yes"], settings_of(backend))


def begin_to_restore(backend: Backend) -> ForkedProgram:
    environment = os.environ | settings_of(backend)
    return ForkedProgram(main, ["restore", "--yes"], environment, output=Path(os.devnull))


async def has_begun(backend: Backend, command: ForkedProgram) -> bool:
    """Whether a restoration has taken its lease or has already ended."""
    return command.poll() is not None or bool(await backend.stock.redis.exists(keys.restoring(1)))


async def test_a_restoration_killed_at_any_moment_leaves_nothing_to_sell_and_is_run_again(
    clean_valkey: str, tmp_path: Path
) -> None:
    async with open_backend(clean_valkey, f"sqlite:///{tmp_path / 'booking.sqlite3'}", tmp_path) as backend:
        await backend.stock.sale(1, capacity=50_000)
        for _ in range(20):
            await asyncio.gather(*(backend.stock.office.book(1, os.urandom(6).hex()) for _ in range(200)))
        await backend.drain()
        await backend.stock.redis.flushall()
        for killed in range(3):
            one = begin_to_restore(backend)
            await eventually_async(partial(has_begun, backend, one), "the restoration begins")
            await asyncio.sleep(0.004 * killed)
            one.kill()
            one.wait()
            if await backend.stock.redis.exists(keys.epoch(1)):
                break  # it was through: the shard is whole
            with pytest.raises(ShardFenced):
                await backend.stock.office.book(1, "zoe")
            await backend.stock.redis.delete(keys.restoring(0), keys.restoring(1))  # as if its lease had run out
        ended = restore_by_command(backend)
        assert ended.returncode == 0, ended.stderr + ended.stdout
        assert "all clean" in ended.stdout or "nothing to restore" in ended.stderr
        again = restore_by_command(backend)
        assert (again.returncode, "nothing to restore" in again.stderr) == (0, True)
        await check_clean(backend, 1)
