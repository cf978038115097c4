"""Processes under measurement: started so that none outlives the run, and their processor time and memory (Linux)."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal a process gets when its parent dies."""

STOP_S = 15.0
"""A part is given this long to end by itself; then it is killed."""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class PartError(Exception):
    """A part did not start, or died; with the last lines it wrote."""


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    user: int | None = None,
    text: bytes = b"",
) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs `command` for the length of the block, in a session of its own: Ctrl-C reaches only the bench.

    `text` is its standard input.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=pass_fds,
            user=user,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:  # it may have ended at once, which its log explains
            process.stdin.write(text)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path, seconds: float) -> None:
    """Polls `ready` every 10 ms. Raises PartError when the process ends first or the time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            why = "ended" if process.poll() is not None else f"was not ready within {seconds:.0f} s"
            name = Path(process.args[0] if isinstance(process.args, list) else str(process.args)).name
            raise PartError(f"{name} {why}:\n{last_lines(log)}")
        time.sleep(0.01)


def last_lines(log: Path, number: int = 12) -> str:
    """The end of what a part wrote."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-number:])


def halves(cores: set[int]) -> tuple[set[int], set[int]]:
    """The cores in two halves: what is measured gets one, and what must not take its processor time the other."""
    ordered = sorted(cores)
    half = max(1, len(ordered) // 2)
    return set(ordered[:half]), set(ordered[half:] or ordered)


def run_on(pids: Sequence[int], cores: set[int]) -> None:
    """Has all threads of these processes run on these cores."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):  # the thread has ended meanwhile
                os.sched_setaffinity(int(thread.name), cores)


def cpu_seconds(stat: str) -> float:
    """Processor time of a process with all its threads, from the text of /proc/PID/stat (proc(5), fields 14 and 15)."""
    fields = stat.rpartition(")")[2].split()  # the name before the bracket may hold spaces
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def used_cpu_s(pids: Sequence[int]) -> float:
    """Processor time of these processes up to now; one that is gone counts nothing."""
    total = 0.0
    for pid in pids:
        try:
            total += cpu_seconds(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return total


def busy_cores_s(stat: str) -> float:
    """Processor time that the whole machine has spent on work, from the text of /proc/stat (proc(5))."""
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = map(int, stat.split(None, 9)[1:9])
    return (user + nice + system + interrupts + soft_interrupts + stolen) / TICKS_PER_S


def machine_cpu_s() -> float:
    """Processor time that the whole machine has spent on work up to now."""
    return busy_cores_s(Path("/proc/stat").read_text(encoding="ascii"))
