"""A Redis that cannot be used is named in one line: a replica, a Sentinel, a cluster's node, an ACL, a certificate."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from booking.domain.diagnosis import Verdict
from booking.inventory.connection import open_client, unavailable
from booking.inventory.embedded import find_program
from booking.inventory.errors import AddressUnreadable, CommandRefused, InventoryUnavailable
from booking.inventory.inspection import inspect
from booking.inventory.server_checks import start_checks
from booking.inventory.streams import ChangeStreams
from booking.operations.doctor.stock import check_redis
from booking.settings import Settings
from tests.fixtures.commands import run_child
from tests.fixtures.tls import front, make_authority
from tests.fixtures.valkey import ValkeyServer, running_valkey
from tests.fixtures.waiting import eventually

PASSWORD = "s3cret-word"


async def faults(address: str) -> list[str]:
    """What prevents a start on the server at `address`, in one line for each."""
    return [
        f"{one.found}; {one.advice}" for one in start_checks(await inspect(address)) if one.verdict is Verdict.FAULT
    ]


async def told_by_doctor(address: str) -> str:
    findings, _ = await check_redis(Settings(redis_url=address), serving=False)
    return "\n".join(f"{one.found}; {one.advice}" for one in findings if one.verdict is Verdict.FAULT)


def told_at_the_start(address: str, folder: Path) -> str:
    """The lines that `booking serve` ends with; they are the inspection's."""
    settings = Settings(redis_url=address, data_dir=folder)
    ended = run_child(["inspect"], settings.model_dump_json())
    assert ended.returncode == 2, ended.stderr
    assert PASSWORD not in ended.stderr
    return ended.stderr


@contextmanager
def administered(server: ValkeyServer) -> Iterator[Any]:
    with Redis.from_url(server.address, protocol=2) as redis:
        yield redis


@pytest.fixture
def guarded() -> Iterator[tuple[Any, str]]:
    """A server's administrator, and the address of the user `shop`, which has no rights yet."""
    with running_valkey("--appendonly", "yes", "--appendfsync", "always") as server, administered(server) as redis:
        redis.execute_command("ACL", "SETUSER", "shop", "on", f">{PASSWORD}")
        yield redis, server.address.replace("unix://", f"unix://shop:{PASSWORD}@")


def grant(redis: Any, *rules: str) -> None:
    redis.execute_command("ACL", "SETUSER", "shop", *rules)


RIGHTS = ("~booking:*", "+@all", "-@admin", "-@dangerous", "+info")
"""The rights that scripts/deploy/README.md names."""


async def test_the_documented_rights_are_enough(guarded: tuple[Any, str]) -> None:
    redis, address = guarded
    grant(redis, *RIGHTS)
    assert await faults(address) == []
    text = (Path(__file__).parents[2] / "scripts" / "deploy" / "README.md").read_text(encoding="utf-8")
    assert f"`ACL SETUSER shop on >PASSWORD {' '.join(RIGHTS)}`" in text


async def test_a_user_without_info_is_told_what_to_grant_and_not_to_start_it(
    guarded: tuple[Any, str], tmp_path: Path
) -> None:
    redis, address = guarded
    grant(redis, *RIGHTS, "-info")
    at_the_start = await asyncio.to_thread(told_at_the_start, address, tmp_path)
    for line in (at_the_start, await told_by_doctor(address)):
        assert "ACL refuses INFO" in line
        assert "ACL SETUSER shop +info" in line
        assert "start it" not in line


async def test_a_command_of_the_scripts_that_an_acl_refuses_is_named_before_a_sale(
    guarded: tuple[Any, str], tmp_path: Path
) -> None:
    redis, address = guarded
    grant(redis, *RIGHTS, "-zadd", "-xread")
    at_the_start = await asyncio.to_thread(told_at_the_start, address, tmp_path)
    for line in (at_the_start, await told_by_doctor(address)):
        assert "ACL refuses XREAD, ZADD on booking:*; grant them: ACL SETUSER <user> ~booking:* +xread +zadd" in line
    grant(redis, "+zadd", "+xread", "-eval")
    with pytest.raises(CommandRefused, match=r"refuses EVAL to this user: ACL SETUSER shop \+eval"):
        await inspect(address)


async def test_a_command_that_is_refused_later_is_named_with_its_grant(guarded: tuple[Any, str]) -> None:
    redis, address = guarded
    grant(redis, *RIGHTS, "-zadd", "-get")
    streams, client = ChangeStreams(address), open_client(address, 5)
    try:
        with pytest.raises(InventoryUnavailable, match=r"its ACL refuses ZADD to this user: ACL SETUSER shop \+zadd"):
            await streams.share("me", [0], 1_000)
        with pytest.raises(InventoryUnavailable, match=r"refuses GET .* \+get"), unavailable("read"):
            await client.get("booking:x")
        with pytest.raises(InventoryUnavailable, match=r"use the service's keys.*~booking:"), unavailable("read"):
            await client.set("shop:x", "1")
    finally:
        await streams.close()
        await client.aclose()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


async def test_a_replica_is_refused_and_its_primary_named(tmp_path: Path) -> None:
    port = free_port()
    with (
        running_valkey("--bind", "127.0.0.1", "--port", str(port)),
        running_valkey("--replicaof", f"127.0.0.1 {port}") as replica,
    ):
        for line in (
            await asyncio.to_thread(told_at_the_start, replica.address, tmp_path),
            await told_by_doctor(replica.address),
        ):
            assert f"a replica, which accepts no bookings; name its primary, 127.0.0.1:{port}, instead" in line
            assert len(line.splitlines()) == 1


@contextmanager
def running_sentinel(folder: Path, primary: int) -> Iterator[str]:
    """The address of a Sentinel that watches the server at the port `primary`."""
    port, configuration = free_port(), folder / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor sale 127.0.0.1 {primary} 1\n"
    )
    with subprocess.Popen([find_program(None), configuration, "--sentinel"], stdout=subprocess.DEVNULL) as process:
        try:
            with Redis(port=port, protocol=2) as redis:
                eventually(lambda: answers(redis), "the Sentinel answers")
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.kill()


def answers(redis: Any) -> bool:
    try:
        return bool(redis.ping())
    except RedisConnectionError:
        return False


async def test_a_sentinel_is_refused_and_the_primary_that_it_watches_named(tmp_path: Path) -> None:
    port = free_port()
    with running_valkey("--bind", "127.0.0.1", "--port", str(port)), running_sentinel(tmp_path, port) as address:
        for line in (await asyncio.to_thread(told_at_the_start, address, tmp_path), await told_by_doctor(address)):
            assert (
                f"a Sentinel, which holds no data; name the primary that it watches, 127.0.0.1:{port}, instead" in line
            )
            assert "or follow its failovers with redis+sentinel://HOSTS/sale" in line


async def test_a_node_with_some_slots_of_a_cluster_is_refused_and_one_with_all_is_not(tmp_path: Path) -> None:
    bus = str(free_port())
    with (
        running_valkey("--cluster-enabled", "yes", "--bind", "127.0.0.1", "--cluster-port", bus) as node,
        administered(node) as redis,
    ):
        redis.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8_000)
        for line in (
            await asyncio.to_thread(told_at_the_start, node.address, tmp_path),
            await told_by_doctor(node.address),
        ):
            assert "a node of a cluster, which has only some of the keys; begin BOOKING_REDIS_URL with redis+c" in line
        redis.execute_command("CLUSTER", "ADDSLOTSRANGE", 8_001, 16_383)
        eventually(lambda: b"cluster_state:ok" in bytes(redis.execute_command("CLUSTER", "INFO")), "it is ready")
        assert await faults(node.address) == []


async def test_a_cluster_or_sentinels_that_cannot_be_asked_are_named_with_the_reason() -> None:
    port = free_port()
    with running_valkey("--bind", "127.0.0.1", "--port", str(port)) as server, administered(server) as redis:
        for form, reason in (
            ("redis+cluster://127.0.0.1:{}", "it is in no cluster: begin BOOKING_REDIS_URL with redis://"),
            ("redis+sentinel://127.0.0.1:{}/sale", "none of 1 Sentinels names the primary of 'sale'"),
            ("redis+sentinel://127.0.0.1:1/sale", "ConnectionError"),
        ):
            line = await told_by_doctor(form.format(port))
            assert line.startswith("none of 1 ")
            assert reason in line
        redis.config_set("requirepass", PASSWORD)
        line = await told_by_doctor(f"redis+cluster://:{PASSWORD}x@127.0.0.1:{port}")
        assert f"127.0.0.1:{port}: Redis cannot be asked for its topology (AuthenticationError)" in line
        assert PASSWORD not in line


async def test_a_certificate_that_is_not_trusted_is_named_with_the_option_for_its_ca(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "localhost")
    trusted = f"ssl_ca_certs={authority.certificate}"
    with running_valkey() as server:
        async with front(server.socket, authority.server) as port:
            at, by_address = f"rediss://localhost:{port}", f"rediss://:{PASSWORD}@127.0.0.1:{port}"
            assert await faults(f"{at}?{trusted}") == []
            with pytest.raises(AddressUnreadable, match=r"not trusted, .*: name its CA's file with .ssl_ca_certs="):
                await inspect(at)
            for line in (
                await asyncio.to_thread(told_at_the_start, f"{by_address}?{trusted}", tmp_path),
                await told_by_doctor(f"{by_address}?{trusted}"),
            ):
                assert "its certificate is for another host than the URL names" in line
                assert PASSWORD not in line
            streams = ChangeStreams(at)
            with pytest.raises(InventoryUnavailable, match="its certificate is not trusted"):
                await streams.is_loaded()
            await streams.close()
