"""How to connect to Redis, and the error that its failures become."""

import re
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from booking.inventory.errors import InventoryUnavailable, NotExecuted

NOT_EXECUTED = ("MOVED ", "ASK ", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN")
"""How the refusals begin that a server gives before it runs a script, or at the script's first write."""

NOT_EXECUTED_ERRORS = (
    MovedError, AskError, TryAgainError, ClusterDownError, ReadOnlyError, BusyLoadingError, MasterDownError,
)  # fmt: skip
"""The same refusals as redis-py's errors, whose texts lack these beginnings."""

REFUSED_COMMAND = re.compile(r"(?:User (\S+) )?has no permissions to run the '([\w|]+)' command")
"""What Redis says of a command that its ACL refuses. The same stands in the middle of a script's error."""

WRONG_HOST = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


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


def location_of(address: str) -> str:
    """Where the address leads, without user and password: host and port, the path of a socket, or the seeds.

    Raises ValueError.
    """
    scheme, _, rest = address.partition("://")
    if "+" in scheme:
        return rest.partition("?")[0].rpartition("@")[2]
    options = open_pool(address, None).connection_kwargs
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


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
            raise refusal_error(reply)


def refusal_error(reply: Exception) -> InventoryUnavailable:
    """The error that a server's refusal, read by redis-py, becomes."""
    kind = NotExecuted if isinstance(reply, NOT_EXECUTED_ERRORS) else InventoryUnavailable
    return kind(f"Redis refuses ({reason_of(reply)})")


@contextmanager
def unavailable(failed: str) -> Iterator[None]:
    """Turns any error of Redis or its client inside into InventoryUnavailable("Redis cannot be `failed`")."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise InventoryUnavailable(f"Redis cannot be {failed} ({reason_of(error)})") from None


def reason_of(error: BaseException) -> str:
    """What an operator can change, or the error's type. It holds no secret: redis-py's texts may hold the address."""
    if "cluster support disabled" in str(error):
        return "it is in no cluster: begin BOOKING_REDIS_URL with redis:// or rediss://"
    return refusal_of(error) or tls_fault_of(error) or type(error).__name__


def refusal_of(error: BaseException) -> str | None:
    """The command that Redis's ACL refuses, and what to grant; None if the error is another one."""
    if not isinstance(error, NoPermissionError) and "NOPERM" not in str(error) and "ACL failure" not in str(error):
        return None
    found = REFUSED_COMMAND.search(str(error))
    if found is None:
        return "its ACL does not let this user use the service's keys: ACL SETUSER <user> ~booking:*"
    return f"its ACL refuses {found[2].upper()} to this user: ACL SETUSER {found[1] or '<user>'} +{found[2].lower()}"


def tls_fault_of(error: BaseException) -> str | None:
    """What is wrong with TLS, from the error or what it was raised from; None if it is something else."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, ssl.SSLCertVerificationError):
            if one.verify_code in WRONG_HOST:
                return "its certificate is for another host than the URL names"
            return f"its certificate is not trusted, {one.verify_message}: name its CA's file with ?ssl_ca_certs="
        if isinstance(one, ssl.SSLError):
            return f"TLS: {one.reason}"
        one = one.__cause__ or one.__context__
    return None
