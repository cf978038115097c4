"""Several versions side by side: tables of another version, the version in /metrics, the format of records."""

import asyncio
import subprocess
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from redis import Redis

from booking.inventory import keys
from booking.ledger import migrate
from booking.ledger.engine import open_engine
from booking.ledger.migrate import newest_migration
from tests.fixtures.commands import run_command
from tests.fixtures.service import RunningService, running_service

SHARDS = 8


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_command(arguments, {"BOOKING_DATA_DIR": str(folder), "BOOKING_PORT": "0"})


async def at(folder: Path, migration: str) -> None:
    """Makes a database look like another version's."""
    address = f"sqlite+aiosqlite:///{folder / 'booking.sqlite3'}"
    await migrate(address)
    engine = open_engine(address)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{migration}'")
    await engine.dispose()


@pytest.mark.parametrize(
    ("migration", "arguments", "reason"),
    [
        (
            "0001",
            ["serve", "--no-migrate"],
            f"its tables are at migration 0001, and this version needs {newest_migration()}",
        ),
        ("9999", ["serve", "--no-migrate"], "it is at a migration that this version of the service does not know"),
        ("9999", ["serve"], "it is at a migration that this version of the service does not know"),
        ("9999", ["persist"], "it is at a migration that this version of the service does not know"),
    ],
)
def test_tables_of_another_version_end_the_start_with_one_line(
    tmp_path: Path, migration: str, arguments: list[str], reason: str
) -> None:
    asyncio.run(at(tmp_path, migration))
    ended = run(tmp_path, *arguments)
    assert ended.returncode == 2
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("booking: starting")]
    assert [line.startswith(f"booking: BOOKING_DATABASE_URL: {reason}") for line in lines] == [True], ended.stderr


def test_without_migrations_tables_of_this_version_are_served(tmp_path: Path) -> None:
    assert run(tmp_path, "migrate").returncode == 0
    with running_service(tmp_path, arguments=["--no-migrate"]) as service:
        text = httpx.get(f"{service.base_url}/metrics").text
    assert f'booking_info{{version="{version("booking")}"}} 1' in text.splitlines()


def epochs(service: RunningService) -> list[bytes]:
    with Redis(unix_socket_path=str(service.data_dir / "redis.sock"), protocol=2) as redis:
        return [redis.get(keys.epoch(shard)) for shard in range(SHARDS)]


def test_records_get_their_version_during_a_sale_without_a_lost_booking(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        with Redis(unix_socket_path=str(tmp_path / "redis.sock"), protocol=2) as redis:
            for shard, epoch in enumerate(epochs(service)):  # as a release before versions left them
                redis.set(keys.epoch(shard), epoch.rpartition(b" ")[2])

        def post(path: str, body: dict[str, object], user: str, role: str | None = None) -> httpx.Response:
            headers = {"Authorization": f"Bearer {service.token(user, role)}"}
            return httpx.post(f"{service.base_url}{path}", json=body, headers=headers)

        event_id = post("/initialize", {"name": "A night", "available_tickets": 3}, "boss", "organizer").json()[
            "event_id"
        ]
        assert post("/book", {"event_id": event_id}, "old").status_code == 201
        for moved in (SHARDS, 0):
            ended = run(tmp_path, "migrate", "--records")
            assert ended.returncode == 0, ended.stderr
            assert ended.stdout.splitlines()[1] == (
                f"Records of all {SHARDS} shards in Redis have format 1; {moved} were moved to it."
            )
        assert all(epoch.startswith(b"1 ") for epoch in epochs(service))
        assert post("/book", {"event_id": event_id}, "new").status_code == 201
        assert post("/book", {"event_id": event_id}, "old").json()["code"] == "already_booked"
        assert post("/cancel", {"event_id": event_id}, "old").status_code == 200
        with Redis(unix_socket_path=str(tmp_path / "redis.sock"), protocol=2) as redis:
            redis.set(keys.epoch(3), b"2 of-a-newer-version")
        ended = run(tmp_path, "migrate", "--records")
        assert (ended.returncode, ended.stderr) == (
            1, "booking: Redis lacks the shards 3, or has records of a newer version; see booking doctor\n",
        )  # fmt: skip
