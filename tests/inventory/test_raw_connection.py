"""A connection that is opened without redis-py's streams does all that the URL of a Redis may ask for."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from booking.inventory.connection import open_pool, reason_of
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.raw_connection import RawConnection, open_connection
from tests.fixtures.servers import listening
from tests.fixtures.tls import front, make_authority
from tests.fixtures.valkey import ValkeyServer, running_valkey
from tests.fixtures.waiting import eventually_async

PASSWORD = "p@ss word"
IN_A_URL = "p%40ss%20word"


@pytest.fixture
async def guarded() -> AsyncIterator[ValkeyServer]:
    """A server with a password for the default user, a user of another name, and one without a password."""
    with running_valkey() as server:
        async with Redis.from_url(server.address, protocol=2) as redis:
            await redis.acl_setuser(
                "seller", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], categories=["+@all"]
            )
            await redis.acl_setuser("open", enabled=True, nopass=True, keys=["*"], categories=["+@all"])
            await redis.config_set("requirepass", PASSWORD)
        yield server


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RawConnection]:
    connection = await open_connection(open_pool(url, None))
    try:
        yield connection
    finally:
        connection.transport.abort()


async def test_the_user_the_database_and_the_name_in_a_url_are_used(guarded: ValkeyServer) -> None:
    async with opened(f"unix://seller:{IN_A_URL}@{guarded.socket}?db=3&client_name=shop") as connection:
        assert await connection.execute([("ACL", "WHOAMI"), ("CLIENT", "GETNAME")]) == [b"seller", b"shop"]
        (info,) = await connection.execute([("CLIENT", "INFO")])
        assert b" db=3 " in info


async def test_a_password_alone_is_the_default_users(guarded: ValkeyServer) -> None:
    async with opened(f"unix://:{IN_A_URL}@{guarded.socket}") as connection:
        assert await connection.execute([("ACL", "WHOAMI")]) == [b"default"]


@pytest.mark.parametrize("credentials", ["", ":wrong@", "nobody:wrong@"])
async def test_credentials_that_are_wrong_are_refused_without_naming_them(
    guarded: ValkeyServer, credentials: str
) -> None:
    with pytest.raises(RedisError) as refused:
        await open_connection(open_pool(f"unix://{credentials}{guarded.socket}?db=1", None))
    assert reason_of(refused.value) == "AuthenticationError"


async def test_a_user_without_a_password_is_logged_in(guarded: ValkeyServer) -> None:
    async with opened(f"unix://open@{guarded.socket}") as connection:
        assert await connection.execute([("ACL", "WHOAMI")]) == [b"open"]


async def test_a_database_that_the_server_lacks_is_refused(clean_valkey: str) -> None:
    with pytest.raises(InventoryUnavailable, match="Redis refuses"):
        await open_connection(open_pool(f"{clean_valkey}?db=99", None))


async def test_a_connection_that_cannot_be_used_is_not_left_open(clean_valkey: str) -> None:
    async with Redis.from_url(clean_valkey, protocol=2) as redis:
        with pytest.raises(InventoryUnavailable):
            await open_connection(open_pool(f"{clean_valkey}?db=99", None))

        async def is_alone() -> bool:
            return len(await redis.client_list()) == 1

        await eventually_async(is_alone, "the server sees it closed")


async def test_the_time_limit_for_connecting_in_a_url_is_kept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rediss://127.0.0.1:{silent.getsockname()[1]}?socket_connect_timeout=0.05"
        with pytest.raises(RedisTimeoutError):
            await open_connection(open_pool(url, None))


@pytest.mark.parametrize("host", ["x" * 64 + ".example", "127.0.0.1"])
async def test_what_cannot_be_connected_to_is_an_error_of_redis(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RedisError):
        await open_connection(open_pool(f"redis://{host}:{port}", None))


async def test_a_server_that_still_loads_its_data_is_an_error_of_the_connection() -> None:
    async def loads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"ECHO")
        writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")
        await reader.read()

    async with listening(loads) as port, opened(f"redis://127.0.0.1:{port}") as connection:
        with pytest.raises(BusyLoadingError):
            await connection.execute([("ECHO", "x")])


async def test_replies_come_in_the_order_of_their_commands_and_errors_are_replies(clean_valkey: str) -> None:
    async with opened(clean_valkey) as connection:
        assert await connection.execute([]) == []
        long = b"x" * 1_000_000
        replies = await connection.execute([("PING",), ("EVALSHA", "0" * 40, 0), ("ECHO", long), ("NO-SUCH",)])
        assert replies[::2] == [b"PONG", long]
        assert isinstance(replies[1], NoScriptError)
        assert isinstance(replies[3], ResponseError)
        assert await connection.execute([("GET", "nothing")]) == [None]


async def test_tls_and_keep_alive_over_tcp(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "localhost")
    with running_valkey() as server:
        async with front(server.socket, None) as port, opened(f"redis://127.0.0.1:{port}") as connection:
            assert await connection.execute([("PING",)]) == [b"PONG"]
            plain = connection.transport.get_extra_info("socket")
            assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        async with front(server.socket, authority.server) as port:
            url = f"rediss://localhost:{port}?ssl_ca_certs={authority.certificate}"
            async with opened(url) as connection:
                assert await connection.execute([("PING",)]) == [b"PONG"]
            with pytest.raises(RedisError) as refused:
                await open_connection(open_pool(f"rediss://localhost:{port}", None))
            assert reason_of(refused.value).startswith("its certificate is not trusted")


async def test_a_server_that_goes_while_it_is_asked_is_an_error() -> None:
    with running_valkey() as server:
        async with opened(server.address) as connection:
            asked = asyncio.ensure_future(connection.execute([("BLPOP", "nothing", 0)]))
            await asyncio.sleep(0)
            server.process.kill()
            with pytest.raises(RedisError):
                await asked
            with pytest.raises(RedisError):
                await connection.execute([("PING",)])
    with pytest.raises(RedisError):
        await open_connection(open_pool("unix:///nowhere/at/all.sock", None))
