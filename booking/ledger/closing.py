"""An engine that waits for its connections before it closes them."""

import asyncio
from collections.abc import Callable
from typing import cast

from sqlalchemy import AsyncAdaptedQueuePool
from sqlalchemy.ext.asyncio import AsyncEngine

CLOSE_SECONDS_MAX = 6.0
"""How long one wait of `dispose` may take. A cancelled call of SQLite may still wait for a lock, for up to 5 s."""

POLL_SECONDS = 0.005


class ClosingEngine(AsyncEngine):
    """An engine whose `dispose` waits for the connections that are in use, so that it closes them, too.

    SQLAlchemy's closes those in the pool, and one that is given back later stays open. A cancelled call may use one for
    a while, because SQLAlchemy ends its transaction in a task of its own.
    """

    async def dispose(self, close: bool = True) -> None:
        """Closes every connection once none is in use. One that is in use after CLOSE_SECONDS_MAX stays open."""
        pool = cast("AsyncAdaptedQueuePool", self.pool)
        await wait_until(lambda: not pool.checkedout())
        await super().dispose(close)


async def wait_until(holds: Callable[[], bool]) -> None:
    """Waits until `holds` returns True, for CLOSE_SECONDS_MAX at most."""
    loop = asyncio.get_running_loop()
    end = loop.time() + CLOSE_SECONDS_MAX
    while not holds() and loop.time() < end:  # noqa: ASYNC110 - SQLAlchemy and threads set no event
        await asyncio.sleep(POLL_SECONDS)
