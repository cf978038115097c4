"""An engine that waits for its connections before it closes them."""

import asyncio
from collections.abc import Callable
from typing import cast

from sqlalchemy import AsyncAdaptedQueuePool
from sqlalchemy.ext.asyncio import AsyncEngine

CLOSE_SECONDS_MAX = 6.0
"""How long `dispose` waits. A cancelled call of SQLite may still wait for a lock, for up to 5 s."""

POLL_SECONDS = 0.005


class ClosingEngine(AsyncEngine):
    """An engine whose `dispose` also closes the connections that are in use.

    SQLAlchemy's closes those in the pool. One that is given back later stays open: a call that was cancelled may have
    one for a while, because SQLAlchemy ends its transaction in a task of its own.
    """

    async def dispose(self, close: bool = True) -> None:
        """Waits up to CLOSE_SECONDS_MAX until no connection is in use, and closes every connection."""
        pool = cast("AsyncAdaptedQueuePool", self.pool)
        await wait_until(lambda: not pool.checkedout())
        await super().dispose(close)


async def wait_until(holds: Callable[[], bool]) -> None:
    """Waits up to CLOSE_SECONDS_MAX."""
    loop = asyncio.get_running_loop()
    end = loop.time() + CLOSE_SECONDS_MAX
    while not holds() and loop.time() < end:  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)
