"""A child process of the supervisor: it is started again whenever it dies, until it is stopped.

It is a program of its own, or a fork, which starts quickly because everything is imported already.
"""

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from booking.logs import restore_streams

STEADY_SECONDS = 10.0
"""A child that lived this long counts as healthy: its next restart is immediate."""

BACKOFF_SECONDS = (0.0, 0.2, 0.5, 1.0)
"""Waits before the first, second, … restart in a row; the last one repeats. So a child is back within 2 s, however
often it is killed."""

INHERITED = (
    "HOME", "LANG", "LANGUAGE", "LOCALE_ARCHIVE", "LOCPATH", "LOGNAME", "NO_COLOR", "PATH", "PGPASSFILE", "TERM",
    "TMPDIR", "TZ", "USER", "VIRTUAL_ENV",
)  # fmt: skip
INHERITED_PREFIXES = ("COVERAGE_", "LC_", "LD_", "PGSSL", "PYTHON", "SSL_CERT_")
"""The environment variables that children inherit. Settings are not among them: children read them from a pipe."""

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
_libc = ctypes.CDLL(None, use_errno=True)


class CannotStart(Exception):
    """The child cannot be started at the moment; the message says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """The command line of a child, its standard input, and the file descriptors it inherits."""

    arguments: Sequence[str]
    standard_input: bytes = b""
    pass_fds: tuple[int, ...] = ()
    log: str | None = None
    """A file for standard output and standard error; None: the supervisor's."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A function that a fork of this process runs, its standard input, and the file descriptors it keeps."""

    run: Callable[[], None]
    standard_input: bytes = b""
    pass_fds: tuple[int, ...] = ()


class Fork:
    """A running fork, with the part of subprocess.Popen's interface that is used here.

    A fork has no event loop, no thread and no signal handler of this process, and no file descriptor except the
    standard ones and those in `pass_fds`.
    """

    def __init__(self, name: str, forked: Forked) -> None:
        reader, writer = os.pipe()
        self.stdin = os.fdopen(writer, "wb")
        self._process = multiprocessing.get_context("fork").Process(
            target=_run_fork, args=(name, forked, reader, os.getpid()), name=name, daemon=True
        )
        # A signal that arrived before the fork has reset its handlers would be taken for one to this process.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            os.close(reader)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """Waits until it has ended, and returns the exit code."""
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Sends it SIGKILL, if it runs."""
        self.send_signal(signal.SIGKILL)


class ChildProcess:
    """Runs a command or a fork; `keep_running` starts it again when it dies.

    `command` is called at each start. It raises CannotStart or OSError if the child cannot be started.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[], Command | Forked],
        report: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | Fork | None = None
        self.deaths = 0
        """Deaths in a row, each within STEADY_SECONDS of the start."""
        self.deaths_in_all = 0
        self._make_command = command
        self._command: Command | Forked | None = None
        self._report = report
        self._changed = changed
        self._ended = asyncio.Event()
        self._started_at = 0.0
        self._stopping = False

    @property
    def exit_code(self) -> int | None:
        """None while it runs and before its first start; negative: the signal that ended it."""
        return None if self.process is None else self.process.returncode

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self.process.pid if self.process is not None and self.exit_code is None else None

    @property
    def is_steady(self) -> bool:
        """Whether it runs, and has either never died or lived for STEADY_SECONDS since its last start."""
        lived_long = not self.deaths_in_all or time.monotonic() - self._started_at >= STEADY_SECONDS
        return self.pid is not None and lived_long

    def launch(self) -> "subprocess.Popen[bytes] | Fork":
        """Starts the process, which then waits for its standard input; `release` writes that. Raises as `command`."""
        command = self._command = self._make_command()
        self._ended.clear()
        self._started_at = time.monotonic()
        self.process = _launch(command) if isinstance(command, Command) else Fork(self.name, command)
        self._changed()
        return self.process

    def release(self) -> None:
        """Writes the process's standard input, which is its permission to go on."""
        if self.process is not None and self.process.stdin is not None and self._command is not None:
            # If the process is already dead, the pipe is broken; `reap` notices the death.
            with suppress(BrokenPipeError), self.process.stdin as pipe:
                pipe.write(self._command.standard_input)

    def reap(self) -> None:
        """Notices if the process has ended; to be called at each SIGCHLD."""
        if self.process is not None and self.process.poll() is not None:
            self._ended.set()

    async def ended(self) -> int:
        """Waits until the process ends and returns its exit code."""
        await self._ended.wait()
        return self.exit_code or 0

    async def keep_running(self, may_restart: Callable[[int], bool]) -> None:
        """Starts the process again each time it dies, as long as `may_restart` returns True for its exit code.

        Returns after `stop`, or when `may_restart` returns False.
        """
        while True:
            code = await self.ended()
            if self._stopping or not may_restart(code):
                return
            self.deaths_in_all += 1
            lived_seconds = time.monotonic() - self._started_at
            self.deaths = 1 if lived_seconds >= STEADY_SECONDS else self.deaths + 1
            wait_seconds = BACKOFF_SECONDS[min(self.deaths, len(BACKOFF_SECONDS)) - 1]
            when = f"in {wait_seconds:g} s" if wait_seconds else "now"
            self._report(f"{self.name} {describe_end(code)}; starting it again {when}")
            await asyncio.sleep(wait_seconds)
            while not self._stopping:
                try:
                    self.launch()
                except (OSError, CannotStart) as error:
                    reason = error.strerror if isinstance(error, OSError) else error
                    self._report(f"{self.name} cannot be started: {reason}; trying again")
                    await asyncio.sleep(BACKOFF_SECONDS[-1])
                else:
                    self.release()
                    break

    async def stop(self, seconds: float, gently: signal.Signals = signal.SIGTERM) -> None:
        """Sends the process a signal, and SIGKILL after `seconds`; returns when it has ended."""
        self._stopping = True
        process = self.process
        if process is None or process.poll() is not None:
            self._ended.set()
            return
        process.send_signal(gently)
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            self._report(f"{self.name} has not stopped within {seconds:.1f} s and is killed")
            process.kill()
            await self._ended.wait()

    def send(self, number: signal.Signals) -> None:
        """Sends the process a signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kills the process; it is not started again."""
        self._stopping = True
        if self.process is not None and self.process.poll() is None:
            self.process.kill()


def describe_end(code: int) -> str:
    """An exit code in words: `exited with code 3`, `was ended by SIGKILL`."""
    if code >= 0:
        return f"exited with code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def children_environment() -> dict[str, str]:
    """This process's environment without anything that could be a secret."""
    return {
        name: value for name, value in os.environ.items() if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }


def _launch(command: Command) -> subprocess.Popen[bytes]:
    output = None
    if command.log is not None:
        output = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # In a process group of its own the child does not get the terminal's Ctrl-C; the supervisor stops its children
        # in order. preexec_fn is safe: the supervisor's only other thread writes the log, and holds no lock that
        # the new process takes.
        return subprocess.Popen(
            command.arguments,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            pass_fds=command.pass_fds,
            env=children_environment(),
            process_group=0,
            preexec_fn=partial(_die_with, os.getpid()),
        )
    finally:
        if output is not None:
            os.close(output)


def _run_fork(name: str, forked: Forked, standard_input: int, parent: int) -> None:
    """Begins in a fork, with all signals blocked. Makes it as independent of this process as a new program."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    _die_with(parent)
    if hasattr(_libc, "prctl"):
        _libc.prctl(PR_SET_NAME, name.encode())  # in `ps -e` and `top`; 15 bytes at most
    os.setpgid(0, 0)  # see _launch
    os.dup2(standard_input, 0)
    sys.stdin = os.fdopen(0, closefd=False)
    first = 3
    for kept in sorted(forked.pass_fds):
        os.closerange(first, kept)
        first = kept + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    for variable in os.environ.keys() - children_environment().keys():
        del os.environ[variable]
    try:
        forked.run()
    finally:
        restore_streams()  # a fork ends without the functions of atexit, but it may print a traceback


def _die_with(parent: int) -> None:
    """Linux only (no other system has prctl): if the supervisor is killed by SIGKILL, its children end, too."""
    if hasattr(_libc, "prctl"):
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
