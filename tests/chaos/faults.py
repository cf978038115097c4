"""The faults of one server of Redis, and of the service in any form.

Each one is real, lasts as long as its coroutine runs, and has ended when the coroutine returns. `failovers.py` has
those of several servers.
"""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from tests.chaos.deployment import Deployment, EmbeddedRedis
from tests.fixtures.service import RunningService
from tests.fixtures.waiting import eventually_async

Fault = Callable[[Deployment[Any], random.Random], Awaitable[None]]

KILLS = 3
"""How often a fault kills a process in one round."""

SILENCE_SECONDS = (2.0, 5.0)
"""How long Redis is stopped or the database is locked."""

JUMPS_SECONDS = (1, 5, 60, 3_600, 43_200)
"""How far the clock is set back and then forward again. Less than a day, because an idempotency key's first answer
expires after a day.
"""


async def nothing(deployment: Deployment[Any], chance: random.Random) -> None:
    """No fault. Violations found in this round have another cause."""


async def kill_worker(deployment: Deployment[Any], chance: random.Random) -> None:
    """A web worker is killed. Clients of its socket wait until the next worker has started."""
    deployment.client.seconds = deployment.client.starting_seconds
    for _ in range(KILLS):
        service = deployment.a_node(chance)
        workers = sorted(part for part in service.parts() if part.startswith("worker"))
        await asyncio.sleep(chance.random() * 0.5)
        await deployment.kill(service, chance.choice(workers))


async def kill_persister(deployment: Deployment[Any], chance: random.Random) -> None:
    """The persister is killed between any two of its steps."""
    for _ in range(KILLS):
        await asyncio.sleep(chance.random() * 0.8)
        await deployment.kill(deployment.a_node(chance), "persister")


async def kill_outbox(deployment: Deployment[Any], chance: random.Random) -> None:
    """The outbox is killed between any two of its steps. Another one, or its successor, goes on."""
    for _ in range(KILLS):
        await asyncio.sleep(chance.random() * 0.8)
        await deployment.kill(deployment.a_node(chance), "outbox")


async def kill_redis(deployment: Deployment[EmbeddedRedis], chance: random.Random) -> None:
    """Redis is killed. Every acknowledged change is in its append-only file."""
    for _ in range(KILLS):
        await asyncio.sleep(chance.random() * 0.8)
        await deployment.kill(deployment.services[0], "redis")


async def kill_service(deployment: Deployment[Any], chance: random.Random) -> None:
    """A node's supervisor is killed, which ends all of its processes. Then the node is started again."""
    service = deployment.a_node(chance)
    await asyncio.sleep(chance.random() * 0.5)
    service.kill("service")
    deployment.count_kill("service")
    assert service.process is not None
    await asyncio.to_thread(service.process.wait)
    await _start(deployment, service)


async def sigterm_rolling(deployment: Deployment[Any], chance: random.Random) -> None:
    """Each node in turn gets SIGTERM under load, ends with exit code 0 within 10 s, and is started again."""
    for service in deployment.services:
        await asyncio.sleep(chance.random() * 0.5)
        code = await asyncio.to_thread(service.stop, signal.SIGTERM)
        assert code == 0, f"SIGTERM under load: exit code {code}"
        await _start(deployment, service)


async def stop_redis(deployment: Deployment[EmbeddedRedis], chance: random.Random) -> None:
    """Redis is stopped with SIGSTOP, so that only the client's own timeout bounds a call."""
    pid = deployment.services[0].kill("redis", signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(*SILENCE_SECONDS))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def script_flush(deployment: Deployment[Any], chance: random.Random) -> None:
    """The script cache of every server of Redis is flushed again and again."""
    for _ in range(30):
        for node in deployment.redis.nodes:
            await asyncio.to_thread(node.run, "SCRIPT", "FLUSH")
        await asyncio.sleep(chance.random() * 0.05)


async def out_of_memory(deployment: Deployment[EmbeddedRedis], chance: random.Random) -> None:
    """Redis's memory limit is set to hardly more than it uses."""
    redis = deployment.redis.client
    used = int((await redis.info("memory"))["used_memory"])
    await redis.config_set("maxmemory", used + chance.randrange(0, 60_000))
    await asyncio.sleep(1.5)
    await redis.config_set("maxmemory", 0)


async def wrong_type(deployment: Deployment[EmbeddedRedis], chance: random.Random) -> None:
    """A waiting list is replaced by a key of another type for a while."""
    redis = deployment.redis.client
    found = [key async for key in redis.scan_iter("booking:*:waiting", count=1_000)]
    if not found:
        return
    key = chance.choice(sorted(found))
    aside = key + b":aside"
    planted = redis.pipeline(transaction=True)  # atomic, so that no user joins a new list in between
    planted.rename(key, aside)
    planted.set(key, "something else")
    with suppress(RedisError):  # the list may have become empty
        await planted.execute(raise_on_error=False)
    if not await redis.exists(aside):
        await redis.delete(key)
        return
    await asyncio.sleep(1)
    restored = redis.pipeline(transaction=True)
    restored.delete(key)
    restored.rename(aside, key)
    await restored.execute()


async def flushall(deployment: Deployment[Any], chance: random.Random) -> None:
    """One primary is emptied. The streams are drained first, since changes that are only in Redis would be lost."""
    await _pause_and_drain(deployment)
    primary = chance.choice(await asyncio.to_thread(deployment.redis.primaries))
    await asyncio.to_thread(primary.run, "FLUSHALL")
    deployment.running.set()
    await asyncio.sleep(0.5 + chance.random())
    await deployment.command("restore", "--yes")


async def old_copy(deployment: Deployment[EmbeddedRedis], chance: random.Random) -> None:
    """Redis is restarted on an old copy of its files while the service runs."""
    copy = deployment.data_dir.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(deployment.redis.folder, copy)
    await asyncio.sleep(0.5 + chance.random())
    await _pause_and_drain(deployment)
    service = deployment.services[0]
    with service.without_supervision():
        killed = service.kill("redis")
        shutil.rmtree(deployment.redis.folder, ignore_errors=True)
        shutil.copytree(copy, deployment.redis.folder, dirs_exist_ok=True)
    await deployment.is_replaced(service, "redis", killed)
    deployment.running.set()
    await asyncio.sleep(0.5 + chance.random())
    await deployment.command("restore", "--yes")


async def sqlite_locked(deployment: Deployment[EmbeddedRedis], chance: random.Random) -> None:
    """Another process locks the database for a while."""
    path = deployment.data_dir / "booking.sqlite3"
    if not path.exists():
        return
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)) as connection:
        await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
        await asyncio.sleep(chance.uniform(*SILENCE_SECONDS))
        connection.execute("ROLLBACK")


async def postgres_stopped(deployment: Deployment[Any], chance: random.Random) -> None:
    """The database server is stopped for a while."""
    if deployment.postgres is None:
        return
    await asyncio.to_thread(deployment.postgres.stop)
    await asyncio.sleep(chance.uniform(*SILENCE_SECONDS))
    await asyncio.to_thread(deployment.postgres.start)


async def clock_back(deployment: Deployment[EmbeddedRedis], chance: random.Random) -> None:
    """Redis's clock is set back by seconds or hours and then corrected. Redis is killed once in between."""
    clock = deployment.redis.clock
    if clock is None:
        return
    for _ in range(KILLS):
        clock.shift(-chance.choice(JUMPS_SECONDS))
        await asyncio.sleep(chance.random() * 0.8)
    await deployment.kill(deployment.services[0], "redis")
    clock.shift(0)


async def slow_clients(deployment: Deployment[Any], chance: random.Random) -> None:
    """Many clients each send a byte of a request now and then."""
    where = urlsplit(deployment.a_node(chance).base_url)
    connections = [await asyncio.open_connection(where.hostname, where.port) for _ in range(200)]
    try:
        for byte in b"POST /book HT":
            for _, writer in connections:
                writer.write(bytes([byte]))
            await asyncio.sleep(0.15)
    finally:
        for _, writer in connections:
            writer.transport.abort()


async def _start(deployment: Deployment[Any], service: RunningService) -> None:
    deployment.client.seconds = deployment.client.starting_seconds
    await asyncio.to_thread(service.start)
    deployment.client.seconds = deployment.client.usual_seconds


async def _pause_and_drain(deployment: Deployment[Any]) -> None:
    deployment.running.clear()
    await eventually_async(lambda: deployment.client.in_flight == 0, "every call has its answer")
    await deployment.settle()


def named(*functions: Fault) -> dict[str, Fault]:
    """Faults by their names on the command line."""
    return {function.__name__.replace("_", "-"): function for function in functions}


ANYWHERE = named(
    nothing, kill_worker, kill_persister, kill_outbox, kill_service, sigterm_rolling, script_flush, flushall,
    postgres_stopped, slow_clients,
)  # fmt: skip
"""Faults of the service in any form."""

EMBEDDED = ANYWHERE | named(kill_redis, stop_redis, out_of_memory, wrong_type, old_copy, sqlite_locked, clock_back)
"""Faults of the service with its embedded Redis."""

FORGETTING_KEYS = {"flushall", "old-copy"}
"""Faults that lose the first answers under idempotency keys."""

FORGETTING_REFUSALS = {"clock-back"}
"""Faults that lose those of them that are refusals: they are kept for ten minutes, and the clock jumps further."""
