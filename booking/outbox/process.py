"""The outbox's process: it takes the lease, and runs the consumers while it has it."""

import asyncio
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import structlog

from booking import logs
from booking.ledger.errors import DatabaseUnfit, LedgerError
from booking.ledger.ledger import Ledger
from booking.ledger.migrate import check_schema
from booking.ledger.outbox import Lease, LeaseLost, OutboxLedger
from booking.metrics import FOLDER, Metrics, MetricsFile
from booking.outbox.consumers import CONSUMERS, Consume
from booking.outbox.context import Context, News, Render
from booking.settings import Settings, SettingsError

LEASE_MS = 8_000
"""How long others leave the work of a killed process alone: deliveries have to go on within 15 s (contract)."""

RENEW_SECONDS = 2.0
"""Between two renewals of the lease, and between two attempts to take it."""

RETRY_SECONDS_MAX = 2.0
"""The longest wait after a failure; the first is a tenth of it."""

STOP_SECONDS_MAX = 4.0
"""How long the consumers may take to end at a stop. Then they are cancelled, and tell again what they had under way."""

METRICS_SECONDS = 1.0
"""Between two writes of the metrics file."""

CONNECTIONS = 4
"""Its connections to the database: one for the lease, and one each for the news and two consumers."""

log = structlog.get_logger()


@dataclass(slots=True)
class Health:
    """What the process tells about itself; another thread may read it."""

    metrics: Metrics = field(default_factory=Metrics)
    turned_at: float = field(default_factory=time.monotonic)
    """When it last renewed or asked for its lease, whether or not that succeeded, by the monotonic clock."""
    is_failing: bool = True
    """Whether the database could not be asked; True before the first time."""


async def run(settings: Settings, stop: asyncio.Event, render: Render, health: Health | None = None) -> None:
    """Tells until `stop` is set, whenever no other process does. `render` makes the JSON of a change."""
    ledger = Ledger.open(settings.database_address, CONNECTIONS)
    try:
        await Outbox(settings, OutboxLedger(ledger), render, health or Health()).run(stop)
    finally:
        await ledger.close()


async def run_when_migrated(
    settings: Settings, stop: asyncio.Event, render: Render, health: Health | None = None
) -> None:
    """Waits until the database's tables are those of this version, then runs; `booking migrate` may come later.

    Raises SettingsError if a newer version has migrated the database, or if it is not fit for the service.
    """
    failures = 0
    while not stop.is_set():
        try:
            await check_schema(settings.database_address)
        except DatabaseUnfit as error:
            raise SettingsError(f"BOOKING_DATABASE_URL: {error}") from None
        except LedgerError as error:
            failures = _log_failure(failures, error)
            await _wait(stop, _pause(failures))
        else:
            await run(settings, stop, render, health)
            return


class Outbox:
    """One process of the outbox. Of several, one has the lease, and the others wait for it."""

    def __init__(self, settings: Settings, ledger: OutboxLedger, render: Render, health: Health) -> None:
        self._settings = settings
        self._render = render
        self._ledger = ledger
        self._health = health
        holder = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex}"  # an operator sees which process it is
        self._lease = Lease("outbox", holder, LEASE_MS)
        self._metrics_file = MetricsFile(settings.data_dir / FOLDER)

    async def run(self, stop: asyncio.Event) -> None:
        """Tells until `stop` is set, whenever no other process does."""
        saving = asyncio.create_task(self._save_metrics(), name="metrics")
        failures = 0
        try:
            while not stop.is_set():
                context = Context(
                    self._settings,
                    self._ledger,
                    self._lease,
                    self._health.metrics,
                    stop,
                    News(self._ledger),
                    self._render,
                )
                try:
                    await context.renew()
                    self._turned(is_failing=False)
                    failures = 0
                    await self._consume(context)
                except LeaseLost:
                    self._turned(is_failing=False)
                    await _wait(stop, RENEW_SECONDS)
                except LedgerError as error:
                    self._turned(is_failing=True)
                    failures = _log_failure(failures, error)
                    await _wait(stop, _pause(failures))
            with suppress(LedgerError):
                await self._ledger.end_lease(self._lease)
        finally:
            saving.cancel()
            await asyncio.gather(saving, return_exceptions=True)

    async def _consume(self, context: Context) -> None:
        """Runs the consumers until the stop. Raises LeaseLost, LedgerError."""
        stop: asyncio.Task[Any] = asyncio.create_task(context.stop.wait())
        service: list[asyncio.Task[Any]] = [
            asyncio.create_task(context.news.watch()),
            asyncio.create_task(self._renew(context)),
        ]
        consumers = [
            asyncio.create_task(self._keep_running(name, consume, context), name=name)
            for name, consume in CONSUMERS.items()
        ]
        try:
            await asyncio.wait((stop, *service, *consumers), return_when=asyncio.FIRST_COMPLETED)
            for task in (*service, *consumers):
                if task.done():
                    task.result()
            if consumers:
                context.news.tell()
                await asyncio.wait(consumers, timeout=STOP_SECONDS_MAX)
        finally:
            for task in (stop, *service, *consumers):
                task.cancel()
            await asyncio.gather(stop, *service, *consumers, return_exceptions=True)

    async def _renew(self, context: Context) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await context.renew()
            self._turned(is_failing=False)

    async def _keep_running(self, name: str, consume: Consume, context: Context) -> None:
        """Runs a consumer, and again after a failure, which stops no other consumer. Raises LeaseLost."""
        failures = 0
        while not context.stop.is_set():
            try:
                await consume(context)
            except LedgerError as error:
                failures = _log_failure(failures, error, consumer=name)
            except LeaseLost:
                raise
            except Exception:  # a defect of one consumer must not stop the others
                failures += 1
                log.exception("a consumer of the outbox has failed", consumer=name)
            await _wait(context.stop, _pause(failures))

    def _turned(self, *, is_failing: bool) -> None:
        self._health.turned_at, self._health.is_failing = time.monotonic(), is_failing

    async def _save_metrics(self) -> None:
        while True:
            await asyncio.sleep(METRICS_SECONDS)
            self._health.metrics.count("booking_log_lines_dropped_total", by=logs.take_dropped())
            await self._metrics_file.save(self._health.metrics)


def _log_failure(failures: int, error: LedgerError, **fields: object) -> int:
    """Logs some of the failures in a row. Returns their number."""
    if failures in (0, 10, 100):
        log.warning("the outbox waits", reason=str(error), **fields)
    return failures + 1


def _pause(failures: int) -> float:
    return min(RETRY_SECONDS_MAX, 0.1 * RETRY_SECONDS_MAX * 2.0 ** max(0, failures - 1))


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
