"""The real service that is broken: its processes, its Redis and its database, with a client for each."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from redis.asyncio import Redis

from booking.inventory.reader import InventoryReader
from booking.ledger import Ledger
from booking.settings import Settings
from tests.chaos.client import ANSWER_SECONDS_MAX, HttpClient
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.service import RunningService, running_service
from tests.fixtures.shifted_clock import ShiftedClock, make_shifted_clock
from tests.fixtures.waiting import eventually_async

SHARDS = 8
PATIENCE_SECONDS = 60.0
"""How long recovery may take on a busy machine. A longer recovery is a violation."""


class NotHealed(AssertionError):
    """The service did not recover by itself after the fault had ended."""


COMMAND_SECONDS_MAX = 240.0
"""How long one of the service's commands may take. After an hour, a restoration checks a thousand events while buyers
are active again.
"""


@dataclass(slots=True)
class Deployment:
    """One running service with its parts."""

    service: RunningService
    client: HttpClient
    ledger: Ledger
    inventory: InventoryReader
    redis: Any  # redis-py's types cannot say that its answers are bytes
    clock: ShiftedClock | None = None
    """Redis's settable clock; None if there is no C compiler."""
    postgres: PostgresServer | None = None
    """The database server, if this run started it."""
    running: asyncio.Event = field(default_factory=asyncio.Event)
    """Buyers pause while it is not set."""
    kills: dict[str, int] = field(default_factory=dict)
    """How often each kind of process was killed."""

    @property
    def redis_folder(self) -> Path:
        """Where the embedded server keeps its append-only files."""
        return self.service.data_dir / "redis"

    def token(self, user: str, role: str | None = None) -> str:
        """A token that is valid for the longest run."""
        return self.service.token(user, role, expires_in=86_400)

    async def kill(self, part: str) -> None:
        """Kills a child process with SIGKILL and waits until it is replaced."""
        await eventually_async(lambda: part in self.service.parts(), f"{part} runs", PATIENCE_SECONDS)
        killed = self.service.kill(part)
        name = part.partition("-")[0]
        self.kills[name] = self.kills.get(name, 0) + 1
        await self.is_replaced(part, killed)

    async def is_replaced(self, part: str, killed: int) -> None:
        """Waits until the killed process is replaced."""
        await eventually_async(
            lambda: self.service.parts().get(part, killed) != killed, f"another {part} is started", PATIENCE_SECONDS
        )

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
        return {"BOOKING_DATA_DIR": str(self.service.data_dir), **self.service.environment}

    async def settle(self) -> None:
        """Waits until the service is ready and the stream has drained. Raises NotHealed."""
        said = "nothing"
        async with httpx.AsyncClient(base_url=self.service.base_url, timeout=5, trust_env=False) as client:

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

    def free_port(self) -> None:
        """Keeps the port that the system chose for later starts."""
        port = urlsplit(self.service.base_url).port
        self.service.environment = {**self.service.environment, "BOOKING_PORT": str(port)}


@asynccontextmanager
async def open_deployment(
    database_url: str | None,
    workers: int,
    folder: Path | None = None,
    postgres: PostgresServer | None = None,
    answer_seconds: float = ANSWER_SECONDS_MAX,
) -> AsyncIterator[Deployment]:
    """Runs a service in a new folder. The folder is kept if the body raises an exception."""
    own = folder or Path(tempfile.mkdtemp(prefix="booking-chaos-"))
    environment = {"BOOKING_RATE_LIMIT": "off", "BOOKING_WORKERS": str(workers)}
    clock = make_shifted_clock(own)
    if clock is not None:
        environment["BOOKING_REDIS_SERVER"] = str(clock.program)
    if database_url is not None:
        environment["BOOKING_DATABASE_URL"] = database_url
    with running_service(own / "data", environment) as service:
        settings = Settings.read({**environment, "BOOKING_DATA_DIR": str(service.data_dir)})
        ledger, inventory = Ledger.open(settings.database_address), InventoryReader(settings.redis_address, SHARDS)
        redis = Redis.from_url(settings.redis_address, protocol=2)
        deployment = Deployment(
            service,
            HttpClient(service.base_url, usual_seconds=answer_seconds),
            ledger,
            inventory,
            redis,
            clock,
            postgres,
        )
        deployment.free_port()
        deployment.running.set()
        try:
            yield deployment
        finally:
            await deployment.client.close()
            await redis.aclose()
            await inventory.close()
            await ledger.close()
    shutil.rmtree(own, ignore_errors=True)
