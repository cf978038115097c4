"""The doctor's findings about Redis, the database, and how they agree."""

import resource
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest
from redis import Redis

from booking.domain.diagnosis import Finding
from booking.inventory import keys
from booking.inventory.append_only_file import FOLDER, MANIFEST
from booking.ledger import migrate
from booking.operations.doctor.database import check_ledger, check_shards
from booking.operations.doctor.machine import check_clock, check_open_files
from booking.operations.doctor.stock import check_redis
from booking.settings import Settings
from tests.fixtures.backend import Backend
from tests.fixtures.stock import SHARDS, contents
from tests.fixtures.valkey import running_valkey


def is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture
def backend(sqlite_backend: Backend) -> Backend:
    return sqlite_backend


async def of_shards(backend: Backend, settings: Settings | None = None) -> dict[str, Finding]:
    (_, database) = await check_ledger(backend.settings)
    assert database is not None
    return by_name(await check_shards(settings or backend.settings, database))


async def test_an_unreachable_redis_is_reported_with_advice(tmp_path: Path) -> None:
    away = Settings(data_dir=tmp_path, redis_url="redis://:hush@127.0.0.1:1")
    (finding,), servers = await check_redis(away, serving=False)
    assert (finding.verdict, servers) == ("fault", [])
    assert "BOOKING_REDIS_URL" in finding.advice
    assert "hush" not in str(finding)
    unreadable = Settings(data_dir=tmp_path, redis_url="redis://:hush@127.0.0.1:1?hush=1")
    (finding,), _ = await check_redis(unreadable, serving=False)
    assert (finding.verdict, "BOOKING_REDIS_URL" in finding.advice, "hush" in str(finding)) == ("fault", True, False)
    (finding, _), _ = await check_redis(Settings(data_dir=tmp_path), serving=False)
    assert (finding.verdict, "Valkey" in finding.found) == ("ok", True)
    (finding,), _ = await check_redis(Settings(data_dir=tmp_path), serving=True)
    assert (finding.verdict, "redis.log" in finding.advice) == ("fault", True)
    for program in ("no-such-server", "false"):
        (finding, _), _ = await check_redis(Settings(data_dir=tmp_path, redis_server=program), serving=False)
        assert (finding.verdict, "BOOKING_REDIS_SERVER" in finding.advice) == ("fault", True)


async def test_a_damaged_append_only_file_is_reported_with_the_command(tmp_path: Path) -> None:
    (_, finding), _ = await check_redis(Settings(data_dir=tmp_path), serving=False)
    assert finding.verdict == "ok"
    files = tmp_path / "redis" / FOLDER
    files.mkdir(parents=True)
    (files / MANIFEST).write_bytes(b"file appendonly.aof.1.incr.aof seq 1 type i\n")
    (_, finding), _ = await check_redis(Settings(data_dir=tmp_path), serving=False)
    assert finding.verdict == "fault"
    assert f"mv {tmp_path}/redis {tmp_path}/redis.damaged" in finding.advice
    assert "lost" in finding.advice


async def test_the_durability_level_is_reported_and_an_unavailable_one_is_a_fault(
    tmp_path: Path,
) -> None:
    with running_valkey("--appendonly", "yes", "--appendfsync", "always") as server:
        findings, _ = await check_redis(Settings(data_dir=tmp_path, redis_url=server.address), serving=False)
        assert {one.verdict for one in findings} == {"ok"}
        assert "on Redis's disk" in by_name(findings)["acknowledged is"].found
        asked = Settings(data_dir=tmp_path, redis_url=server.address, ack="replica")
        findings, _ = await check_redis(asked, serving=False)
        assert by_name(findings)["acknowledged is"].verdict == "fault"


async def test_a_lost_shard_is_reported_and_not_fenced_by_the_check(backend: Backend) -> None:
    await backend.stock.sale(1, capacity=5)
    await backend.stock.office.book(1, "ann")
    before = await of_shards(backend)
    assert before["shards"].verdict == before["persister"].verdict == "ok"
    assert before["persister"].found.startswith("2 changes wait")
    await backend.drain()
    assert (await of_shards(backend))["shards"].verdict == "ok"
    assert (await of_shards(backend))["persister"].found.startswith("0 changes wait")
    await backend.stock.redis.delete(keys.changes(keys.shard_of(1, SHARDS)), keys.trimmed_to(keys.shard_of(1, SHARDS)))
    held = await contents(backend.stock.redis)
    lost = (await of_shards(backend))["shards"]
    assert (lost.verdict, f"of {keys.shard_of(1, SHARDS)}:" in lost.found) == ("fault", True)
    assert "booking restore" in lost.advice
    assert await contents(backend.stock.redis) == held, "the check changed something"
    await backend.stock.redis.flushall()
    everything = ", ".join(map(str, range(SHARDS)))
    assert f"of {everything}:" in (await of_shards(backend))["shards"].found
    assert await contents(backend.stock.redis) == {}


async def test_a_database_that_is_an_old_copy_is_reported(backend: Backend) -> None:
    await backend.stock.sale(1, capacity=5)
    await backend.drain()
    file = Path(backend.settings.database_address.removeprefix("sqlite+aiosqlite:///"))
    with closing(sqlite3.connect(file)) as database, closing(sqlite3.connect(f"{file}.backup")) as copy:
        database.backup(copy)
    (_, old) = await check_ledger(backend.settings)
    assert old is not None
    await backend.stock.office.book(1, "ann")
    await backend.drain()
    shards = by_name(await check_shards(backend.settings, old))["shards"]
    assert shards.verdict == "ok", "the persister has persisted a change since SQL was read"
    with closing(sqlite3.connect(f"{file}.backup")) as copy, closing(sqlite3.connect(file)) as database:
        copy.backup(database)
    shards = (await of_shards(backend))["shards"]
    assert (shards.verdict, f"of {keys.shard_of(1, SHARDS)}:" in shards.found) == ("fault", True)
    assert "restore --force" in shards.advice


async def test_another_number_of_shards_and_a_lag_past_the_bound_are_faults(backend: Backend) -> None:
    other = backend.settings.model_copy(update={"shards": SHARDS + 1})
    _, database = await check_ledger(backend.settings)
    assert database is not None
    (finding,) = await check_shards(other, database, reachable=False)
    assert (finding.verdict, f"set BOOKING_SHARDS to {SHARDS}" in finding.advice) == ("fault", True)
    await backend.stock.sale(1, capacity=5)
    narrow = backend.settings.model_copy(update={"persister_lag_limit": 0})
    assert (await of_shards(backend, narrow))["persister"].verdict == "fault"
    with closing(Redis.from_url(backend.settings.redis_address)) as redis:
        redis.xadd(keys.changes(0), {"old": "entry"}, id="1-1")
    stale = (await of_shards(backend))["persister"]
    assert (stale.verdict, "booking persist" in stale.advice) == ("warning", True)


async def test_a_database_is_checked_and_never_created(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    (finding,), database = await check_ledger(settings)
    assert (finding.verdict, database) == ("ok", None)
    assert is_empty(tmp_path)
    (tmp_path / "booking.sqlite3").touch()
    findings, database = await check_ledger(settings)
    assert by_name(findings)["migrations"].verdict == "warning"
    assert database is not None
    assert await check_shards(settings, database) == [
        Finding("shards", by_name(findings)["database"].verdict, "none yet; the first start creates them")
    ]
    await migrate(settings.database_address)
    findings, _ = await check_ledger(settings)
    assert {one.verdict for one in findings} == {"ok"}
    assert "journal_mode wal, synchronous full" in by_name(findings)["database"].found
    (tmp_path / "booking.sqlite3").write_bytes(b"not a database" * 100)
    (finding,), _ = await check_ledger(settings)
    assert finding.verdict == "fault"


async def test_postgresqls_durability_and_clock_are_checked(postgres_url: str) -> None:
    settings = Settings(database_url=postgres_url)
    findings, _ = await check_ledger(settings)
    assert by_name(findings)["migrations"].verdict == "warning"
    await migrate(settings.database_address)
    findings, database = await check_ledger(settings)
    assert by_name(findings)["migrations"].verdict == "ok"
    found = by_name(findings)["database"]
    assert found.verdict == "fault", "the tests' server does not sync"
    assert "PostgreSQL 1" in found.found
    assert "fsync and full_page_writes" in found.advice
    assert database is not None
    assert database.clock_skew_seconds is not None
    assert abs(database.clock_skew_seconds) < 5
    for other, verdict in (("0000", "warning"), ("9999", "fault")):
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("UPDATE alembic_version SET version_num = $1", other)
        await connection.close()
        findings, _ = await check_ledger(settings)
        assert by_name(findings)["migrations"].verdict == verdict


async def test_an_unreachable_database_is_reported_without_its_password() -> None:
    settings = Settings(database_url=f"postgresql://shop:{(hush := secrets.token_hex(8))}@127.0.0.1:1/shop")
    (finding,), _ = await check_ledger(settings)
    assert (finding.verdict, "BOOKING_DATABASE_URL" in finding.advice) == ("fault", True)
    assert hush not in str(finding)


@pytest.mark.parametrize(
    ("skews", "verdict", "told"),
    [
        ({"Redis": None}, "ok", "nothing to compare"),
        ({"Redis": 0.2, "the database": None}, "ok", "Redis's +0.200 s"),
        ({"Redis": 0.2, "the database": -90.0}, "warning", "the database's -90.000 s"),
    ],
)
def test_a_wrong_clock_is_reported(skews: dict[str, float | None], verdict: str, told: str) -> None:
    finding = check_clock(skews)
    assert (finding.verdict, told in finding.found) == (verdict, True)


@pytest.mark.parametrize(
    ("limit", "verdict"), [(1024, "warning"), (1_999, "warning"), (2_000, "ok"), (resource.RLIM_INFINITY, "ok")]
)
def test_a_limit_of_open_files_below_what_a_worker_takes_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, limit: int, verdict: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert check_open_files(Settings(live_limit=1_000)).verdict == verdict
