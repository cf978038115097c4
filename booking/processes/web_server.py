"""A web worker: runs the application under uvicorn with this service's HTTP protocol."""

import asyncio
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

import uvicorn
import uvloop

from booking.http.protocol import HttpProtocol
from booking.http.worker import HttpWorker, Rejection
from booking.processes.listening_sockets import BACKLOG
from booking.settings import DRAIN_SIGNAL, Settings, SettingsError
from booking.web.app import create_app
from booking.web.endpoints.payments import STRIPE, STRIPE_BODY_BYTES_MAX
from booking.web.rejections import Rejections
from booking.web.requests import BODY_BYTES_MAX
from booking.web.root_path import without_root
from booking.web.routes import is_sheddable

KEEP_ALIVE_SECONDS = 75.0
"""An idle connection is kept this long, which is longer than the minute that common proxies keep theirs."""

GRACEFUL_SECONDS = 7
"""How long requests in flight may take at a stop. The supervisor allows the worker one second more to close."""


def serve(settings: Settings, listeners: Sequence[socket.socket], *, waits: bool = False, drains: bool = False) -> None:
    """Serves on `listeners` until SIGTERM or SIGINT; with `waits`, also while Redis or the database is away.

    After DRAIN_SIGNAL, or with `drains` from the beginning, /healthz and /readyz answer 503, and the rest is served.
    Raises SettingsError, InventoryUnavailable or LedgerError if the application cannot start.
    """
    _allow_open_files()
    uvloop.run(_serve(settings, listeners, waits=waits, drains=drains))


async def _serve(settings: Settings, listeners: Sequence[socket.socket], *, waits: bool, drains: bool) -> None:
    worker = http_worker(settings, listeners)
    draining, stop_requested = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(DRAIN_SIGNAL, draining.set)
    if drains:
        draining.set()
    app = create_app(
        settings, waits=waits, load=worker.shedder, is_draining=draining.is_set, is_stopping=lambda: worker.is_stopping
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # for the start; while it serves, uvicorn has its own handlers
        asyncio.get_running_loop().add_signal_handler(number, stop_requested.set)
    async with app.lifespan():
        if not stop_requested.is_set():
            _listen(listeners)  # only now: what connects is answered
            await uvicorn.Server(configuration(app.asgi, worker, settings)).serve(sockets=list(listeners))


def http_worker(settings: Settings, listeners: Sequence[socket.socket]) -> HttpWorker:
    """The state that all connections of this worker share."""
    rejections = Rejections(settings.cors_origins, settings.root_path)
    root = settings.root_path
    return HttpWorker(
        lambda code, headers: Rejection(*rejections(code, headers)),
        (lambda method, path: is_sheddable(method, without_root(path, root))) if root else is_sheddable,
        body_bytes_max=BODY_BYTES_MAX,
        larger_bodies=dict.fromkeys((STRIPE, root + STRIPE), STRIPE_BODY_BYTES_MAX),
        keep_alive_seconds=KEEP_ALIVE_SECONDS,
        listeners=listeners,
    )


def configuration(app: Callable[..., Awaitable[None]], worker: HttpWorker, settings: Settings) -> uvicorn.Config:
    """uvicorn's configuration. Logging and the lifespan are the application's own."""
    return uvicorn.Config(
        app,
        interface="asgi3",
        # uvicorn calls this with the arguments of its own protocols, and requires nothing else.
        http=cast("type[asyncio.Protocol]", partial(HttpProtocol, worker)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        backlog=BACKLOG,
    )


def _listen(listeners: Sequence[socket.socket]) -> None:
    """Raises SettingsError if another service, which has started at the same time, listens on the port by now."""
    try:
        for listener in listeners:
            listener.listen(BACKLOG)
    except OSError as error:
        raise SettingsError(f"BOOKING_HOST, BOOKING_PORT: {error.strerror}") from None


def _allow_open_files() -> None:
    """Raises the limit of open files to the system's maximum: each client needs one, and most shells allow 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS reports a maximum that it then refuses
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
