"""The faults. Each one is real, lasts as long as its coroutine runs, and has ended when the coroutine returns."""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from tests.chaos.client import START_SECONDS_MAX
from tests.chaos.deployment import Deployment
from tests.fixtures.waiting import eventually_async

Fault = Callable[[Deployment, random.Random], Awaitable[None]]

KILLS = 3
"""How often a fault kills a process in one round."""

SILENCE_SECONDS = (2.0, 5.0)
"""How long Redis is stopped or the database is locked."""

JUMPS_SECONDS = (1, 5, 60, 3_600, 43_200)
"""How far the clock is set back and then forward again. Less than a day, because an idempotency key's first answer
expires after a day.
"""


async def nothing(deployment: Deployment, chance: random.Random) -> None:
    """No fault. Violations found in this round have another cause."""


async def kill_worker(deployment: Deployment, chance: random.Random) -> None:
    """A web worker is killed. Clients of its socket wait until the next worker has started."""
    deployment.client.seconds = START_SECONDS_MAX
    workers = sorted(part for part in deployment.service.parts() if part.startswith("worker"))
    for _ in range(KILLS):
        await asyncio.sleep(chance.random() * 0.5)
        await deployment.kill(chance.choice(workers))


async def kill_persister(deployment: Deployment, chance: random.Random) -> None:
    """The persister is killed between any two of its steps."""
    for _ in range(KILLS):
        await asyncio.sleep(chance.random() * 0.8)
        await deployment.kill("persister")


async def kill_redis(deployment: Deployment, chance: random.Random) -> None:
    """Redis is killed. Every acknowledged change is in its append-only file."""
    for _ in range(KILLS):
        await asyncio.sleep(chance.random() * 0.8)
        await deployment.kill("redis")


async def kill_service(deployment: Deployment, chance: random.Random) -> None:
    """The supervisor is killed, which ends all of its processes. Then the service is started again."""
    await asyncio.sleep(chance.random() * 0.5)
    deployment.service.kill("service")
    deployment.kills["service"] = deployment.kills.get("service", 0) + 1
    assert deployment.service.process is not None
    await asyncio.to_thread(deployment.service.process.wait)
    await _start(deployment)


async def sigterm_rolling(deployment: Deployment, chance: random.Random) -> None:
    """The service gets SIGTERM under load, ends with exit code 0 within 10 s, and is started again."""
    await asyncio.sleep(chance.random() * 0.5)
    code = await asyncio.to_thread(deployment.service.stop, signal.SIGTERM)
    assert code == 0, f"SIGTERM under load: exit code {code}"
    await _start(deployment)


async def stop_redis(deployment: Deployment, chance: random.Random) -> None:
    """Redis is stopped with SIGSTOP, so that only the client's own timeout bounds a call."""
    pid = deployment.service.kill("redis", signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(*SILENCE_SECONDS))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def script_flush(deployment: Deployment, chance: random.Random) -> None:
    """Redis's script cache is flushed again and again."""
    for _ in range(30):
        await deployment.redis.script_flush()
        await asyncio.sleep(chance.random() * 0.05)


async def out_of_memory(deployment: Deployment, chance: random.Random) -> None:
    """Redis's memory limit is set to hardly more than it uses."""
    used = int((await deployment.redis.info("memory"))["used_memory"])
    await deployment.redis.config_set("maxmemory", used + chance.randrange(0, 60_000))
    await asyncio.sleep(1.5)
    await deployment.redis.config_set("maxmemory", 0)


async def wrong_type(deployment: Deployment, chance: random.Random) -> None:
    """A waiting list is replaced by a key of another type for a while."""
    found = [key async for key in deployment.redis.scan_iter("booking:*:waiting", count=1_000)]
    if not found:
        return
    key = chance.choice(sorted(found))
    aside = key + b":aside"
    planted = deployment.redis.pipeline(transaction=True)  # atomic, so that no user joins a new list in between
    planted.rename(key, aside)
    planted.set(key, "something else")
    with suppress(RedisError):  # the list may have become empty
        await planted.execute(raise_on_error=False)
    if not await deployment.redis.exists(aside):
        await deployment.redis.delete(key)
        return
    await asyncio.sleep(1)
    restored = deployment.redis.pipeline(transaction=True)
    restored.delete(key)
    restored.rename(aside, key)
    await restored.execute()


async def flushall(deployment: Deployment, chance: random.Random) -> None:
    """Redis is emptied. The stream is drained first, since changes that are only in Redis would be lost."""
    await _pause_and_drain(deployment)
    await deployment.redis.flushall()
    deployment.running.set()
    await asyncio.sleep(0.5 + chance.random())
    await deployment.command("restore", "--yes")


async def old_copy(deployment: Deployment, chance: random.Random) -> None:
    """Redis is restarted on an old copy of its files while the service runs."""
    copy = deployment.service.data_dir.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(deployment.redis_folder, copy)
    await asyncio.sleep(0.5 + chance.random())
    await _pause_and_drain(deployment)
    killed = deployment.service.kill("redis")
    shutil.rmtree(deployment.redis_folder, ignore_errors=True)
    shutil.copytree(copy, deployment.redis_folder, dirs_exist_ok=True)
    await deployment.is_replaced("redis", killed)
    deployment.running.set()
    await asyncio.sleep(0.5 + chance.random())
    await deployment.command("restore", "--yes")


async def sqlite_locked(deployment: Deployment, chance: random.Random) -> None:
    """Another process locks the database for a while."""
    path = deployment.service.data_dir / "booking.sqlite3"
    if not path.exists():
        return
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)) as connection:
        await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
        await asyncio.sleep(chance.uniform(*SILENCE_SECONDS))
        connection.execute("ROLLBACK")


async def postgres_stopped(deployment: Deployment, chance: random.Random) -> None:
    """The database server is stopped for a while."""
    if deployment.postgres is None:
        return
    await asyncio.to_thread(deployment.postgres.stop)
    await asyncio.sleep(chance.uniform(*SILENCE_SECONDS))
    await asyncio.to_thread(deployment.postgres.start)


async def clock_back(deployment: Deployment, chance: random.Random) -> None:
    """Redis's clock is set back by seconds or hours and then corrected. Redis is killed once in between."""
    if deployment.clock is None:
        return
    for _ in range(KILLS):
        deployment.clock.shift(-chance.choice(JUMPS_SECONDS))
        await asyncio.sleep(chance.random() * 0.8)
    await deployment.kill("redis")
    deployment.clock.shift(0)


async def slow_clients(deployment: Deployment, chance: random.Random) -> None:
    """Many clients each send a byte of a request now and then."""
    where = urlsplit(deployment.service.base_url)
    connections = [await asyncio.open_connection(where.hostname, where.port) for _ in range(200)]
    try:
        for byte in b"POST /book HT":
            for _, writer in connections:
                writer.write(bytes([byte]))
            await asyncio.sleep(0.15)
    finally:
        for _, writer in connections:
            writer.transport.abort()


async def _start(deployment: Deployment) -> None:
    deployment.client.seconds = START_SECONDS_MAX
    await asyncio.to_thread(deployment.service.start)
    deployment.client.seconds = deployment.client.usual_seconds


async def _pause_and_drain(deployment: Deployment) -> None:
    deployment.running.clear()
    await eventually_async(lambda: deployment.client.in_flight == 0, "every call has its answer")
    await deployment.settle()


FAULTS: dict[str, Fault] = {
    function.__name__.replace("_", "-"): function
    for function in (
        nothing, kill_worker, kill_persister, kill_redis, kill_service, sigterm_rolling, stop_redis, script_flush,
        out_of_memory, wrong_type, flushall, old_copy, sqlite_locked, postgres_stopped, clock_back, slow_clients,
    )
}  # fmt: skip
"""Every fault, by its name on the command line."""

FORGETTING_KEYS = {"flushall", "old-copy"}
"""Faults that lose the first answers under idempotency keys."""

FORGETTING_REFUSALS = {"clock-back"}
"""Faults that lose those of them that are refusals: they are kept for ten minutes, and the clock jumps further."""
