"""Keeping one child process alive, and ending it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from booking.processes import child_process as children
from booking.processes.child_process import ChildProcess, Command, describe_end
from tests.fixtures.process_tree import is_alive
from tests.fixtures.waiting import eventually, eventually_async

SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")
IS_DEAF = (
    sys.executable,
    "-c",
    "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
)

MakePart = Callable[..., ChildProcess]


@pytest.fixture
async def make_part() -> AsyncIterator[MakePart]:
    """Creates child processes and reaps them. Their messages are in `part.said`."""
    made: list[ChildProcess] = []

    def make(*arguments: str, **command: object) -> ChildProcess:
        child = ChildProcess("part", lambda: Command(arguments, **command), said.append, lambda: None)  # type: ignore[arg-type]  # a test's shorthand
        made.append(child)
        return child

    def reap() -> None:
        for child in made:
            child.reap()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, reap)
    try:
        yield make
    finally:
        for child in made:
            child.kill()
            if child.process is not None:
                child.process.wait()
                if child.process.stdin is not None:
                    child.process.stdin.close()
        loop.remove_signal_handler(signal.SIGCHLD)


said: list[str] = []


def always(_code: int) -> bool:
    return True


@pytest.fixture(autouse=True)
def _quiet() -> None:
    said.clear()


async def test_a_child_that_dies_is_restarted_after_a_growing_delay(
    make_part: MakePart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "BACKOFF_SECONDS", (0.0, 0.01, 0.02))
    child = make_part(sys.executable, "-c", "raise SystemExit(3)")
    child.launch()
    child.release()
    keeper = asyncio.create_task(child.keep_running(always))
    await eventually_async(lambda: child.deaths >= 4, "it has died four times")
    await child.stop(1)
    keeper.cancel()
    assert said[:4] == [
        "part exited with code 3; starting it again now",
        "part exited with code 3; starting it again in 0.01 s",
        "part exited with code 3; starting it again in 0.02 s",
        "part exited with code 3; starting it again in 0.02 s",
    ]


async def test_a_child_that_lived_long_is_restarted_at_once(
    make_part: MakePart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "STEADY_SECONDS", 0.0)
    child = make_part(sys.executable, "-c", "raise SystemExit(3)")
    child.launch()
    child.release()
    keeper = asyncio.create_task(child.keep_running(always))
    await eventually_async(lambda: len(said) >= 3, "it is started again and again")
    await child.stop(1)
    keeper.cancel()
    assert set(said) == {"part exited with code 3; starting it again now"}
    assert child.deaths == 1


async def test_a_child_is_not_restarted_after_a_final_exit_code(make_part: MakePart) -> None:
    child = make_part(sys.executable, "-c", "raise SystemExit(2)")
    child.launch()
    await asyncio.wait_for(child.keep_running(lambda code: code != 2), 30)
    assert child.exit_code == 2
    assert said == []


async def test_a_program_that_cannot_be_started_is_tried_again(
    make_part: MakePart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(children, "BACKOFF_SECONDS", (0.0, 0.01))
    program = tmp_path / "program"
    program.write_text("#!/bin/true\n")
    program.chmod(0o700)
    child = make_part(str(program))
    child.launch()
    child.release()
    await child.ended()
    program.rename(tmp_path / "aside")
    keeper = asyncio.create_task(child.keep_running(always))
    missing = "cannot be started: No such file or directory"
    await eventually_async(lambda: any(missing in line for line in said), "the program is missed")
    (tmp_path / "aside").rename(program)
    await eventually_async(lambda: child.deaths >= 2, "the program is found again")
    await child.stop(1)
    keeper.cancel()


async def test_a_child_that_ignores_its_stop_signal_is_killed(make_part: MakePart, tmp_path: Path) -> None:
    child = make_part(*IS_DEAF, log=str(tmp_path / "log"))
    child.launch()
    await eventually_async(lambda: (tmp_path / "log").read_text() == "deaf\n", "it ignores the signal")
    await child.stop(0.05)
    assert child.exit_code == -signal.SIGKILL
    assert said == ["part has not stopped within 0.1 s and is killed"]


async def test_a_child_that_heeds_its_stop_signal_is_not_restarted(make_part: MakePart) -> None:
    child = make_part(*SLEEPS)
    child.launch()
    child.release()
    keeper = asyncio.create_task(child.keep_running(always))
    await child.stop(30)
    await asyncio.wait_for(keeper, 30)
    assert child.exit_code == -signal.SIGTERM
    assert said == []


async def test_a_child_can_read_its_standard_input_after_its_release(make_part: MakePart, tmp_path: Path) -> None:
    child = make_part("/bin/cat", standard_input=b"go ahead", log=str(tmp_path / "log"))
    child.launch()
    assert child.exit_code is None
    child.release()
    assert await child.ended() == 0
    assert (tmp_path / "log").read_bytes() == b"go ahead"


async def test_releasing_a_dead_child_is_harmless(make_part: MakePart) -> None:
    child = make_part("/bin/true", standard_input=b"x" * 1_000_000)
    child.launch()
    await child.ended()
    child.release()
    assert child.exit_code == 0


async def test_a_child_s_environment_holds_no_settings(
    make_part: MakePart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOOKING_JWT_SECRET", "hidden")
    monkeypatch.setenv("DATABASE_URL", "hidden")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/python/lib")  # without which its Python may not even start
    child = make_part("/usr/bin/env", log=str(tmp_path / "log"))
    child.launch()
    child.release()
    await child.ended()
    seen = (tmp_path / "log").read_text()
    assert "hidden" not in seen
    assert f"PATH={os.environ['PATH']}" in seen
    assert "LC_ALL=C.UTF-8" in seen
    assert "LD_LIBRARY_PATH=/opt/python/lib" in seen


def test_a_child_dies_with_a_supervisor_that_is_killed() -> None:
    program = (
        "import sys, time\n"
        "from booking.processes.child_process import ChildProcess, Command\n"
        "command = Command((sys.executable, '-c', 'import time; time.sleep(600)'))\n"
        "part = ChildProcess('part', lambda: command, print, print)\n"
        "print(part.launch().pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        supervisor.stdout.readline()  # the line that `changed` prints
        child = int(supervisor.stdout.readline())
        assert is_alive(child)
        supervisor.kill()
    eventually(lambda: not is_alive(child), "the child is gone")


@pytest.mark.parametrize(("code", "words"), [(0, "exited with code 0"), (-9, "was ended by SIGKILL")])
def test_the_end_of_a_child_is_described_in_words(code: int, words: str) -> None:
    assert describe_end(code) == words
