"""Startup of a web worker. With `waits`, the worker responds with 503 until its clients are open."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from starlette.types import Receive, Scope, Send

from booking.inventory.errors import InventoryUnavailable
from booking.ledger.errors import LedgerError, LedgerUnavailable
from booking.settings import SettingsError

AWAY = (SettingsError, InventoryUnavailable, LedgerError, TimeoutError)
"""Errors of another process (Redis, the database), or of its settings, which may be over later."""

OPEN_SECONDS_MAX = 1.0
"""How long the first attempt may take; with the worker's start, clients get a response within 2 s (contract)."""

OPEN_AGAIN_SECONDS = 0.5
"""The pause between two attempts."""

log = structlog.get_logger()

Open = Callable[[AsyncExitStack], Awaitable[None]]
"""Opens all clients, and adds their closing to the stack. Raises the errors of AWAY."""


class Startup:
    """Opens the clients of one worker, and closes them at its end."""

    def __init__(self, open_clients: Open, *, waits: bool) -> None:
        """With `waits`, a failed attempt is repeated, and requests get 503 until then; else the error is raised."""
        self._open = open_clients
        self._waits = waits
        self._away: BaseException | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Opens the clients, or keeps trying in the background; closes them at the end. Raises the errors of AWAY."""
        async with AsyncExitStack() as clients:
            try:
                async with asyncio.timeout(OPEN_SECONDS_MAX if self._waits else None):
                    await self._open(clients)
            except AWAY as error:
                if not self._waits:
                    raise
                self._away = error
            opening = asyncio.create_task(self._open_later(clients), name="opening")
            try:
                yield
            finally:
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)

    async def _open_later(self, clients: AsyncExitStack) -> None:
        while self._away is not None:
            log.error(
                "this worker responds with 503 until it has started", reason=str(self._away) or "the start is slow"
            )
            await clients.aclose()
            await asyncio.sleep(OPEN_AGAIN_SECONDS)
            try:
                await self._open(clients)
            except Exception as error:  # noqa: BLE001 - the next attempt may succeed, and nothing else repeats it
                self._away = error
            else:
                self._away = None
                log.info("this worker has started")

    async def respond(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """ASGI, for every path until the clients are open. Raises LedgerUnavailable, InventoryUnavailable."""
        # A new exception each time: raising the stored one again would make its traceback longer each time.
        if isinstance(self._away, LedgerError):
            raise LedgerUnavailable(str(self._away))
        raise InventoryUnavailable(str(self._away) or "the start is slow")
