"""The service's own log lines, as a process of its own prints them."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from booking import logs
from tests.fixtures.terminals import shown_to_the_end
from tests.fixtures.waiting import eventually

PROGRAM = """
import logging, sys, structlog
from booking import logs
logs.configure(sys.argv[1], "node-1")
log = structlog.get_logger()
log.debug("too quiet to be told")
log.info("a part goes on", after_failures=3)
try:
    raise RuntimeError("boom")
except RuntimeError as error:
    log.error("a request failed", request_id="an-id", exc_info=error)
logging.getLogger("a.library").info("also too quiet")
logging.getLogger("a.library").warning("a library warns of %s", "something")
"""


def said(log_format: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, log_format], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stderr == ""
    return run.stdout.splitlines()


def test_each_machine_readable_line_is_one_json_object() -> None:
    info, error, library = map(json.loads, said("json"))
    assert (info["level"], info["event"], info["after_failures"]) == ("info", "a part goes on", 3)
    assert info["at"].endswith("Z")
    assert (error["level"], error["request_id"]) == ("error", "an-id")
    assert "RuntimeError: boom" in error["exception"]
    assert {line["node"] for line in (info, error, library)} == {"node-1"}
    assert (library["level"], library["event"], library["logger"]) == (
        "warning", "a library warns of something", "a.library",
    )  # fmt: skip


def test_events_of_every_request_are_logged_once_a_second_with_a_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    seldom = logs.ThrottledLogger("Redis is away")
    with capture_logs() as lines:
        for request in range(1_000):
            seldom.error(request=request)
        now += logs.THROTTLE_SECONDS
        seldom.error(request=1_000)
    assert [(line["event"], line["times"], line["request"]) for line in lines] == [
        ("Redis is away", 1, 0),
        ("Redis is away", 1_000, 1_000),
    ]


FLOOD = """
import sys, structlog
from booking import logs
logs.never_wait()
logs.configure("json", "node-1")
for number in range(20_000):
    structlog.get_logger().info("x" * 100, number=number)
    print("a plain line", file=sys.stderr)
open(sys.argv[1] + ".flooded", "w").close()
sys.stdin.readline()
structlog.get_logger().info("the end")  # it is dropped, too, if nothing was read since
with open(sys.argv[1], "w") as file:
    file.write(str(logs.take_dropped()))
"""


def test_a_log_that_is_not_read_stops_no_caller_and_counts_its_losses(tmp_path: Path) -> None:
    counted = tmp_path / "dropped"
    arguments = [sys.executable, "-c", FLOOD, str(counted)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        eventually(Path(f"{counted}.flooded").exists, "it has logged all but its last line")
        lines = [run.stdout.readline() for _ in range(1_000)]
        run.stdin.close()
        lines += run.stdout.readlines()
    dropped = int(counted.read_text())
    notices = [json.loads(line)["lines"] for line in lines if logs.DROPPED in line and line.startswith("{")]
    notices += [int(line.split()[1]) for line in lines if logs.DROPPED in line and line.startswith("booking:")]
    assert run.returncode == 0
    assert dropped > 0
    assert sum(notices) == dropped
    assert len([line for line in lines if logs.DROPPED not in line]) + dropped == 40_001


def test_a_process_ends_although_its_log_is_not_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    arguments = [sys.executable, "-c", FLOOD, str(tmp_path / "dropped")]
    run = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, check=False, timeout=60)
    os.close(writing)
    os.close(reading)
    assert run.returncode == 0


def test_characters_that_a_locale_lacks_are_logged_as_utf_8() -> None:
    program = "from booking import logs; logs.never_wait(); print('zoë 🎫 \\udcff')"
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True, timeout=60)
    assert run.stdout.decode() == "zoë 🎫 \\udcff\n"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_unwritable_log_stops_no_caller(log_format: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = f"{PROGRAM}\nprint('got here', file=sys.stderr)\n"
    with os.fdopen(writing, "wb") as nowhere:
        run = subprocess.run(
            [sys.executable, "-c", program, log_format], stdout=nowhere, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert run.stderr.splitlines()[0] == "got here"


@pytest.mark.parametrize(
    "words", [("a part goes on", "after_failures=3"), ("RuntimeError: boom",), ("a library warns",)]
)
def test_human_readable_lines_have_no_colours_in_a_file(words: tuple[str, ...]) -> None:
    text = "\n".join(said("console"))
    for word in words:
        assert word in text
    assert "\x1b" not in text
    assert "too quiet" not in text


def test_human_readable_lines_begin_like_access_log_lines() -> None:
    info, *_, library = said("console")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} \[info\] a part goes on +after_failures=3", info)
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} \[warning\] a library warns of something", library)


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_only_a_terminal_gets_colours_and_not_if_no_color_is_set(variables: dict[str, str], coloured: bool) -> None:
    keyboard, terminal = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run(
        [sys.executable, "-c", PROGRAM, "console"], stdout=terminal, env=environment | variables, timeout=60, check=True
    )
    os.close(terminal)
    shown = shown_to_the_end(keyboard)
    assert b"a part goes on" in shown
    assert (b"\x1b[" in shown) == coloured
