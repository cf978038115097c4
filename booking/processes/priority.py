"""The persister runs when nobody else wants the processor, for as long as that leaves it enough: both ends of that.

A buyer waits for the web workers and for Redis, and nobody for the persister. On two busy cores its transactions are
else what the p99 of bookings is made of (6 against 9 to 12 ms at half of what one worker can do).
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from booking.processes.child_process import ChildProcess

HEARTBEAT_SECONDS = 0.25
"""Between two signs of life."""

SILENCE_SECONDS_MAX = 1.0
"""A persister that has not been given the processor for this long does not carry what is sold. Starting another takes
half a second, so that SQL can still be equal to Redis within 2 s."""


def lower_priority(descriptor: int) -> None:
    """Puts every thread of this process behind whatever else wants to run, and gives signs of life from now on.

    Threads made later follow their maker. There is no way back without privileges, which is why another process takes
    over where this leaves too little. To be called on the running loop.
    """
    with suppress(OSError):  # a sandbox that does not let it is no reason to carry nothing
        for thread in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):  # one that has ended meanwhile
                os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
    _heartbeat(asyncio.get_running_loop(), descriptor)


def _heartbeat(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(descriptor, b".")
    loop.call_later(HEARTBEAT_SECONDS, _heartbeat, loop, descriptor)


class StarvationWatch:
    """The supervisor's end: hears whether a persister that gives way still gets the processor now and then."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._heard, self.descriptor = os.pipe()
        os.set_blocking(self._heard, False)
        os.set_blocking(self.descriptor, False)
        self.has_low_priority = hasattr(os, "SCHED_IDLE")
        """Whether the next persister is to give way; once that has left too little, none does any more."""

    def close(self) -> None:
        """Closes both ends."""
        os.close(self._heard)
        os.close(self.descriptor)

    async def run(self, persister: ChildProcess) -> None:
        """Listens until none gives way any more; ends one that is starved, so that another takes its place."""
        loop = asyncio.get_running_loop()
        listened_to, heard_at = persister.process, None
        while self.has_low_priority:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            heard, now = self._hear(), loop.time()
            if persister.process is not listened_to:  # it gives no sign before it gives way
                listened_to, heard_at = persister.process, None
            elif heard:
                heard_at = now
            elif heard_at is not None and now - heard_at > SILENCE_SECONDS_MAX and listened_to is not None:
                self.disable()
                listened_to.kill()

    def disable(self) -> None:
        """From the next on, persisters run beside everybody else."""
        if self.has_low_priority:
            self.has_low_priority = False
            self._report("the persister falls behind; it goes on without giving way to everything else")

    def _hear(self) -> bool:
        with suppress(BlockingIOError):
            return bool(os.read(self._heard, 4_096))
        return False
