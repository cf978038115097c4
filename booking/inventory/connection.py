"""How to connect to Redis, and the error that its failures become."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from booking.inventory.errors import InventoryUnavailable


def open_pool(address: str, seconds_max: float | None) -> ConnectionPool:
    """A pool of connections to the Redis at `address`; nothing is connected yet.

    A connection waits up to `seconds_max` to connect and for each reply (None: no limit). It never repeats a command: a
    command whose reply was lost may have run. Raises ValueError for an address that cannot be parsed.
    """
    return ConnectionPool.from_url(
        address,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=seconds_max,
        socket_connect_timeout=seconds_max,
        protocol=2,
    )


def open_client(address: str, seconds_max: float) -> Redis:
    """A client with a pool from `open_pool`; its `aclose` closes the connections."""
    return Redis.from_pool(open_pool(address, seconds_max))


async def execute(connection: AbstractConnection, commands: Iterable[Sequence[bytes | str | int]]) -> list[Any]:
    """Sends commands over one connection at once, and returns their replies; a command's error is its reply.

    Raises RedisError if the connection is lost.
    """
    sent = list(commands)
    await connection.send_packed_command(connection.pack_commands(sent))
    replies: list[Any] = []
    for _ in sent:
        try:
            replies.append(await connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies


def raise_first(replies: Iterable[Any]) -> None:
    """Raises InventoryUnavailable if one of the replies is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise InventoryUnavailable(f"Redis refuses ({type(reply).__name__})")


@contextmanager
def unavailable(failed: str) -> Iterator[None]:
    """Turns any error of Redis or its client inside into InventoryUnavailable("Redis cannot be `failed`")."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise InventoryUnavailable(f"Redis cannot be {failed} ({type(error).__name__})") from None
