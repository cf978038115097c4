"""The exit codes of the command, its one-line message if it cannot begin, and its figures as JSON."""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from booking.loadtest.command import loadtest
from tests.loadtest.lying_service import SECRET, Lie, LyingService, serving

SALE = ("--tickets", "20", "--buyers", "60", "--connections", "4")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Removes this machine's settings and uses an empty data folder."""
    for name in ("BOOKING_JWT_SECRET", "BOOKING_DATABASE_URL", "DATABASE_URL", "REDIS_URL", "PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BOOKING_DATA_DIR", str(tmp_path))


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file with the service's secret."""
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


async def call(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(loadtest)
    return await asyncio.to_thread(CliRunner().invoke, app, [str(argument) for argument in arguments])


async def test_a_clean_sale_exits_with_0_and_writes_its_figures(secret_file: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    async with serving(LyingService()) as url:
        result = await call("--url", url, "--secret-file", secret_file, "--json", figures, *SALE)
    assert result.exit_code == 0, result.output
    assert "verdict: clean" in result.output
    assert "SQL was not judged" in result.output
    told = json.loads(figures.read_text())
    assert told["verdict"]["clean"] is True
    assert told["buyers_sent"] == 60
    assert told["event"]["tickets_sold"] == 20
    book = told["load"]["latency_ms"]["book"]
    assert book["count"] == 60 == sum(count for _, count in book["histogram"])
    assert book["p50"] <= book["p99"] <= book["p99.9"] <= book["max"]
    assert book["percentiles"][0][:2] == [0, pytest.approx(book["histogram"][0][0], abs=0.001)]
    assert book["percentiles"][-1] == [100, pytest.approx(book["max"], abs=0.001), 60]
    assert told["load"]["by_answer"]["book"] == {"201": 20, "202": 40}


async def test_a_fault_exits_with_1(secret_file: Path) -> None:
    async with serving(LyingService(Lie.OVERSELLS)) as url:
        result = await call("--url", url, "--secret-file", secret_file, *SALE)
    assert result.exit_code == 1, result.output
    assert "verdict: NOT CLEAN" in result.output
    assert "25 tickets were in buyers' hands at once, of 20" in result.output


@pytest.mark.parametrize(
    ("lie", "answer"), [(Lie.SELLS_NOTHING, "503 inventory_unavailable"), (Lie.LIMITS_EVERYBODY, "429 rate_limited")]
)
async def test_a_sale_without_bookings_exits_with_1_and_gives_advice(
    lie: Lie, answer: str, secret_file: Path, tmp_path: Path
) -> None:
    figures = tmp_path / "figures.json"
    async with serving(LyingService(lie)) as url:
        result = await call("--url", url, "--secret-file", secret_file, "--json", figures, *SALE)
    assert result.exit_code == 1, result.output
    assert "verdict: NO SALE" in result.output
    assert "not one of 60 buyers was given a ticket or a place to wait, and 20 of 20 tickets are there" in result.output
    assert "GET /readyz" in result.output
    assert answer in result.output
    verdict = json.loads(figures.read_text())["verdict"]
    assert (verdict["clean"], verdict["word"]) == (False, "no sale")


async def test_rejected_buyers_are_reported_and_the_verdict_stays_clean(secret_file: Path) -> None:
    async with serving(LyingService(Lie.TURNS_SOME_AWAY)) as url:
        result = await call("--url", url, "--secret-file", secret_file, *SALE)
    assert result.exit_code == 0, result.output
    assert "verdict: clean" in result.output
    assert "6 of 60 buyers were turned away each time they asked" in result.output


async def test_a_service_that_ends_gives_no_verdict_and_no_blame(
    secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("booking.loadtest.organizer.SETTLE_SECONDS_MAX", 0.5)
    monkeypatch.setattr("booking.loadtest.checks.QUIET_SECONDS", 0.1)
    # On a busy machine the generator may be late, too.
    monkeypatch.setattr("booking.loadtest.figures.LATE_NS", 10**12)
    monkeypatch.setattr("booking.loadtest.figures.BUSY_SHARE", 99.0)
    async with serving(LyingService(Lie.DIES)) as url:
        options = ("--rate", "400", "--buyers", "400", "--seconds", "2", "--status", "0")
        result = await call("--url", url, "--secret-file", secret_file, *options)
    assert result.exit_code == 1, result.output
    assert "waiting up to 0.5 s for the service to show the event" in result.output
    assert "verdict: INCOMPLETE" in result.output
    assert "never settled: the service could not be asked after the sale" in result.output
    assert "The service was away: for " in result.output
    assert "load generator was the bottleneck" not in result.output


@pytest.mark.parametrize("option", ["--json", "--html"])
async def test_a_file_that_cannot_be_written_is_refused_before_anything_is_sold(
    option: str, secret_file: Path, tmp_path: Path
) -> None:
    service = LyingService()
    async with serving(service) as url:
        result = await call("--url", url, "--secret-file", secret_file, option, tmp_path / "no" / "file", *SALE)
    assert result.exit_code == 2
    assert "no/file cannot be written: No such file or directory" in result.output.replace("\n", "")
    assert service.seq == 0


async def test_a_disk_that_fills_up_does_not_hide_the_verdict(secret_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    async with serving(LyingService()) as url:
        result = await call(*("--url", url, "--secret-file", secret_file, "--json", "/dev/full", "--html", page, *SALE))
    assert result.exit_code == 0
    assert "/dev/full was not written: No space left on device" in result.output
    assert "verdict: clean" in result.output
    assert page.read_text().startswith("<!doctype html>")


async def test_a_run_without_a_result_creates_and_changes_no_file(secret_file: Path, tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.html"
    page.write_text("last week's page")
    result = await call(
        *("--url", "http://127.0.0.1:9", "--secret-file", secret_file, "--json", figures, "--html", page, *SALE)
    )
    assert result.exit_code == 2
    assert not figures.exists()
    assert page.read_text() == "last week's page"


async def test_the_page_replaces_the_last_one_and_its_command_repeats_the_sale(
    secret_file: Path, tmp_path: Path
) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.html"
    page.write_text("last week's page\n" * 10_000)
    options = ("--secret-file", secret_file, "--json", figures, "--html", page)
    async with serving(LyingService()) as url:
        await call("--url", url, *options, *SALE, "--rate", "400", "--seed", "7", "--idempotent")
    first, text = json.loads(figures.read_text()), page.read_text()
    assert text.startswith("<!doctype html>")
    assert text.endswith("</html>\n")
    assert not re.search("<script|<link|<img|src=|url\\(|@import", text), "the page loads something from another origin"
    assert "verdict: clean" in text
    (command,) = re.findall("the same sale again: booking loadtest (.*)", text)
    async with serving(LyingService()) as another_url:
        result = await call(*command.replace(url, another_url).split(), *options)
    assert result.exit_code == 0, result.output
    assert json.loads(figures.read_text())["plan"] == first["plan"] | {"url": another_url}


async def test_json_and_page_need_different_files(secret_file: Path, tmp_path: Path) -> None:
    both = ("--json", tmp_path / "file", "--html", tmp_path / "." / "file")
    result = await call("--secret-file", secret_file, *both)
    assert result.exit_code == 2
    assert "--json and --html both name" in result.output
    assert not (tmp_path / "file").exists()


async def test_the_data_folder_s_secret_is_found(tmp_path: Path) -> None:
    (tmp_path / "jwt-secret").write_text(SECRET)
    async with serving(LyingService()) as url:
        result = await call("--url", url, *SALE)
    assert result.exit_code == 0, result.output


async def test_the_environment_s_secret_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKING_JWT_SECRET", SECRET)
    async with serving(LyingService()) as url:
        result = await call("--url", url, *SALE)
    assert result.exit_code == 0, result.output


async def test_without_a_url_the_configured_port_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKING_JWT_SECRET", SECRET)
    async with serving(LyingService()) as url:
        monkeypatch.setenv("BOOKING_PORT", url.rpartition(":")[2])
        result = await call(*SALE)
    assert result.exit_code == 0, result.output


async def test_a_secret_that_differs_from_the_service_s_is_reported(tmp_path: Path) -> None:
    (tmp_path / "jwt-secret").write_text("another service's secret, just as long as it needs")
    async with serving(LyingService()) as url:
        result = await call("--url", url, *SALE)
    assert result.exit_code == 2
    assert "does not accept a token signed with this secret" in result.output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--url", "http://192.0.2.1:8000"), "192.0.2.1 is not this machine"),
        (("--url", "http://tickets.example"), "tickets.example is not this machine"),
        (("--url", "ftp://127.0.0.1"), "--url has to look like http://127.0.0.1:8000"),
        (("--url", "http://127.0.0.1:9"), "can't be reached"),
        (("--secret-file", "/nowhere/at/all"), "the service's JWT secret can't be read"),
        (("--secret-file", "/dev/null"), "fewer than 32 bytes"),
        (("--database-url", "mysql://127.0.0.1/x"), "BOOKING_DATABASE_URL"),
        (("--buyers", "0"), "--buyers"),
    ],
)
async def test_what_cannot_begin_exits_with_2_and_says_why(
    arguments: tuple[str, ...], line: str, secret_file: Path
) -> None:
    result = await call("--secret-file", secret_file, *arguments)
    assert result.exit_code == 2
    assert line in " ".join(result.output.split())
    assert "Traceback" not in result.output


async def test_a_missing_secret_is_never_generated(tmp_path: Path) -> None:
    result = await call()
    assert result.exit_code == 2
    assert not (tmp_path / "jwt-secret").exists()


async def test_ctrl_c_ends_every_process_without_a_verdict(secret_file: Path) -> None:
    service = LyingService()
    async with serving(service) as url:
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "booking.loadtest.command", "--url", url, "--secret-file", str(secret_file)),
            *("--rate", "20", "--buyers", "10000", "--processes", "2"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            # A shell's background jobs ignore Ctrl-C, and the tests may run in one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        while service.seq < 5:
            await asyncio.sleep(0.05)
        # A terminal sends it to every process at once.
        os.killpg(command.pid, signal.SIGINT)
        output, _ = await command.communicate()
    assert command.returncode == 130
    assert output.decode().splitlines() == ["booking loadtest: stopped, so there is no verdict"]
    with pytest.raises(ProcessLookupError):
        os.killpg(command.pid, 0)
