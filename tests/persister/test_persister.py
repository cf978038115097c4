"""Every change gets from the stream into SQL exactly once, despite kills, concurrent persisters and outages."""

import asyncio
import contextlib
import errno
import os
import random
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest
from sqlalchemy import text

from booking.domain.changes import ShardBatch
from booking.inventory import keys
from booking.inventory.errors import ShardFenced
from booking.inventory.streams import ChangeStreams
from booking.ledger import LedgerError, LedgerUnavailable, engine
from booking.persister import persister as module
from booking.persister.persister import FallenBehind, Persister, run
from booking.settings import Settings, SettingsError
from tests.fixtures.backend import Backend, open_backend
from tests.fixtures.notes import Notes, take_notes
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.proxy import LossyProxy, lossy_proxy
from tests.fixtures.stock import SHARDS
from tests.fixtures.waiting import eventually_async

CHECKOUT = Path(__file__).parents[2]
KILLS = 5


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    return take_notes(monkeypatch, module)


@pytest.fixture
async def backend(backend: Backend) -> Backend:
    return await on_sale(backend)


@pytest.fixture
async def sqlite_backend(sqlite_backend: Backend) -> Backend:
    return await on_sale(sqlite_backend)


async def on_sale(backend: Backend) -> Backend:
    """Creates three events."""
    for event_id in (1, 2, 3):
        await backend.stock.sale(event_id, capacity=200)
    return backend


@asynccontextmanager
async def loaded(backend: Backend, seed: int) -> AsyncIterator[None]:
    """Runs a load of bookings and cancellations."""
    stop = asyncio.Event()
    load = asyncio.create_task(backend.load(seed, stop))
    try:
        yield
    finally:
        stop.set()
        await load


async def left(backend: Backend) -> int:
    return sum(lag.entries for lag in await backend.stock.office.lags())


async def test_every_change_is_persisted_once_and_trimmed_from_its_stream(backend: Backend, seed: int) -> None:
    async with backend.persister() as persister:
        stop = asyncio.Event()
        running = asyncio.create_task(persister.run(stop))
        async with loaded(backend, seed):
            await backend.sells_on(60)
        stop.set()
        await running
    await backend.check_both_sides_agree()


async def test_one_call_persists_no_more_of_a_shard_than_its_share(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_ENTRIES", 2)
    for number in range(5):
        await sqlite_backend.stock.office.book(1, f"buyer-{number}")
    async with sqlite_backend.persister() as persister:
        carried = []
        while entries := await persister.consume():
            carried.append(entries)
        assert carried == [3, 2, 2, 1]  # the opening of event 2 is another shard's
        assert await persister.consume() == 0
    await sqlite_backend.check_both_sides_agree()


async def test_two_persisters_at_once_persist_every_change_once(backend: Backend, notes: Notes, seed: int) -> None:
    stop = asyncio.Event()
    async with backend.persister() as one, backend.persister() as other:
        running = [asyncio.create_task(each.run(stop)) for each in (one, other)]
        async with loaded(backend, seed):
            await backend.sells_on(100)
        stop.set()
        await asyncio.gather(*running)
    await backend.drain()
    await backend.check_both_sides_agree()
    assert [line for line in notes.lines if line[0] == "error"] == []


async def test_the_next_persister_continues_exactly_where_a_killed_one_stopped(backend: Backend, seed: int) -> None:
    moments = random.Random(f"{seed}/moments")
    forks = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fixtures.persister_forks", backend.settings.model_dump_json(),
        cwd=CHECKOUT, stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    assert forks.stdin is not None
    assert forks.stdout is not None
    loop = asyncio.get_running_loop()
    try:
        await forks.stdout.readline()
        async with loaded(backend, seed):
            work_seconds = 0.0  # how long a persister needs until its first commit on this machine
            for round_ in range(KILLS + 1):
                began, before = loop.time(), await cursors(backend)
                forks.stdin.write(b"go\n")
                pid = int(await forks.stdout.readline())
                if round_ % 2 == 0:  # killed after its first commit; every other one perhaps before it
                    await eventually_async(partial(has_moved, backend, before), "a change is persisted")
                    work_seconds = loop.time() - began
                await asyncio.sleep(moments.uniform(0, 1.3 * work_seconds))
                os.kill(pid, signal.SIGKILL)
    finally:
        forks.stdin.close()
        assert await forks.wait() == 0
    await backend.drain()
    await backend.check_both_sides_agree()


async def cursors(backend: Backend) -> list[str]:
    """Up to where each shard's stream is in SQL."""
    return [record.cursor for record in (await backend.ledger.shards()).values()]


async def has_moved(backend: Backend, before: list[str]) -> bool:
    return await cursors(backend) != before


async def test_committed_entries_that_were_not_trimmed_are_not_persisted_again(backend: Backend) -> None:
    await backend.stock.office.book(1, "ann")
    positions = {shard: (record.epoch, record.cursor) for shard, record in (await backend.ledger.shards()).items()}
    streams = ChangeStreams(backend.settings.redis_address)
    try:
        batches = (await streams.read(positions, 1_000)).batches
    finally:
        await streams.close()
    await backend.ledger.apply(batches)  # the first persister is killed here
    assert await left(backend) == 4
    async with backend.persister() as persister:
        assert await persister.consume() == 0
    assert await left(backend) == 0, "the lag never ends"
    await backend.check_both_sides_agree()


async def test_a_persister_whose_cursor_another_has_moved_reads_again(backend: Backend, notes: Notes) -> None:
    async with backend.persister() as late:
        await late.consume()
        await backend.stock.office.book(1, "ann")
        read = late._streams.read

        async def overtaken(*arguments: Any) -> Any:
            found = await read(*arguments)
            if found.batches:
                late._streams.read = read  # type: ignore[method-assign]  # once
                await backend.drain()
            return found

        late._streams.read = overtaken  # type: ignore[method-assign, assignment]  # the other persister runs between its two steps
        stop = asyncio.Event()
        running = asyncio.create_task(late.run(stop))
        await is_persisted(backend, 1, 2)
        await backend.stock.office.book(1, "bob")
        await is_persisted(backend, 1, 3)
        stop.set()
        await running
    await backend.check_both_sides_agree()
    assert [event for level, event, _ in notes.lines if level == "warning"] == [], "a warning was logged"


async def is_persisted(backend: Backend, event_id: int, seq: int) -> None:
    """Waits until SQL has the event's changes up to `seq`."""

    async def has_it() -> bool:
        record = await backend.ledger.event(event_id)
        return record is not None and record.seq >= seq

    await eventually_async(has_it, f"SQL has change {seq} of event {event_id}")


async def test_a_commit_whose_answer_was_lost_is_not_made_again(backend: Backend, notes: Notes) -> None:
    lost = 0
    async with backend.persister() as persister:
        apply = persister._ledger.apply

        async def losing(batches: Sequence[ShardBatch]) -> int:
            nonlocal lost
            await apply(batches)
            lost += 1
            if lost <= 3:
                raise LedgerUnavailable("the connection broke")
            return 0

        persister._ledger.apply = losing  # type: ignore[method-assign]  # commits, and says that it could not
        stop = asyncio.Event()
        running = asyncio.create_task(persister.run(stop))
        for number in range(4):
            await backend.stock.office.book(1, f"buyer-{number}")
            await is_persisted(backend, 1, number + 2)
        await eventually_async(lambda: none_left(backend), "every entry is trimmed")
        stop.set()
        await running
    await backend.check_both_sides_agree()
    assert [event for _, event, _ in notes.lines].count("the persister waits") >= 1
    assert notes.lines[-1][1] == "the persister resumes"


async def none_left(backend: Backend) -> bool:
    return await left(backend) == 0


async def test_a_stop_first_persists_the_remaining_entries(backend: Backend) -> None:
    for number in range(50):
        await backend.stock.office.book(1, f"buyer-{number}")
    stop = asyncio.Event()
    stop.set()
    await module.run(backend.settings, stop)
    await backend.check_both_sides_agree()


async def test_a_stop_ends_even_if_others_never_stop_selling(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAIN_SECONDS_MAX", 0.05)
    async with sqlite_backend.persister() as persister:
        consume, carried = persister.consume, 0

        async def never_empty() -> int:
            nonlocal carried
            await sqlite_backend.stock.office.take_token(1, "somebody")
            carried += 1
            return await consume() or 1

        monkeypatch.setattr(persister, "consume", never_empty)
        stop = asyncio.Event()
        stop.set()
        async with asyncio.timeout(60):
            await persister.run(stop)
    assert carried
    assert await left(sqlite_backend) == 0


async def test_a_stop_does_not_wait_for_a_database_that_is_away(sqlite_backend: Backend, notes: Notes) -> None:
    await sqlite_backend.stock.office.book(1, "ann")
    async with sqlite_backend.persister() as persister:

        async def away(_: Sequence[ShardBatch]) -> int:
            raise LedgerUnavailable("the server is stopping")

        persister._ledger.apply = away  # type: ignore[method-assign, assignment]  # the database has just become unreachable
        stop = asyncio.Event()
        stop.set()
        await persister.run(stop)
    assert notes.lines[-1][1].startswith("the persister stops with entries left")
    assert await left(sqlite_backend) == 4
    await sqlite_backend.drain()
    await sqlite_backend.check_both_sides_agree()


async def test_a_locked_sqlite_file_stops_no_sale_and_loses_no_change(
    sqlite_backend: Backend, notes: Notes, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(engine, "LOCK_WAIT_MS", 20)
    path = sqlite_backend.settings.database_address.removeprefix("sqlite+aiosqlite:///")
    stop = asyncio.Event()
    async with sqlite_backend.persister() as persister, loaded(sqlite_backend, seed):
        running = asyncio.create_task(persister.run(stop))
        await is_persisted(sqlite_backend, 1, 5)
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")  # it may have to wait for the persister
            await is_logged(notes, "the persister waits")
            await sqlite_backend.sells_on()
            other.execute("ROLLBACK")
        await is_logged(notes, "the persister resumes")
        stop.set()
        await running
    await sqlite_backend.drain()
    await sqlite_backend.check_both_sides_agree()
    (reason,) = {fields["reason"] for _, event, fields in notes.lines if event == "the persister waits"}
    assert reason == "database is locked"


async def is_logged(notes: Notes, event: str) -> None:
    """Waits until the persister has logged this."""
    await eventually_async(lambda: event in [line[1] for line in notes.lines], f'"{event}" is logged')


async def test_a_postgresql_that_refuses_connections_stops_no_sale(
    clean_valkey: str, postgres_url: str, postgres_server: PostgresServer, tmp_path: Path, notes: Notes, seed: int
) -> None:
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    administrator = await asyncpg.connect(postgres_server.url("postgres"))
    try:
        async with open_backend(clean_valkey, postgres_url, tmp_path) as backend:
            for event_id in (1, 2, 3):
                await backend.stock.sale(event_id, capacity=200)
            stop = asyncio.Event()
            async with backend.persister() as persister, loaded(backend, seed):
                running = asyncio.create_task(persister.run(stop))
                await is_persisted(backend, 1, 5)
                await administrator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                await administrator.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
                )
                await is_logged(notes, "the persister waits")
                await backend.sells_on()
                await administrator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
                await is_logged(notes, "the persister resumes")
                stop.set()
                await running
            await backend.drain()
            await backend.check_both_sides_agree()
    finally:
        await administrator.close()


def has_lost_a_reply(proxy: LossyProxy, after_bytes: int) -> bool:
    return proxy.reply_bytes > after_bytes


async def test_lost_replies_of_redis_double_no_change(
    clean_valkey: str, tmp_path: Path, notes: Notes, seed: int
) -> None:
    database_url = f"sqlite:///{tmp_path / 'booking.sqlite3'}"
    async with (
        lossy_proxy(clean_valkey) as proxy,
        open_backend(proxy.address, database_url, tmp_path, behind=clean_valkey) as backend,
    ):
        for event_id in (1, 2, 3):
            await backend.stock.sale(event_id, capacity=200)
        stop = asyncio.Event()
        async with backend.persister() as persister, loaded(backend, seed):
            running = asyncio.create_task(persister.run(stop))
            for cut in (0, 30, 200, 1_000, 20_000):
                proxy.lose_after(cut)
                await eventually_async(partial(has_lost_a_reply, proxy, cut), "a reply is lost")
                proxy.heal()
                await eventually_async(lambda: proxy.reply_bytes > 0, "the persister asks again")
            stop.set()
            await running
        await backend.drain()
        await backend.check_both_sides_agree()
    assert {event for level, event, _ in notes.lines if level == "error"} == set()


async def test_a_shard_lost_by_redis_is_reported_once_and_others_are_persisted(
    sqlite_backend: Backend, notes: Notes
) -> None:
    backend = sqlite_backend
    await backend.drain()
    await backend.stock.redis.set(keys.epoch(1), "another")
    await backend.stock.office.book(2, "ann")
    async with backend.persister() as persister:
        assert await persister.consume() == 1
        assert await persister.consume() == 0
    lost = [fields["shards"] for level, event, fields in notes.lines if level == "error"]
    assert lost == [[1]]
    record = await backend.ledger.event(2)
    assert record is not None
    assert record.seq == 2


async def test_a_database_that_lost_commits_is_reported_at_once(backend: Backend, notes: Notes) -> None:
    await backend.drain()
    before = await backend.ledger.shards()
    await backend.stock.office.book(1, "ann")
    await backend.drain()
    async with backend.ledger._writing() as connection:  # as a fail-over, or an old copy put back, does it
        await connection.execute(text("DELETE FROM bookings"))
        await connection.execute(text("DELETE FROM changes WHERE user_id = 'ann'"))
        await connection.execute(text("UPDATE events SET seq = 1 WHERE id = 1"))
        await connection.execute(text(f"UPDATE shards SET cursor = '{before[1].cursor}' WHERE shard = 1"))
    await backend.stock.office.book(3, "bob")  # of the same shard; its change would hide what is missing of event 1
    async with backend.persister() as persister:
        assert await persister.consume() == 0
    assert [fields["shards"] for level, event, fields in notes.lines if "lacks changes" in event] == [[1]]
    assert (await backend.ledger.shards())[1].cursor == before[1].cursor
    with pytest.raises(ShardFenced):
        await backend.stock.office.book(3, "cid")
    await backend.stock.office.book(2, "dan")  # another shard is a matter of its own


async def test_a_fail_over_that_lost_commits_is_seen_before_the_next_buyer_comes(
    sqlite_backend: Backend, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_CHECK_SECONDS", 0.0)
    backend = sqlite_backend
    await backend.drain()
    before = await backend.ledger.shards()
    async with backend.persister() as persister:
        await backend.stock.office.book(1, "ann")
        assert await persister.consume() == 1
        assert await persister.consume() == 0
        assert notes.lines == []
        async with backend.ledger._writing() as connection:
            await connection.execute(text(f"UPDATE shards SET cursor = '{before[1].cursor}' WHERE shard = 1"))
        for _ in range(3):
            assert await persister.consume() == 0
        with pytest.raises(ShardFenced):
            await backend.stock.office.book(1, "bob")
        for _ in range(3):
            assert await persister.consume() == 0
    assert [fields["shards"] for _, event, fields in notes.lines if "lacks changes" in event] == [[1]], "once"
    assert len(notes.lines) == 1, "a contradicting message was logged"


async def test_a_bad_shard_is_fenced_even_if_no_log_can_be_written(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk:
        def error(self, *_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "log", FullDisk())
    backend = sqlite_backend
    await backend.drain()
    before = await backend.ledger.shards()
    await backend.stock.office.book(1, "ann")
    await backend.drain()
    async with backend.ledger._writing() as connection:
        await connection.execute(text(f"UPDATE shards SET cursor = '{before[1].cursor}' WHERE shard = 1"))
    await backend.stock.office.book(3, "bob")
    async with backend.persister() as persister:
        with contextlib.suppress(OSError):
            await persister.consume()
        with pytest.raises(ShardFenced):
            await backend.stock.office.book(3, "cid")
        await backend.stock.redis.xadd(keys.changes(0), {"planted": "by hand"})
        with contextlib.suppress(OSError):
            await persister.consume()
        with pytest.raises(ShardFenced):
            await backend.stock.office.book(2, "cid")


async def test_entries_trimmed_by_another_persister_do_not_count_as_lost(backend: Backend, notes: Notes) -> None:
    async with backend.persister() as slow:
        await slow.consume()
        await backend.stock.office.book(1, "ann")
        await backend.drain()
        await backend.stock.office.book(1, "bob")
        assert await slow.consume() == 0, "it does not read its position first"
        assert await slow.consume() == 1
    assert notes.lines == []
    assert (await backend.stock.office.book(1, "cid")).booking is not None


async def test_the_largest_rules_that_an_event_may_have_are_persisted(backend: Backend) -> None:
    await backend.stock.office.change(1, {"waitlist_limit": 2**53 - 1, "closes_at": 2**53 - 1})
    await backend.drain()
    record = await backend.ledger.event(1)
    assert record is not None
    assert (record.rules.waitlist_limit, record.rules.closes_at_ms) == (2**53 - 1, 2**53 - 1)


async def test_a_shard_that_the_database_refuses_does_not_stop_the_others(
    sqlite_backend: Backend, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = sqlite_backend
    await backend.drain()
    for event_id in (1, 2):
        await backend.stock.office.book(event_id, "ann")
    async with backend.persister() as persister:
        apply = persister._ledger.apply

        async def refuse_shard_1(batches: Sequence[ShardBatch]) -> None:
            if any(batch.shard == 1 for batch in batches):
                raise LedgerError("the database refused a statement (SQLSTATE 22003)")
            await apply(batches)

        monkeypatch.setattr(persister._ledger, "apply", refuse_shard_1)
        assert await persister.consume() == 1
        assert await persister.consume() == 0
        assert await left(backend) == 1
        told = [fields["shard"] for level, _, fields in notes.lines if level == "error"]
        assert told == [1], "once"
        monkeypatch.setattr(persister._ledger, "apply", apply)
        assert await persister.consume() == 1
    assert await left(backend) == 0


async def test_an_emptied_redis_gets_no_new_epochs(sqlite_backend: Backend, notes: Notes) -> None:
    await sqlite_backend.drain()
    await sqlite_backend.stock.redis.flushall()
    async with sqlite_backend.persister() as persister:
        assert await persister.consume() == 0
    assert await sqlite_backend.stock.redis.dbsize() == 0
    assert [fields["shards"] for _, _, fields in notes.lines] == [list(range(SHARDS))]


async def test_a_database_of_another_number_of_shards_ends_the_persister(sqlite_backend: Backend) -> None:
    other = Settings(**{**sqlite_backend.settings.model_dump(), "shards": SHARDS + 1})
    with pytest.raises(SettingsError, match=f"set it to {SHARDS}"):
        await module.run(other, asyncio.Event())


async def test_a_redis_that_is_away_is_waited_for(sqlite_backend: Backend, notes: Notes) -> None:
    streams = ChangeStreams("unix:///nowhere/at-all.sock")
    stop = asyncio.Event()
    running = asyncio.create_task(Persister(sqlite_backend.settings, sqlite_backend.ledger, streams).run(stop))
    await is_logged(notes, "the persister waits")
    assert not running.done()
    stop.set()
    await running
    await streams.close()


async def test_a_persister_of_low_priority_logs_if_it_falls_behind(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEHIND_SECONDS_MAX", -1.0)  # whatever is read then
    has_low_priority = asyncio.Event()
    carrying = asyncio.create_task(run(sqlite_backend.settings, asyncio.Event(), has_low_priority.set))
    await has_low_priority.wait()
    assert [lag.entries for lag in await sqlite_backend.stock.office.lags()] == [0] * SHARDS
    assert not carrying.done()
    await sqlite_backend.stock.office.book(1, "ann")
    with pytest.raises(FallenBehind):
        await carrying
