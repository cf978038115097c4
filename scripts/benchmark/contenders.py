"""The parties of the throughput rounds: each started once, each opening a fresh sale for every round."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
from redis import Redis, RedisError

from booking.inventory.embedded import EmbeddedServer
from booking.processes.listening_sockets import listen, url_of
from booking.settings import Settings
from scripts.benchmark import processes, rivals
from scripts.benchmark.figures import Load
from scripts.benchmark.sales import Sale
from scripts.benchmark.wrk import CONNECTIONS

CAPACITY = 10_000_000
"""Tickets of a sale that cannot sell out in a round: the contract's largest event."""

READY_S = 60.0
"""A contender that has not answered by then is given up."""

CHECKOUT = Path(__file__).resolve().parents[2]


class Contender(Protocol):
    """A service that sells, and whose parts can be watched."""

    @property
    def servers(self) -> int:
        """How many processes share the role `server`."""

    def open_sale(self) -> Sale:
        """A fresh event."""

    def parts(self) -> Mapping[str, list[int]]:
        """Process ids by role."""

    def faults(self, sale: Sale, load: Load) -> list[str]:
        """Waits until the round's work is done to the end; says where its books and the load's count differ."""


def load_faults(load: Load) -> list[str]:
    """A fault for each way in which requests of a round failed."""
    counted = {"were refused": load.refused, "never got an answer": load.broken}
    return [f"{number} requests {what}" for what, number in counted.items() if number]


def book_faults(stored: int, load: Load) -> list[str]:
    """A fault, unless what is stored is what was answered, or at most the requests in flight at the end more."""
    if load.requests <= stored <= load.requests + CONNECTIONS:
        return []
    return [f"{load.requests} bookings were answered, {stored} are there"]


class Empty:
    """The empty Starlette endpoint: sells nothing and keeps nothing."""

    servers = 1

    def __init__(self, url: str, pid: int) -> None:
        self._url = url
        self._pid = pid

    def open_sale(self) -> Sale:
        return Sale(f"{self._url}/book", '{"event_id": 1}', 1)

    def parts(self) -> Mapping[str, list[int]]:
        return {"server": [self._pid]}

    def faults(self, sale: Sale, load: Load) -> list[str]:  # noqa: ARG002 - it keeps no books
        return load_faults(load)


@dataclass(frozen=True, slots=True)
class EmptyLook:
    """The empty endpoint's page for looking at an event, with nothing behind it."""

    empty: Empty
    servers: int = 1

    def open_sale(self) -> Sale:
        sale = self.empty.open_sale()
        return Sale(sale.url.replace("/book", "/status"), "", sale.event_id)

    def parts(self) -> Mapping[str, list[int]]:
        return self.empty.parts()

    def faults(self, sale: Sale, load: Load) -> list[str]:
        return self.empty.faults(sale, load)


class Naive:
    """The naive service, over an embedded server of its own."""

    servers = 1

    def __init__(self, url: str, pid: int, redis: "Redis", redis_pid: int) -> None:
        self._url = url
        self._pids = {"server": [pid], "redis": [redis_pid]}
        self._redis = redis
        self._sales = 0

    def open_sale(self) -> Sale:
        self._sales += 1
        self._redis.hset(f"event:{self._sales}", mapping={"available": CAPACITY, "seq": 0})
        return Sale(f"{self._url}/book", f'{{"event_id": {self._sales}}}', self._sales)

    def parts(self) -> Mapping[str, list[int]]:
        return self._pids

    def faults(self, sale: Sale, load: Load) -> list[str]:
        stored = int(self._redis.hlen(f"bookings:{sale.event_id}"))
        return load_faults(load) or book_faults(stored, load)


@contextmanager
def empty(folder: Path, name: str = "empty") -> Iterator[Empty]:
    """Serves the empty endpoint, or the `tuned` one, for the length of the block."""
    with _rival(name, folder, {}) as (url, pid):
        yield Empty(url, pid)


@contextmanager
def naive(folder: Path, secret: bytes) -> Iterator[Naive]:
    """Serves the naive service, with the Redis configuration that `booking serve` embeds."""
    with embedded_redis(folder / "naive") as (settings, redis_pid):
        environment = {rivals.REDIS_URL: settings.redis_address, rivals.SECRET: secret.decode()}
        with (
            _rival("naive", folder, environment) as (url, pid),
            closing(Redis.from_url(settings.redis_address)) as redis,
        ):
            yield Naive(url, pid, redis, redis_pid)


@contextmanager
def embedded_redis(folder: Path, **settings: object) -> Iterator[tuple[Settings, int]]:
    """Runs the service's embedded server in `folder`; gives the settings that lead to it, and its process id."""
    there = Settings.read({}, data_dir=folder, **settings)
    server = EmbeddedServer(there)
    with processes.running(server.prepare(), server.log) as process:

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
    with listen("127.0.0.1", 0) as listener:
        url = url_of(listener)
        command = [sys.executable, "-P", "-m", "scripts.benchmark.rivals", name, str(listener.fileno())]
        path = {"PYTHONPATH": str(CHECKOUT), "PATH": os.environ["PATH"]}
        with processes.running(command, log, {**path, **environment}, [listener.fileno()]) as process:
            # The socket listens from the start, so the first answer says when the application is up.
            processes.wait_until(lambda: _answers(url), process, log, READY_S)
            yield url, process.pid


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=1.0)
    except httpx.HTTPError:
        return False
    return True
