"""Keeping one child process alive, and ending it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from booking.logs import never_wait
from booking.processes import child_process as children
from booking.processes.child_process import ChildProcess, Command, Fork, Forked, describe_end
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


@pytest.fixture
def make_fork() -> Iterator[Callable[..., Fork]]:
    """Starts forks, and kills them at the end."""
    made: list[Fork] = []

    def make(run: Callable[[], None], *pass_fds: int) -> Fork:
        made.append(Fork("a fork", Forked(run, pass_fds=pass_fds)))
        return made[-1]

    yield make
    for fork in made:
        fork.kill()
        fork.wait()
        fork.stdin.close()


async def test_a_fork_has_no_setting_descriptor_loop_or_handler_of_its_supervisor(
    make_fork: Callable[..., Fork], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOOKING_JWT_SECRET", "hidden")
    reading, writing = os.pipe()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)

    def tell() -> None:
        async def running() -> int:
            return len(asyncio.all_tasks())

        sys.stderr = os.fdopen(2, "w", closefd=False)
        assert "BOOKING_JWT_SECRET" not in os.environ
        descriptors = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208 - names are enough
        assert len(descriptors - {0, 1, 2, writing}) == 1, "only the folder that is read just now"
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
        assert asyncio.run(running()) == 1
        assert os.getpgid(0) == os.getpid()
        os.write(writing, b"all of it")

    try:
        fork = make_fork(tell, writing)
        await asyncio.to_thread(fork.wait)
        os.close(writing)
        assert (os.read(reading, 100), fork.returncode) == (b"all of it", 0)
    finally:
        os.close(reading)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


def test_a_fork_that_raises_prints_a_traceback_and_exits_with_code_1(
    make_fork: Callable[..., Fork], capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        never_wait()
        raise ValueError("a fault")

    fork = make_fork(fail)
    fork.wait()
    assert fork.returncode == 1
    assert "ValueError: a fault" in capfd.readouterr().err


def test_all_lines_of_a_fork_s_log_are_written_before_it_ends(
    make_fork: Callable[..., Fork], capfd: pytest.CaptureFixture[str]
) -> None:
    def talk() -> None:
        sys.stdout = os.fdopen(1, "w", closefd=False)  # instead of pytest's, whose descriptor a fork does not keep
        never_wait()
        for number in range(1_000):
            print(f"line {number}")
        sys.exit(3)

    fork = make_fork(talk)
    fork.wait()
    assert fork.returncode == 3
    assert capfd.readouterr().out.splitlines() == [f"line {number}" for number in range(1_000)]


@pytest.mark.parametrize(
    "command",
    ["Command((sys.executable, '-c', 'import time; time.sleep(600)'))", "Forked(lambda: time.sleep(600))"],
    ids=["program", "fork"],
)
def test_a_child_dies_with_a_supervisor_that_is_killed(command: str) -> None:
    program = (
        "import sys, time\n"
        "from booking.processes.child_process import ChildProcess, Command, Forked\n"
        f"part = ChildProcess('part', lambda: {command}, print, print)\n"
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
