"""The persister's low priority, and the supervisor's watch for its starvation.

Buyers wait for the web workers and for Redis, but not for the persister. At normal priority on two busy cores, its
transactions dominate the p99 of bookings (9 to 12 ms instead of 6 ms, at half of one worker's capacity). Niceness alone
is too little: with 10 it was 15 ms beside 9 (0d84e1a). Linux interrupts a task of SCHED_IDLE at once, and any other one
only at the end of its slice.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from booking.processes.child_process import ChildProcess

HEARTBEAT_SECONDS = 0.25
"""Between two heartbeats."""

SILENCE_SECONDS_MAX = 1.0
"""A persister without a heartbeat for this long is starved. To start another takes half a second, so that SQL can still
be equal to Redis within 2 s."""


def lower_priority(descriptor: int) -> None:
    """Gives every thread of this process the lowest priority, and writes heartbeats to `descriptor` from now on.

    New threads inherit the priority. A process cannot raise it again without privileges, so another process takes over
    if it is starved. To be called in the running event loop.
    """
    with suppress(OSError):  # a sandbox may refuse it; then the persister runs at normal priority
        for thread in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):  # the thread has ended meanwhile
                os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
    _heartbeat(asyncio.get_running_loop(), descriptor)


def restore_priority(pid: int) -> None:
    """Gives every thread of another process normal priority, if this process may: as root, or with CAP_SYS_NICE.

    Without it, the process keeps its low priority.
    """
    with suppress(OSError):  # not permitted, or the process has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))


def _heartbeat(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(descriptor, b".")
    loop.call_later(HEARTBEAT_SECONDS, _heartbeat, loop, descriptor)


class StarvationWatch:
    """The supervisor's side: reads the heartbeats, and notices if a persister of low priority is starved."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._heard, self.descriptor = os.pipe()
        os.set_blocking(self._heard, False)
        os.set_blocking(self.descriptor, False)
        self.has_low_priority = hasattr(os, "SCHED_IDLE")
        """Whether the next persister gets low priority. After a starvation no persister does."""

    def close(self) -> None:
        """Closes both ends of the pipe."""
        os.close(self._heard)
        os.close(self.descriptor)

    async def run(self, persister: ChildProcess) -> None:
        """Reads heartbeats until no persister has low priority. Kills a starved one, so that it is restarted."""
        loop = asyncio.get_running_loop()
        listened_to, heard_at = persister.process, None
        while self.has_low_priority:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            heard, now = self._hear(), loop.time()
            if persister.process is not listened_to:  # heartbeats begin when it lowers its priority
                listened_to, heard_at = persister.process, None
            elif heard:
                heard_at = now
            elif heard_at is not None and now - heard_at > SILENCE_SECONDS_MAX and listened_to is not None:
                self.disable()
                listened_to.kill()

    def disable(self) -> None:
        """From the next start on, persisters run at normal priority."""
        if self.has_low_priority:
            self.has_low_priority = False
            self._report("the persister falls behind; it goes on at normal priority")

    def _hear(self) -> bool:
        with suppress(BlockingIOError):
            return bool(os.read(self._heard, 4_096))
        return False
