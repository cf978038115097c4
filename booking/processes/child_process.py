"""One part of the service: a child process that is started again whenever it dies, until it is told to stop."""

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

STEADY_SECONDS = 10.0
"""A part that lived this long was well: its next restart comes at once again."""

BACKOFF_SECONDS = (0.0, 0.2, 0.5, 1.0)
"""Waits before the first, second, … restart in a row; the last one repeats. With a part's own start, some 0.6 s, it is
back within 2 s however often it is killed."""

INHERITED = (
    "HOME", "LANG", "LANGUAGE", "LOGNAME", "NO_COLOR", "PATH", "PGPASSFILE", "TERM", "TMPDIR", "TZ", "USER",
    "VIRTUAL_ENV",
)  # fmt: skip
INHERITED_PREFIXES = ("COVERAGE_", "LC_", "LD_", "PGSSL", "PYTHON", "SSL_CERT_")
"""The variables that children are given. No setting is among them: settings travel over a pipe."""

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class CannotStart(Exception):
    """There is nothing to run at the moment; the message says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, what it reads from its standard input, and the descriptors it inherits."""

    arguments: Sequence[str]
    standard_input: bytes = b""
    pass_fds: tuple[int, ...] = ()
    log: str | None = None
    """A file that takes both outputs; None: they join the supervisor's."""


class ChildProcess:
    """Runs `command`, worked out anew at each start, and keeps it running while `keep` does.

    `command` raises CannotStart or OSError where there is nothing that could be run.
    """

    def __init__(
        self, name: str, command: Callable[[], Command], report: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        """How often in a row it has died within STEADY_SECONDS."""
        self.deaths_in_all = 0
        self._make_command = command
        self._command: Command | None = None
        self._report = report
        self._changed = changed
        self._ended = asyncio.Event()
        self._started_at = 0.0
        self._stopping = False

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or before its first start; negative: the signal that ended it."""
        return None if self.process is None else self.process.returncode

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self.process.pid if self.process is not None and self.exit_code is None else None

    @property
    def is_steady(self) -> bool:
        """Whether it runs, and has never died or lived for long since."""
        lived_long = not self.deaths_in_all or time.monotonic() - self._started_at >= STEADY_SECONDS
        return self.pid is not None and lived_long

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts the process; it waits for its standard input, which `release` gives."""
        self._command = self._make_command()
        self._ended.clear()
        self._started_at = time.monotonic()
        self.process = _launch(self._command)
        self._changed()
        return self.process

    def release(self) -> None:
        """Hands the process its standard input: the go-ahead."""
        if self.process is not None and self.process.stdin is not None and self._command is not None:
            # A process that is dead already breaks the pipe; reap will say so.
            with suppress(BrokenPipeError), self.process.stdin as pipe:
                pipe.write(self._command.standard_input)

    def reap(self) -> None:
        """Looks whether the process has ended; called when some child of ours has."""
        if self.process is not None and self.process.poll() is not None:
            self._ended.set()

    async def ended(self) -> int:
        """Waits for the process's end and returns its exit code."""
        await self._ended.wait()
        return self.exit_code or 0

    async def keep_running(self, may_restart: Callable[[int], bool]) -> None:
        """Starts the process again each time it dies with an exit code that `may_restart` takes.

        Returns once `stop` has been called, or at an exit code that it does not take.
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
        """Ends the process: a signal, and SIGKILL once `seconds` have passed; returns when it is gone."""
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

    def kill(self) -> None:
        """Kills the process; nothing starts it again."""
        self._stopping = True
        if self.process is not None and self.process.poll() is None:
            self.process.kill()


def describe_end(code: int) -> str:
    """An exit code in words: `exited with code 3`, `was ended by SIGKILL`."""
    if code >= 0:
        return f"exited with code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def children_environment() -> dict[str, str]:
    """Our environment without anything that could be a secret."""
    return {
        name: value for name, value in os.environ.items() if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }


def _launch(command: Command) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def die_with_parent() -> None:
        # Kept for Linux: a supervisor killed by SIGKILL leaves nothing behind. Elsewhere prctl does not exist.
        if hasattr(_libc, "prctl"):
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    output = None
    if command.log is not None:
        output = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # A group of its own keeps the terminal's Ctrl-C for the supervisor, which stops the parts in order. The
        # supervisor has one thread, which is what preexec_fn asks for.
        return subprocess.Popen(
            command.arguments,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            pass_fds=command.pass_fds,
            env=children_environment(),
            process_group=0,
            preexec_fn=die_with_parent,
        )
    finally:
        if output is not None:
            os.close(output)
