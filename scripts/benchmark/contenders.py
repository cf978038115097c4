"""Starts what the service is held against, and the embedded Redis that it shares with the service."""

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
from redis import Redis, RedisError

from booking.inventory.embedded import EmbeddedServer
from booking.settings import Settings
from scripts.benchmark import processes, rivals
from scripts.benchmark.load import Target
from scripts.benchmark.rounds import Contender
from scripts.benchmark.service import CAPACITY, CHECKOUT, READY_S


@contextmanager
def empty(folder: Path) -> Iterator[tuple[Contender, Contender]]:
    """Serves the empty endpoint: as one that takes bookings, and as one that shows an event."""
    with _rival("empty", folder, {}) as (url, pid):
        parts = {"server": [pid]}
        # The load carries tokens, as every other contender's does.
        books = Contender(lambda: Target(url, "/book", '{"event_id": 1}', "x" * 32), lambda: parts)
        yield books, Contender(lambda: Target(url, "/status"), lambda: parts)


@contextmanager
def naive(folder: Path, secret: str) -> Iterator[Contender]:
    """Serves the naive service, with the Redis configuration that `booking serve` embeds."""
    with embedded_redis(folder / "naive") as (settings, redis_pid):
        environment = {rivals.REDIS_URL: settings.redis_address, rivals.SECRET: secret}
        with (
            _rival("naive", folder, environment) as (url, pid),
            closing(Redis.from_url(settings.redis_address)) as redis,
        ):

            def open_sale() -> Target:
                event_id = int(redis.incr("sales"))
                redis.hset(f"event:{event_id}", mapping={"available": CAPACITY, "seq": 0})
                return Target(url, "/book", f'{{"event_id": {event_id}}}', secret, event_id=event_id)

            parts = {"server": [pid], "redis": [redis_pid]}
            yield Contender(open_sale, lambda: parts, lambda target: int(redis.hlen(f"bookings:{target.event_id}")))


@contextmanager
def embedded_redis(folder: Path) -> Iterator[tuple[Settings, int]]:
    """Runs the service's embedded server in `folder`; gives the settings that lead to it, and its process id."""
    there = Settings.read({}, data_dir=folder)
    server = EmbeddedServer(there)
    with processes.running(server.prepare(), server.log, text=server.configuration) as process:

        def answers() -> bool:
            try:
                with closing(Redis.from_url(there.redis_address)) as redis:
                    return bool(redis.ping())
            except RedisError:
                return False

        processes.wait_until(answers, process, server.log, READY_S)
        yield there, process.pid


@contextmanager
def _rival(name: str, folder: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    log = folder / f"{name}.log"
    with socket.create_server(("127.0.0.1", 0), backlog=2_048) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-P", "-m", "scripts.benchmark.rivals", name, str(listener.fileno())]
        variables = {"PYTHONPATH": str(CHECKOUT), "PATH": os.environ["PATH"], **environment}

        def answers() -> bool:
            try:
                httpx.get(url, timeout=1.0)
            except httpx.HTTPError:
                return False
            return True

        with processes.running(command, log, variables, [listener.fileno()]) as process:
            # The socket listens from the start, so the first answer says when the application is up.
            processes.wait_until(answers, process, log, READY_S)
            yield url, process.pid
