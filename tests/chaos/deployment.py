"""The real service that is broken: its nodes, its Redis in one of three forms, its database, and a client for each."""

import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

import httpx
from redis.asyncio import Redis

from booking.inventory.durability import Level
from booking.inventory.reader import InventoryReader
from booking.inventory.shard_clients import opened_topology
from booking.inventory.topology import Topology
from booking.ledger import Ledger
from booking.settings import Settings
from tests.chaos.client import ANSWER_SECONDS_MAX, HttpClient
from tests.fixtures.cluster import Cluster, Watched, ask, running_cluster, running_sentinels
from tests.fixtures.ports import unused_port
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.shifted_clock import ShiftedClock, make_shifted_clock
from tests.fixtures.waiting import eventually_async

SHARDS = 8
PATIENCE_SECONDS = 60.0
"""How long recovery may take on a busy machine. A longer recovery is a violation."""

LOOK_SECONDS = 0.1
"""Between two looks at all servers of Redis: each takes a connection to every one of them."""

REPLICAS = 2
"""Of each primary."""

NO_MORE: Mapping[str, str] = MappingProxyType({})

CALLS_PER_SECOND = 250
"""What buyers ask of two nodes at most, and in the tests of one, too: servers, nodes and buyers share a machine, and a
failover has to have time."""


class NotHealed(AssertionError):
    """The service did not recover by itself after the fault had ended."""


COMMAND_SECONDS_MAX = 240.0
"""How long one of the service's commands may take. After an hour, a restoration checks a thousand events while buyers
are active again.
"""


class Server(Protocol):
    """A server of Redis."""

    def run(self, *command: object) -> Any:
        """The reply to a command."""


class Servers(Protocol):
    """The servers of Redis, in one of three forms: `EmbeddedRedis`, `Cluster`, `Watched`."""

    @property
    def nodes(self) -> Sequence[Server]:
        """All of them."""

    def primaries(self) -> Sequence[Server]:
        """Those that are sold from."""

    def is_replicated(self) -> bool:
        """Whether each primary has all of its replicas."""


@dataclass(slots=True)
class EmbeddedRedis:
    """The server that the service starts itself."""

    address: str
    folder: Path
    """Where it keeps its append-only files."""
    client: Any  # redis-py's types cannot say that its answers are bytes
    clock: ShiftedClock | None
    """Its settable clock; None if there is no C compiler."""

    @property
    def nodes(self) -> "list[EmbeddedRedis]":
        """It alone."""
        return [self]

    def primaries(self) -> "list[EmbeddedRedis]":
        """It alone."""
        return [self]

    def is_replicated(self) -> bool:
        """It has no replicas."""
        return True

    def run(self, *command: object) -> Any:
        """The reply to a command."""
        return ask(self.address, *command)


R = TypeVar("R", bound=Servers)


@dataclass(slots=True)
class Deployment(Generic[R]):
    """One running service with its parts."""

    services: list[RunningService]
    """Its nodes. Those beside an embedded Redis are one."""
    client: HttpClient
    ledger: Ledger
    inventory: InventoryReader
    topology: Topology
    redis: R
    postgres: PostgresServer | None = None
    """The database server, if this run started it."""
    may_lose: bool = False
    """Whether a failover may lose what was acknowledged. Then the service has to say so."""
    calls_per_second: float | None = None
    """What buyers ask at most; None: as much as they can."""
    running: asyncio.Event = field(default_factory=asyncio.Event)
    """Buyers pause while it is not set."""
    broken_shards: set[int] = field(default_factory=set)
    """The shards that the present fault concerns; empty if it concerns all, or none in particular."""
    kills: dict[str, int] = field(default_factory=dict)
    """How often each kind of process was killed."""

    @property
    def data_dir(self) -> Path:
        """The data folder of the first node."""
        return self.services[0].data_dir

    def token(self, user: str, role: str | None = None) -> str:
        """A token that is valid for the longest run."""
        return self.services[0].token(user, role, expires_in=86_400)

    def a_node(self, chance: random.Random) -> RunningService:
        """One of the nodes, by chance."""
        return chance.choice(self.services)

    def count_kill(self, part: str) -> None:
        """Counts a process that was killed."""
        name = part.partition("-")[0]
        self.kills[name] = self.kills.get(name, 0) + 1

    async def kill(self, service: RunningService, part: str) -> None:
        """Kills a child process of a node with SIGKILL and waits until it is replaced."""
        await eventually_async(lambda: part in service.parts(), f"{part} runs", PATIENCE_SECONDS)
        killed = service.kill(part)
        self.count_kill(part)
        await self.is_replaced(service, part, killed)

    async def is_replaced(self, service: RunningService, part: str, killed: int) -> None:
        """Waits until the killed process is replaced."""
        await eventually_async(
            lambda: service.parts().get(part, killed) != killed, f"another {part} is started", PATIENCE_SECONDS
        )

    async def until(self, holds: Callable[[], bool], promise: str) -> None:
        """Waits until `holds`, which asks servers and blocks. Raises NotHealed."""

        async def held() -> bool:
            await asyncio.sleep(LOOK_SECONDS)
            return await asyncio.to_thread(holds)

        try:
            await eventually_async(held, promise, PATIENCE_SECONDS)
        except AssertionError as error:
            raise NotHealed(str(error)) from None

    async def command(self, *arguments: str) -> str:
        """Runs one of the service's own commands and returns its output. Raises NotHealed if it fails."""
        environment = {**os.environ, **self.environment, "NO_COLOR": "1"}
        try:
            ended = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "booking", *arguments],
                env=environment,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NotHealed(f"booking {' '.join(arguments)} took more than {COMMAND_SECONDS_MAX:.0f} s") from None
        if ended.returncode:
            raise NotHealed(
                f"booking {' '.join(arguments)} ended with {ended.returncode}: {ended.stdout}{ended.stderr}"
            )
        return ended.stdout + ended.stderr

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment with which the service's own commands find it."""
        return {"BOOKING_DATA_DIR": str(self.data_dir), **self.services[0].environment}

    async def settle(self) -> set[int]:
        """Waits until Redis has its replicas, every node is ready, and the stream has drained. Raises NotHealed.

        At a level at which a failover may lose changes, it restores the shards of which the service says so, and
        returns these.
        """
        await self.until(self.redis.is_replicated, "every primary of Redis has its replicas")
        told = await self._restore_lost() if self.may_lose else set[int]()
        for service in self.services:
            await self._settle(service)
        await self.topology.refresh()
        return told

    async def _restore_lost(self) -> set[int]:
        """Waits until the service is ready. Whenever it says what is lost, `booking restore` has to follow."""
        told, new = set[int](), set[int]()
        async with httpx.AsyncClient(base_url=self.services[0].base_url, timeout=5, trust_env=False) as client:

            async def is_ready_or_tells() -> bool:
                answer = await client.get("/readyz")
                reason = answer.json()["parts"]["redis"].get("reason", "")
                new.update(int(shard) for shard in re.findall(r"shard (\d+): acknowledged changes", reason))
                return bool(new) or answer.status_code == 200

            while True:
                await eventually_async(is_ready_or_tells, "the service is ready or says what is lost", PATIENCE_SECONDS)
                if not new:
                    return told
                await self.command("restore", "--yes")
                told |= new
                new.clear()

    async def _settle(self, service: RunningService) -> None:
        said = "nothing"
        async with httpx.AsyncClient(base_url=service.base_url, timeout=5, trust_env=False) as client:

            async def is_drained() -> bool:
                nonlocal said
                for _ in range(4):  # often enough to reach every worker
                    try:
                        answer = await client.get("/readyz", headers={"Connection": "close"})
                    except httpx.TransportError as error:
                        said = repr(error)
                        return False
                    said = answer.text
                    if answer.status_code != 200 or answer.json()["parts"]["persister"]["lag_entries"]:
                        return False
                return True

            try:
                await eventually_async(is_drained, "the service is ready and SQL has every change", PATIENCE_SECONDS)
            except AssertionError as error:
                raise NotHealed(f"{error}: {said}") from None


@asynccontextmanager
async def open_embedded(
    database_url: str | None,
    workers: int = 2,
    folder: Path | None = None,
    postgres: PostgresServer | None = None,
    answer_seconds: float = ANSWER_SECONDS_MAX,
) -> AsyncIterator[Deployment[EmbeddedRedis]]:
    """Runs a service with its embedded Redis in a new folder. The folder is kept if the body raises an exception."""
    with _folder(folder) as own:
        environment = {"BOOKING_WORKERS": str(workers)}
        clock = make_shifted_clock(own)
        if clock is not None:
            environment["BOOKING_REDIS_SERVER"] = str(clock.program)
        if database_url is not None:
            environment["BOOKING_DATABASE_URL"] = database_url
        async with AsyncExitStack() as stack:

            def find(settings: Settings) -> EmbeddedRedis:
                client = Redis.from_url(settings.redis_address, protocol=2)
                stack.push_async_callback(client.aclose)
                return EmbeddedRedis(settings.redis_address, settings.data_dir / "redis", client, clock)

            nodes = [(own / "data", environment)]
            yield await stack.enter_async_context(_opened(nodes, find, postgres, answer_seconds))


@asynccontextmanager
async def open_on_cluster(
    database_url: str | None,
    workers: int = 1,
    folder: Path | None = None,
    postgres: PostgresServer | None = None,
    answer_seconds: float = ANSWER_SECONDS_MAX,
    second: Mapping[str, str] = NO_MORE,
    level: Level = "replica",
) -> AsyncIterator[Deployment[Cluster]]:
    """Runs two nodes on a cluster of three primaries. Folders as in `open_embedded`.

    `second` is what the second node has in its environment that the first one has not.

    One replica has to confirm, so sales go on while the other is away. The cluster promotes one that has everything. At
    level `disk` none has to.
    """
    # An automatic move of replicas between primaries would leave one with fewer than `is_replicated` counts on.
    options = ["--cluster-allow-replica-migration", "no"]
    if level == "disk":
        options += ["--appendonly", "yes", "--appendfsync", "always"]
    with running_cluster(3, REPLICAS, *options) as cluster:
        acknowledged = {"BOOKING_ACK": level, "BOOKING_ACK_REPLICAS": "1"}
        async with _two_nodes(
            cluster, acknowledged, database_url, workers, folder, postgres, answer_seconds, second
        ) as deployment:
            deployment.may_lose = level == "disk"
            yield deployment


@asynccontextmanager
async def open_on_sentinels(
    database_url: str | None,
    workers: int = 1,
    folder: Path | None = None,
    postgres: PostgresServer | None = None,
    answer_seconds: float = ANSWER_SECONDS_MAX,
    second: Mapping[str, str] = NO_MORE,
) -> AsyncIterator[Deployment[Watched]]:
    """Runs two nodes on a primary that three Sentinels watch. Folders and `second` as in `open_on_cluster`.

    All replicas have to confirm: Sentinels promote one while the primary may still sell with another.
    """
    with running_sentinels(3, REPLICAS) as watched:
        acknowledged = {"BOOKING_ACK": "replica", "BOOKING_ACK_REPLICAS": str(REPLICAS)}
        async with _two_nodes(
            watched, acknowledged, database_url, workers, folder, postgres, answer_seconds, second
        ) as deployment:
            yield deployment


Replicated = TypeVar("Replicated", Cluster, Watched)


@asynccontextmanager
async def _two_nodes(
    redis: Replicated,
    acknowledged: Mapping[str, str],
    database_url: str | None,
    workers: int,
    folder: Path | None,
    postgres: PostgresServer | None,
    answer_seconds: float,
    second: Mapping[str, str],
) -> AsyncIterator[Deployment[Replicated]]:
    assert database_url is not None, "two nodes need a database that both reach"
    environment = {
        "BOOKING_REDIS_URL": redis.url,
        "BOOKING_DATABASE_URL": database_url,
        "BOOKING_WORKERS": str(workers),
        **acknowledged,
    }
    with _folder(folder) as own:
        nodes = [
            (own / name, {**environment, "BOOKING_NODE": name, **more})
            for name, more in (("one", NO_MORE), ("two", second))
        ]
        async with _opened(nodes, lambda _: redis, postgres, answer_seconds) as deployment:
            deployment.calls_per_second = CALLS_PER_SECOND
            yield deployment


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    """A new folder, kept if the body raises an exception."""
    own = folder or Path(tempfile.mkdtemp(prefix="booking-chaos-"))
    yield own
    shutil.rmtree(own, ignore_errors=True)


@asynccontextmanager
async def _opened(
    nodes: Sequence[tuple[Path, dict[str, str]]],
    find: Callable[[Settings], R],
    postgres: PostgresServer | None,
    answer_seconds: float,
) -> AsyncIterator[Deployment[R]]:
    """Runs the nodes, each with a data folder and an environment. `find` finds their Redis."""
    with ExitStack() as stack:
        services = [
            stack.enter_context(
                running_service(
                    data_dir,
                    {
                        "BOOKING_RATE_LIMIT": "off",
                        "BOOKING_WEBHOOK_ALLOW": "127.0.0.0/8",
                        "BOOKING_PORT": str(unused_port()),
                        **environment,
                    },
                )
            )
            for data_dir, environment in nodes
        ]
        settings = Settings.read({**services[0].environment, "BOOKING_DATA_DIR": str(services[0].data_dir)})
        async with opened_topology(settings.redis_address, SHARDS) as topology:
            deployment = Deployment(
                services,
                HttpClient([service.base_url for service in services], usual_seconds=answer_seconds),
                Ledger.open(settings.database_address),
                InventoryReader(topology, SHARDS),
                topology,
                find(settings),
                postgres,
            )
            deployment.running.set()
            try:
                yield deployment
            finally:
                await deployment.client.close()
                await deployment.inventory.close()
                await deployment.ledger.close()
