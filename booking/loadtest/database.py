"""Reads a sale's history from SQL, after SQL has caught up with Redis."""

import asyncio
from dataclasses import dataclass
from time import perf_counter_ns

from booking.loadtest.history import History

POLL_SECONDS = 0.01
CHANGES_A_PAGE = 5_000


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Whether SQL reached the last `seq` of Redis, and how long after the end of the load that was observed."""

    reached: bool
    seconds: float
    seq: int
    """The last change in SQL at that time."""
    redis_seq: int | None
    """The last change in Redis after the load; None if Redis could not be read."""


class Database:
    """The service's SQL database, opened for reading. Errors are LedgerError."""

    def __init__(self, address: str, event_id: int) -> None:
        from booking.ledger import Ledger  # only here, so that --help and completion start fast

        self._ledger = Ledger.open(address)
        self._event_id = event_id

    async def caught_up(self, name: str, redis_seq: int | None, ended_ns: int, seconds_max: float) -> CaughtUp | None:
        """Waits until SQL has the event up to `redis_seq`; if that is None, it reads SQL's position once.

        Returns None if another event has its id: it is another service's database.
        `ended_ns` is when the load ended, on perf_counter_ns.
        """
        while True:
            event = await self._ledger.event(self._event_id)
            seconds = (perf_counter_ns() - ended_ns) / 1e9
            if event is not None and event.rules.name != name:
                return None
            reached = 0 if event is None else event.seq
            if event is not None and redis_seq is not None and reached >= redis_seq:
                return CaughtUp(True, seconds, reached, redis_seq)
            if redis_seq is None or seconds > seconds_max:
                return CaughtUp(False, seconds, reached, redis_seq)
            await asyncio.sleep(POLL_SECONDS)

    async def history(self, tickets: int) -> History:
        """Replays the event's changes, a page at a time, and reads the live bookings."""
        history = History(tickets)
        while page := await self._ledger.changes(self._event_id, history.seq, CHANGES_A_PAGE):
            history.apply(page)
        async for booking in self._ledger.live_bookings(self._event_id):
            history.add_stored(booking)
        return history

    async def close(self) -> None:
        """Closes the connections."""
        await self._ledger.close()
