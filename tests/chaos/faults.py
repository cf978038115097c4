"""The faults: each is made for real, lasts as long as its coroutine, and has healed when that returns."""

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
from tests.chaos.world import World
from tests.fixtures.waiting import eventually_async

Fault = Callable[[World, random.Random], Awaitable[None]]

KILLS = 3
"""Kills of one process in a round."""

SILENCE_SECONDS = (2.0, 5.0)
"""How long Redis stands still, or the database is locked."""

JUMPS_SECONDS = (1, 5, 60, 3_600, 43_200)
"""How far the clock is set back, and with that forward again. Not by a day: that is how long a key's first answer is
kept, and after it the key is forgotten, rightly.
"""


async def nothing(world: World, chance: random.Random) -> None:
    """No fault: what is found then is wrong without one."""


async def kill_worker(world: World, chance: random.Random) -> None:
    """A web worker dies in the middle of whatever it does; who comes to its socket waits for the next one's start."""
    world.door.seconds = START_SECONDS_MAX
    workers = sorted(part for part in world.service.parts() if part.startswith("worker"))
    for _ in range(KILLS):
        await asyncio.sleep(chance.random() * 0.5)
        await world.kill(chance.choice(workers))


async def kill_persister(world: World, chance: random.Random) -> None:
    """The persister dies between any two of its steps."""
    for _ in range(KILLS):
        await asyncio.sleep(chance.random() * 0.8)
        await world.kill("persister")


async def kill_redis(world: World, chance: random.Random) -> None:
    """Redis dies; what it had acknowledged is in its append-only file."""
    for _ in range(KILLS):
        await asyncio.sleep(chance.random() * 0.8)
        await world.kill("redis")


async def kill_service(world: World, chance: random.Random) -> None:
    """The supervisor dies and takes everything along; somebody starts it again."""
    await asyncio.sleep(chance.random() * 0.5)
    world.service.kill("service")
    world.kills["service"] = world.kills.get("service", 0) + 1
    assert world.service.process is not None
    await asyncio.to_thread(world.service.process.wait)
    await _start(world)


async def sigterm_rolling(world: World, chance: random.Random) -> None:
    """It is told to stop under load, ends with exit code 0 within 10 s, and is started again."""
    await asyncio.sleep(chance.random() * 0.5)
    code = await asyncio.to_thread(world.service.stop, signal.SIGTERM)
    assert code == 0, f"SIGTERM under load: exit code {code}"
    await _start(world)


async def stop_redis(world: World, chance: random.Random) -> None:
    """Redis stands still and is not dead; the client's own bound is what a call may take then."""
    pid = world.service.kill("redis", signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(*SILENCE_SECONDS))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def script_flush(world: World, chance: random.Random) -> None:
    """Redis forgets its scripts, again and again."""
    for _ in range(30):
        await world.redis.script_flush()
        await asyncio.sleep(chance.random() * 0.05)


async def out_of_memory(world: World, chance: random.Random) -> None:
    """Redis may take no more memory than it has, or hardly."""
    used = int((await world.redis.info("memory"))["used_memory"])
    await world.redis.config_set("maxmemory", used + chance.randrange(0, 60_000))
    await asyncio.sleep(1.5)
    await world.redis.config_set("maxmemory", 0)


async def wrong_type(world: World, chance: random.Random) -> None:
    """Somebody has put something else in a waiting list's place, and takes it away again."""
    found = [key async for key in world.redis.scan_iter("booking:*:waiting", count=1_000)]
    if not found:
        return
    key = chance.choice(sorted(found))
    aside = key + b":aside"
    planted = world.redis.pipeline(transaction=True)  # at once, or somebody joins a new list in between
    planted.rename(key, aside)
    planted.set(key, "something else")
    with suppress(RedisError):  # the list may have emptied meanwhile
        await planted.execute(raise_on_error=False)
    if not await world.redis.exists(aside):
        await world.redis.delete(key)
        return
    await asyncio.sleep(1)
    taken_away = world.redis.pipeline(transaction=True)
    taken_away.delete(key)
    taken_away.rename(aside, key)
    await taken_away.execute()


async def flushall(world: World, chance: random.Random) -> None:
    """Redis comes back empty. What it had not handed on yet is gone with it, so it has, and then the sale goes on."""
    await _drained_behind_the_gate(world)
    await world.redis.flushall()
    world.gate.set()
    await asyncio.sleep(0.5 + chance.random())
    await world.command("restore", "--yes")


async def old_copy(world: World, chance: random.Random) -> None:
    """Redis comes back with an old copy of its files, while the service runs."""
    copy = world.service.data_dir.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(world.redis_folder, copy)
    await asyncio.sleep(0.5 + chance.random())
    await _drained_behind_the_gate(world)
    killed = world.service.kill("redis")
    shutil.rmtree(world.redis_folder, ignore_errors=True)
    shutil.copytree(copy, world.redis_folder, dirs_exist_ok=True)
    await world.is_replaced("redis", killed)
    world.gate.set()
    await asyncio.sleep(0.5 + chance.random())
    await world.command("restore", "--yes")


async def sqlite_locked(world: World, chance: random.Random) -> None:
    """Somebody else has the database to themselves for a while."""
    path = world.service.data_dir / "booking.sqlite3"
    if not path.exists():
        return
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)) as connection:
        await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
        await asyncio.sleep(chance.uniform(*SILENCE_SECONDS))
        connection.execute("ROLLBACK")


async def postgres_stopped(world: World, chance: random.Random) -> None:
    """The database's server is stopped, and started again after a while."""
    if world.postgres is None:
        return
    await asyncio.to_thread(world.postgres.stop)
    await asyncio.sleep(chance.uniform(*SILENCE_SECONDS))
    await asyncio.to_thread(world.postgres.start)


async def clock_back(world: World, chance: random.Random) -> None:
    """Redis's clock is set back, by seconds or by hours, and right again; in between Redis dies once."""
    if world.clock is None:
        return
    for _ in range(KILLS):
        world.clock.shift(-chance.choice(JUMPS_SECONDS))
        await asyncio.sleep(chance.random() * 0.8)
    await world.kill("redis")
    world.clock.shift(0)


async def slow_clients(world: World, chance: random.Random) -> None:
    """A crowd sends a byte now and then."""
    where = urlsplit(world.service.base_url)
    crowd = [await asyncio.open_connection(where.hostname, where.port) for _ in range(200)]
    try:
        for byte in b"POST /book HT":
            for _, writer in crowd:
                writer.write(bytes([byte]))
            await asyncio.sleep(0.15)
    finally:
        for _, writer in crowd:
            writer.transport.abort()


async def _start(world: World) -> None:
    world.door.seconds = START_SECONDS_MAX
    await asyncio.to_thread(world.service.start)
    world.door.seconds = world.door.usual_seconds


async def _drained_behind_the_gate(world: World) -> None:
    world.gate.clear()
    await eventually_async(lambda: world.door.in_flight == 0, "every call that was made has its answer")
    await world.settle()


FAULTS: dict[str, Fault] = {
    function.__name__.replace("_", "-"): function
    for function in (
        nothing, kill_worker, kill_persister, kill_redis, kill_service, sigterm_rolling, stop_redis, script_flush,
        out_of_memory, wrong_type, flushall, old_copy, sqlite_locked, postgres_stopped, clock_back, slow_clients,
    )
}  # fmt: skip
"""Every fault by its name on the command line."""

FORGETFUL = {"flushall", "old-copy"}
"""After these the first answers under idempotency keys are gone."""
