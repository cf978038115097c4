"""The web server around the application: uvicorn's settings, a plain refusal at the start, and an orderly end."""

import asyncio
import logging
import resource
import socket
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn

from booking.inventory.errors import InventoryUnavailable
from booking.ledger.errors import LedgerUnavailable
from booking.processes.listening_sockets import BACKLOG
from booking.settings import Settings, SettingsError
from booking.web.admission import Admission
from booking.web.connection import Connection
from booking.web.middleware import Frame
from booking.web.tracing import Traces
from booking.web.worker_state import WorkerState

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEEP_ALIVE_SECONDS = 75
"""An idle connection is kept this long: longer than the minute after which proxies in front drop theirs."""

GRACEFUL_SECONDS = 7
"""What requests in flight are given at a stop; the supervisor allows the worker one more for closing."""

LAST_ANSWERS_SECONDS = 0.3
"""How long, at a stop, connections may still bring a request that was under way when the signal came."""

LOOK_SECONDS = 1.0
"""How often connections are looked at."""

PLAIN_REASONS = (SettingsError, InventoryUnavailable, LedgerUnavailable)
"""What may keep the application from starting without there being a fault in it."""


class Server(uvicorn.Server):
    """Uvicorn, with connections that learn of the end from an answer where they can."""

    def __init__(self, config: uvicorn.Config, admission: Admission | None = None, frame: Frame | None = None) -> None:
        """`frame` is the application itself, where its endpoints may be called directly."""
        super().__init__(config)
        self.server_state: WorkerState = WorkerState(Admission() if admission is None else admission, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts as uvicorn does, and from then on looks after the connections."""
        await super().startup(sockets)
        self._looking = asyncio.create_task(self._look_after_connections(), name="connections")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops accepting, gives each connection an answer that says `Connection: close`, then ends as uvicorn does.

        Uvicorn closes idle connections at once, and with them requests that had been sent but not read yet.
        """
        self._looking.cancel()
        for server in self.servers:
            server.close()
        self.server_state.ending = True
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        loop = asyncio.get_running_loop()
        end = loop.time() + LAST_ANSWERS_SECONDS
        while self.server_state.connections and loop.time() < end:
            for connection in self._connections():  # again and again: a stream may only just begin
                connection.end_stream()
            await asyncio.sleep(0.01)
        for connection in self._connections():
            connection.stop()
        await super().shutdown(sockets)

    def _connections(self) -> list[Connection]:
        return [one for one in self.server_state.connections if isinstance(one, Connection)]

    async def _look_after_connections(self) -> None:
        """Looks at each now and then until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._look_at_connections(loop.time())

    def _look_at_connections(self, now: float) -> None:
        # Not in the loop above, which would keep the last one until there is another.
        for connection in self._connections():
            connection.look(now)


class PlainStart:
    """Hears the application start, and keeps a refusal that has a plain reason from becoming a traceback."""

    def __init__(self, application: "ASGIApp") -> None:
        self._application = application
        self.refusal: Exception | None = None

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """One ASGI conversation; only the lifespan's is listened to."""
        failure: Message | None = None

        async def send_unless_failed(message: "Message") -> None:
            nonlocal failure
            if message["type"] == "lifespan.startup.failed":
                failure = message
            else:
                await send(message)

        try:
            await self._application(scope, receive, send_unless_failed)
        except PLAIN_REASONS as error:
            self.refusal = error
            logging.getLogger("uvicorn.error").disabled = True  # whoever is handed the refusal says it, once
            await send({"type": "lifespan.startup.failed", "message": ""})
        except BaseException:
            if failure is not None:
                await send(failure)
            raise


def serve(application: "ASGIApp", settings: Settings, listener: socket.socket) -> None:
    """Serves on `listener` until SIGTERM or SIGINT. Raises one of PLAIN_REASONS when the application's start did."""
    start = PlainStart(application)

    def dispatch(scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        # No coroutine of its own: this stands in front of every request.
        return (start if scope["type"] == "lifespan" else application)(scope, receive, send)

    _may_open_files()
    try:
        frame = application if isinstance(application, Frame) else None
        admission = application.admission if isinstance(application, Frame | Traces) else None
        Server(configuration(dispatch, settings), admission, frame).run(sockets=[listener])
    except SystemExit:
        if start.refusal is not None:
            raise start.refusal from None
        raise


def _may_open_files() -> None:
    """As many as the system lets us: each client is one, and the bound that most shells give is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS names a bound that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def configuration(application: "ASGIApp", settings: Settings) -> uvicorn.Config:
    """Uvicorn's configuration. Logging is the application's own."""
    return uvicorn.Config(
        application,
        interface="asgi3",
        loop="uvloop",
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        backlog=BACKLOG,
    )
