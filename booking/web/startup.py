"""Opening what a web worker answers with; one that cannot be opened yet answers that, where nobody else could."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from starlette.types import Receive, Scope, Send

from booking.inventory.errors import InventoryUnavailable
from booking.ledger.errors import LedgerError, LedgerUnavailable
from booking.settings import SettingsError

AWAY = (SettingsError, InventoryUnavailable, LedgerError, TimeoutError)
"""What may be wrong with a part that another process is, or with what that was told to do."""

OPEN_SECONDS_MAX = 1.0
"""How long buyers are kept waiting for a worker to open; with its start they have an answer within 2 s (contract)."""

OPEN_AGAIN_SECONDS = 0.5
"""Between two attempts to open what is away."""

log = structlog.get_logger()

Open = Callable[[AsyncExitStack], Awaitable[None]]
"""Opens every part, to be closed with the stack. Raises what is in AWAY."""


class Startup:
    """The parts behind one worker's answers, over its life."""

    def __init__(self, open_parts: Open, *, waits: bool) -> None:
        """One that `waits` answers with what is away, and opens later, where others do not start."""
        self._open = open_parts
        self._waits = waits
        self._away: BaseException | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Everything open, or about to be; closed at the end."""
        async with AsyncExitStack() as parts:
            try:
                async with asyncio.timeout(OPEN_SECONDS_MAX if self._waits else None):
                    await self._open(parts)
            except AWAY as error:
                if not self._waits:
                    raise
                self._away = error
            opening = asyncio.create_task(self._open_later(parts), name="opening")
            try:
                yield
            finally:
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)

    async def _open_later(self, parts: AsyncExitStack) -> None:
        while self._away is not None:
            log.error("this worker sells nothing until it can be opened", reason=str(self._away) or "it takes long")
            await parts.aclose()
            await asyncio.sleep(OPEN_AGAIN_SECONDS)
            try:
                await self._open(parts)
            except Exception as error:  # noqa: BLE001 - it may be over the next time, and nobody else would try again
                self._away = error
            else:
                self._away = None
                log.info("this worker is open")

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as ASGI has it
        """ASGI, for every path until they are open."""
        # Never the same one again: each raise would add to what it holds of where it was raised.
        if isinstance(self._away, LedgerError):
            raise LedgerUnavailable(str(self._away))
        raise InventoryUnavailable(str(self._away) or "it takes long")
