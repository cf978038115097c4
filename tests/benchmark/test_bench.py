"""The verdicts of the benchmark and of the overload run, and the arguments that they refuse."""

from contextlib import closing
from pathlib import Path

import pytest
import typer
from redis import Redis
from typer.testing import CliRunner

from scripts.benchmark.__main__ import ROWS, bench
from scripts.benchmark.against import check_out
from scripts.benchmark.contenders import embedded_redis
from scripts.benchmark.load import Load
from scripts.benchmark.overload import Memory, Outcome
from scripts.benchmark.processes import PartError
from scripts.benchmark.report import Mark


def test_an_unknown_row_is_refused_with_the_list_of_rows() -> None:
    app = typer.Typer()
    app.command()(bench)
    result = CliRunner().invoke(app, ["--only", "throughput,speed"])
    assert result.exit_code == 2
    assert f"there is no row speed; there are {', '.join(ROWS)}" in result.output


def test_a_commit_is_checked_out_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    assert check_out("HEAD", tmp_path)
    assert (tmp_path / "booking/__init__.py").exists()
    with pytest.raises(PartError, match="there is no commit nowhere"):
        check_out("nowhere", tmp_path)


def test_the_redis_of_the_rivals_is_configured_as_the_services_own(tmp_path: Path) -> None:
    with embedded_redis(tmp_path / "data") as (settings, _), closing(Redis.from_url(settings.redis_address)) as redis:
        assert redis.config_get("appendfsync") == {"appendfsync": "always"}


def test_the_target_applies_to_the_ratio_if_there_is_one() -> None:
    assert Mark("start", 2.0, "s", most=3).reached
    assert not Mark("bookings", 900.0, "/s", least=1, theirs=1_000.0, ratio=0.9).reached


def test_each_target_that_an_overload_run_misses_is_named() -> None:
    good, memory = Load(), Memory({"server": 100.0}, {"server": 110.0}, {"server": 100.0})
    good.statuses.update({201: 10, 409: 5, 503: 80})
    good.from_sent.record(200_000_000)
    assert Outcome(100.0, 1.0, "a connection a buyer", good, memory).misses == []
    bad = Load(unanswered=1, without_retry_after=2)
    bad.statuses.update({500: 3})
    bad.from_sent.record(300_000_000)
    grown = Memory({"server": 100.0}, {"server": 130.0}, {"server": 130.0})
    misses = " ".join(Outcome(100.0, 1.0, "a connection a buyer", bad, grown).misses)
    for said in ("nothing was accepted", "300 ms", "{500: 3}", "without Retry-After 2", "no answer 1", "1.30 times"):
        assert said in misses
