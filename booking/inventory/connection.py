"""How Redis is connected to, and what its failures are called."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from booking.inventory.errors import InventoryUnavailable


def open_pool(address: str, seconds_max: float | None) -> ConnectionPool:
    """Connections to the Redis at `address`, that wait up to `seconds_max` to connect and for each reply (None: ever).

    None of them repeats a command: one whose reply was lost may have run. Nothing is connected to yet.
    Raises ValueError for an address that cannot be read.
    """
    return ConnectionPool.from_url(
        address,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=seconds_max,
        socket_connect_timeout=seconds_max,
        protocol=2,
    )


def open_client(address: str, seconds_max: float) -> Redis:
    """A client over such connections, which `aclose` closes."""
    return Redis.from_pool(open_pool(address, seconds_max))


@contextmanager
def unavailable(failed: str) -> Iterator[None]:
    """Raises InventoryUnavailable for whatever Redis or its client raises inside: "Redis cannot be `failed`"."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise InventoryUnavailable(f"Redis cannot be {failed} ({type(error).__name__})") from None
