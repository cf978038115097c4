"""The checks of `booking serve` before it uses an external Redis."""

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from booking.inventory import inspection
from booking.inventory.errors import InventoryUnavailable
from booking.processes import entry_point
from booking.settings import Settings, SettingsError
from tests.fixtures.commands import run_child, run_command
from tests.fixtures.valkey import running_valkey
from tests.inventory.test_server_checks import GOOD


def test_a_redis_that_evicts_bookings_is_refused_in_one_line(tmp_path: Path) -> None:
    with running_valkey(
        "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes", "--appendfsync", "always"
    ) as server:
        environment = {
            "BOOKING_REDIS_URL": server.address,
            "BOOKING_DATA_DIR": str(tmp_path / "data"),
            "BOOKING_PORT": "0",
            "BOOKING_WORKERS": "2",
        }
        ended = run_command(["serve"], environment)
    assert ended.returncode == 2
    told = [line for line in ended.stderr.splitlines() if line.startswith("booking: ")]
    assert len(told) == 2, ended.stderr
    starting, refusal = told
    assert starting.startswith("booking: starting")
    assert refusal.startswith("booking: BOOKING_REDIS_URL: maxmemory-policy allkeys-lru")
    assert "set maxmemory-policy noeviction" in refusal
    assert ended.stdout == ""
    assert not (tmp_path / "data" / "booking.sqlite3").exists(), "no database is made for a start that is refused"


def test_a_server_that_refuses_the_password_is_a_wrong_setting(tmp_path: Path) -> None:
    with running_valkey() as server:
        with Redis.from_url(server.address, protocol=2) as client:
            client.config_set("requirepass", "another")
        settings = Settings(redis_url=f"{server.address}?password=s3cret-word", data_dir=tmp_path)
        ended = run_child(["inspect"], settings.model_dump_json())
    assert ended.returncode == 2
    assert ended.stderr == "booking: BOOKING_REDIS_URL: Redis refuses the password or the user name\n"


def test_a_server_without_an_append_only_file_causes_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inspected(monkeypatch, replace(GOOD, synced="everysec"), Settings(redis_url="redis://cache"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("booking: BOOKING_REDIS_URL: append-only file, not synced before each answer")
    assert "BOOKING_ACK=disk" in line


def inspected(monkeypatch: pytest.MonkeyPatch, told: Any, settings: Settings) -> None:
    async def inspect(_address: str) -> Any:
        if isinstance(told, Exception):
            raise told
        return told

    monkeypatch.setattr(inspection, "inspect", inspect)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(settings.model_dump_json().encode())))
    entry_point.inspect()


def test_a_vulnerable_server_causes_one_warning_that_names_its_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = replace(GOOD, version="7.0.15")
    for settings, variable in (
        (Settings(redis_url="redis://cache"), "BOOKING_REDIS_URL"),
        (Settings(redis_server="redis-server"), "BOOKING_REDIS_SERVER"),
    ):
        inspected(monkeypatch, old, settings)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"booking: {variable}: Redis 7.0.15: ")
        assert "8.2.2" in line
    inspected(monkeypatch, GOOD, Settings(redis_url="redis://cache"))
    assert capsys.readouterr().err == ""
    with pytest.raises(SettingsError, match="BOOKING_REDIS_URL: maxmemory-policy volatile-lru"):
        inspected(monkeypatch, replace(GOOD, policy="volatile-lru"), Settings(redis_url="redis://cache"))


def test_a_server_that_is_away_is_named_without_its_password_and_left_to_the_workers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry_point, "INSPECTION_SECONDS", 0.0)
    for address, place in (
        ("redis://shop:s3cret-word@cache", "cache:6379"),
        ("rediss://:s3cret-word@10.0.0.7:7000/3", "10.0.0.7:7000"),
        ("unix:///run/redis.sock?password=s3cret-word", "/run/redis.sock"),
    ):
        inspected(monkeypatch, InventoryUnavailable("Redis is away"), Settings(redis_url=address))
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"booking: BOOKING_REDIS_URL: {place}: Redis is away; start it, or correct the URL")
        assert "s3cret-word" not in line
    inspected(monkeypatch, InventoryUnavailable("away"), Settings(redis_server="/usr/bin/redis-server"))
    assert capsys.readouterr().err == ""
