"""The wrk script: the calls it makes, and what it says of the answers; and, where wrk is installed, a sale by wrk."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import lupa.lua51 as lupa  # type: ignore[import-untyped] # it has no types
import pytest

from tests.fixtures.service import RunningService
from tests.load.events import read_event

FOLDER = Path(__file__).parents[2] / "scripts/load"
HARNESS = """
printed, exit_code = {}, 0
print = function(text) printed[#printed + 1] = text end
os.exit = function(code) exit_code = code error('exit') end
io.stderr = { write = function(_, ...) printed[#printed + 1] = table.concat({...}) end }
wrk = { headers = { Host = 'tickets.example:8000' } }
thread = {
  set = function(_, name, value) _G[name] = value end,
  get = function(_, name) return _G[name] end,
}
"""
"""What wrk is to its script, in the Lua that it has."""


class Wrk:
    """One thread of wrk around the script, without any load."""

    def __init__(self, sale: Path, number: int = 0) -> None:
        self.lua: Any = lupa.LuaRuntime()
        self.lua.execute(HARNESS)
        self.lua.execute((FOLDER / "wrk.lua").read_text())
        for _ in range(number + 1):
            self.lua.execute("setup(thread)")
        self.lua.execute("init({ [0] = 'wrk', ... })", str(sale))

    def request(self) -> tuple[str, str]:
        """The next call, and whose token it carries."""
        text = str(self.lua.eval("request()"))
        head, _, body = text.partition("\r\n\r\n")
        assert "Host: tickets.example:8000" in head
        if body:
            assert f"Content-Length: {len(body)}" in head
            assert body == '{"event_id":17}'
        bearer = re.search("Bearer (.*)", head)
        return head.split(" HTTP/1.1")[0], bearer[1] if bearer else ""

    def done(self) -> tuple[str, int]:
        """What is printed at the end, and the exit code."""
        self.lua.execute(
            "printed = {};"
            "summary = { errors = { connect = 0, read = 0, write = 0, timeout = 0 } };"
            "latency = { max = 9000, percentile = function() return 2000 end };"
            "pcall(done, summary, latency)"
        )
        return "\n".join(self.lua.eval("printed").values()), int(self.lua.eval("exit_code"))


@pytest.fixture
def sale(tmp_path: Path) -> Path:
    """A file as sale.py writes it."""
    path = tmp_path / "sale.txt"
    path.write_text("event 17\n" + "".join(f"token-{number}\n" for number in range(2_000)))
    return path


def test_everybody_books_one_in_five_looks_and_one_in_ten_cancels_long_after_their_booking(sale: Path) -> None:
    wrk = Wrk(sale)
    calls = [wrk.request() for _ in range(2_200)]
    asked = Counter(call for call, _ in calls)
    assert set(asked) == {"GET /status/17", "POST /book", "POST /cancel"}
    assert asked["GET /status/17"] == pytest.approx(asked["POST /book"] / 5, abs=2)
    assert asked["POST /cancel"] == pytest.approx((asked["POST /book"] - 500) / 10, abs=2)
    booked = [token for call, token in calls if call == "POST /book"]
    assert len(set(booked)) == len(booked), "everybody once, until the file is read to its end"
    for place, (call, token) in enumerate(calls):
        if call == "POST /cancel":
            assert place - calls.index(("POST /book", token)) >= 500


def test_what_wrk_asks_for_beforehand_and_throws_away_is_nobodys_booking(sale: Path) -> None:
    assert Wrk(sale).request() == ("GET /status/17", "")


def test_threads_begin_in_different_places(sale: Path) -> None:
    begun = []
    for number in (0, 1):
        wrk = Wrk(sale, number)
        wrk.request()
        begun.append(wrk.request()[1])
    assert begun == ["token-0", "token-250"]


def test_a_file_that_is_used_up_is_gone_through_again(tmp_path: Path) -> None:
    path = tmp_path / "sale.txt"
    path.write_text("event 17\na\nb\n")
    wrk = Wrk(path)
    booked = [token for call, token in [wrk.request() for _ in range(7)] if call == "POST /book"]
    assert booked[:4] == ["a", "b", "a", "b"]


def test_the_sales_own_answers_are_no_failures_and_all_others_are(sale: Path) -> None:
    wrk = Wrk(sale)
    respond = wrk.lua.eval("response")
    for status, body in ((201, "{}"), (201, "{}"), (202, "{}"), (409, '{"code":"sold_out"}'), (200, "{}")):
        respond(status, None, body)
    text, code = wrk.done()
    assert re.search("2  201 +booked", text)
    assert re.search("1  409 sold_out", text)
    assert "verdict: 0 failures, 0 calls without an answer" in text
    assert code == 0
    respond(503, None, '{"code":"overloaded"}')
    respond(404, None, '{"code":"event_not_found"}')
    respond(502, None, "<html>a proxy's own</html>")
    text, code = wrk.done()
    assert "verdict: 3 failures" in text
    assert re.search("1  502 without a code +FAILURE", text)
    assert code == 1


def test_a_run_without_an_answer_is_no_success(sale: Path) -> None:
    assert Wrk(sale).done()[1] == 1


@pytest.mark.parametrize(("content", "why"), [("", "number of an event"), ("event 17\n", "holds no tokens")])
def test_a_file_that_is_no_sale_is_refused(content: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "sale.txt"
    path.write_text(content)
    lua: Any = lupa.LuaRuntime()
    lua.execute(HARNESS)
    lua.execute((FOLDER / "wrk.lua").read_text())
    lua.execute("number = 0; pcall(init, { [0] = 'wrk', ... })", str(path))
    assert why in "\n".join(lua.eval("printed").values())
    assert lua.eval("exit_code") == 2


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_wrk_itself_plays_a_sale(service: RunningService, tmp_path: Path) -> None:
    environment = os.environ | {"BOOKING_JWT_SECRET": service.secret}
    path = tmp_path / "sale.txt"
    with path.open("w") as file:
        command = [
            sys.executable,
            str(FOLDER / "sale.py"),
            "--url",
            service.url,
            "--tickets",
            "20",
            "--buyers",
            "40000",
        ]
        subprocess.run(command, env=environment, stdout=file, check=True)
    command = ["wrk", "-t2", "-c8", "-d1s", "-s", str(FOLDER / "wrk.lua"), service.url, "--", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    answers = {answer: int(count) for count, answer in re.findall(r"^ *(\d+)  (\d{3}) ", ran.stdout, re.MULTILINE)}
    event = read_event(service, int(path.read_text().splitlines()[0].removeprefix("event ")))
    assert (answers["201"], event["tickets_sold"]) == (20, 20), ran.stdout
    # What was still on its way when the time was up is in the event, and not in the figures.
    assert 0 < answers["202"] <= event["waiting_list_count"] + answers["200"]
    path.write_text(path.read_text().replace(path.read_text().splitlines()[0], "event 999999"))
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert "404 event_not_found" in ran.stdout
