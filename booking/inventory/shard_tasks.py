"""Work that is repeated for each shard, so that a shard whose primary stands still delays no other."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any


class ShardTasks:
    """One task a shard at most."""

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def start(
        self, step: Callable[[int], Coroutine[Any, Any, None]], shards: Iterable[int], seconds_max: float
    ) -> None:
        """Starts the step for each of these shards whose last step has ended, and waits up to `seconds_max` for them.

        Steps that start together share a batch. A step has to handle its errors.
        """
        started = []
        for shard in shards:
            last = self._tasks.get(shard)
            if last is None or last.done():
                self._tasks[shard] = asyncio.create_task(step(shard))
                started.append(self._tasks[shard])
        if started:
            await asyncio.wait(started, timeout=seconds_max)

    async def cancel(self) -> None:
        """Cancels the steps that have not ended."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
