"""A box office whose scripts read a clock that the test sets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from booking.inventory.box_office import BoxOffice, RateLimit
from tests.fixtures.stock import EPOCHS, found, one_server
from tests.model.settable_clock import CLOCK_KEY, RewrittenConnection, scripts_with_settable_clock

NOON_MS = 1_800_000_000_000


@asynccontextmanager
async def office_with_clock(address: str, rate_limit: RateLimit | None = None) -> AsyncIterator[tuple[BoxOffice, Any]]:
    """A box office whose scripts read a settable clock, and the connection that sets it."""
    await found(address)
    redis: Any = Redis.from_url(address, protocol=2)
    connection = RewrittenConnection(address, scripts_with_settable_clock())
    office = BoxOffice(one_server(address, connection, 100), EPOCHS, rate_limit, 1_000)
    try:
        yield office, redis
    finally:
        await office.close()
        await redis.aclose()


async def set_clock(redis: Any, ms: int) -> None:
    """Sets the clock that the scripts read, in milliseconds since 1970."""
    await redis.set(CLOCK_KEY, ms * 1000)
