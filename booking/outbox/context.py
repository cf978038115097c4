"""What the consumers of the outbox share: the database, the lease, the news and the stop."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from booking.domain.changes import Change
from booking.ledger.outbox import Beside, Cursor, Lease, LeaseLost, OutboxLedger
from booking.metrics import Metrics
from booking.settings import Settings

NEWS_SECONDS = 0.2
"""The interval at which the database is asked whether it has new changes. The persister commits as often."""

UNHEARD_SECONDS = 1.0
"""The same while there is no webhook and no mail server: five times a second would cost each booking 2 % more."""


Render = Callable[[Change], Mapping[str, object]]
"""Makes the JSON of a change, as the feed tells it."""


class News:
    """Tells the consumers that the database may have new changes. They share one small query."""

    def __init__(self, ledger: OutboxLedger) -> None:
        self._ledger = ledger
        self._seen: object = None
        self._changed = asyncio.Event()
        self.count = 0
        """How often there was something new. To be read before the database is."""
        self.listeners: set[str] = set()
        """The consumers that have someone to tell."""

    async def wait(self, count: int, seconds: float) -> None:
        """Returns when there is something new since `count` was read, or after `seconds`."""
        if self.count == count:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()

    def tell(self) -> None:
        """Ends all waits."""
        self.count += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def watch(self) -> None:
        """Asks the database until it is cancelled. Raises LedgerUnavailable."""
        while True:
            found = await self._ledger.version()
            if found != self._seen:
                self._seen = found
                self.tell()
            await asyncio.sleep(NEWS_SECONDS if self.listeners else UNHEARD_SECONDS)


@dataclass(slots=True)
class Context:
    """What a consumer works with while this process has the lease."""

    settings: Settings
    ledger: OutboxLedger
    lease: Lease
    metrics: Metrics
    stop: asyncio.Event
    """Set when the process is to end."""
    news: News
    render: Render
    held_until: float = field(default_factory=time.monotonic)
    """Until when this process has the lease for certain, by the monotonic clock."""

    @property
    def has_lease(self) -> bool:
        """Whether no other process can have the lease now. To be asked before anything is told."""
        return time.monotonic() < self.held_until

    async def renew(self) -> None:
        """Renews the lease. Raises LeaseLost, LedgerUnavailable."""
        asked_at = time.monotonic()
        if not await self.ledger.take_lease(self.lease):
            raise LeaseLost
        self.held_until = asked_at + self.lease.lease_ms / 1000

    async def move(self, cursors: Sequence[Cursor], beside: Beside | None = None) -> None:
        """Writes cursors, what `beside` writes, and renews the lease. Raises LeaseLost, LedgerUnavailable."""
        asked_at = time.monotonic()
        await self.ledger.move(self.lease, cursors, beside)
        self.held_until = asked_at + self.lease.lease_ms / 1000
