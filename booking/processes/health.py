"""`/healthz` and `/metrics` of `booking persist` and `booking notify`, on ports of their own.

They are served by a thread of their own, so that they answer even if the process's event loop stands still.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import uvicorn

from booking.http.asgi import Receive, Scope, Send
from booking.metrics import Metrics
from booking.processes.listening_sockets import close_all, listen
from booking.processes.web_server import configuration, http_worker
from booking.settings import Settings, SettingsError
from booking.web.endpoints.health import ALIVE, RETRY
from booking.web.endpoints.metrics import CONTENT_TYPE, lines
from booking.web.responses import PlainResponse, send_response

STALLED_SECONDS = 60.0
"""A process whose last turn ended longer ago than this stands still, and should be started again. A turn that fails,
because Redis or SQL is away, has ended, too. The longest turn is a batch that waits for SQL's locks."""


class Health(Protocol):
    """What a process tells about itself."""

    metrics: Metrics
    turned_at: float
    """When its last turn ended, by the monotonic clock."""
    is_failing: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What a kind of process tells, and where."""

    setting: str
    up: str
    """The gauge that says that its last turn did not fail."""
    metrics: tuple[str, ...]


PERSISTER = Told(
    "persist_port",
    "booking_persister_up",
    ("booking_persisted_rows_total", "booking_restorations_total", "booking_persister_transactions_total"),
)
OUTBOX = Told(
    "notify_port", "booking_outbox_up", ("booking_webhook_attempts_total", "booking_webhook_first_attempt_seconds")
)


@contextmanager
def serving_health(settings: Settings, health: Health, told: Told) -> Iterator[None]:
    """Serves until the block ends, if a port is set. Raises SettingsError if it cannot listen there."""
    port: int | None = getattr(settings, told.setting)
    if port is None:
        yield
        return
    listeners = []
    try:
        for host in settings.hosts:
            listeners.append(listen(host, port))
    except OSError as error:
        close_all(listeners)
        reason = f"{host}:{port}: {error.strerror}"
        raise SettingsError(f"BOOKING_HOST, BOOKING_{told.setting.upper()}: {reason}") from None
    server = uvicorn.Server(configuration(partial(_respond, health, told), http_worker(settings, listeners), settings))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=listeners)), name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
        close_all(listeners)


async def _respond(health: Health, told: Told, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """ASGI."""
    if scope["path"] == "/healthz":
        stands_still = time.monotonic() - health.turned_at > STALLED_SECONDS
        response = PlainResponse(503, b'{"status":"stalled"}', RETRY) if stands_still else PlainResponse(200, ALIVE)
    elif scope["path"] == "/metrics":
        # A copy: the process's thread may add a counter meanwhile.
        metrics = Metrics(dict(health.metrics.counters), dict(health.metrics.histograms))
        gauges: dict[tuple[str, str], float] = {(told.up, ""): not health.is_failing}
        names = (told.up, *told.metrics, "booking_log_lines_dropped_total")
        response = PlainResponse(200, "".join(lines(metrics, gauges, names)).encode(), media_type=CONTENT_TYPE)
    else:
        response = PlainResponse(404, b'{"status":"not found"}')
    await send_response(scope, send, response)
