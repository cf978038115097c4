"""The checks after the load, each with a time limit: the event of the service, and the history in SQL."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from booking.loadtest.database import CaughtUp, Database
from booking.loadtest.history import History
from booking.loadtest.organizer import Organizer, UnusableServiceError
from booking.loadtest.plan import Plan
from booking.loadtest.records import BuyerRecord, Fault, Findings

QUIET_SECONDS = 1.0
"""If a wait takes longer, its reason is shown."""

ShowLine = Callable[[str], None]
"""Shows a line to the user."""


def show_no_line(line: str) -> None:
    """The `ShowLine` of a run without a user."""


@contextmanager
def shown_if_slow(show_line: ShowLine, line: str) -> Iterator[None]:
    """Shows the line if the block takes longer than QUIET_SECONDS."""
    later = asyncio.get_running_loop().call_later(QUIET_SECONDS, show_line, line)
    try:
        yield
    finally:
        later.cancel()


async def event_after(
    organizer: Organizer, plan: Plan, findings: Findings, show_line: ShowLine = show_no_line
) -> dict[str, Any]:
    """The event after the sale. If the service does not return it, the result is empty, and a finding is added."""
    seconds_max = organizer.settle_seconds_max
    try:
        with shown_if_slow(
            show_line, f"waiting up to {seconds_max:g} s for the service to show the event, and its last changes to end"
        ):
            return await asyncio.to_thread(organizer.settled_event, plan.event_id)
    except UnusableServiceError as error:
        findings.add(
            Fault.UNSETTLED,
            f"the service could not be asked after the sale, for {seconds_max:g} s: {error}. What its buyers have was"
            " not read back, so this verdict is incomplete; once it is there again, `booking audit` compares its Redis"
            " with SQL",
        )
        return {}


class Sql:
    """The check of SQL, or the reason why there is none."""

    def __init__(self, note: str, database: Database | None = None, caught_up: CaughtUp | None = None) -> None:
        self.note = note
        self.caught_up = caught_up
        self._database = database

    @classmethod
    async def open(
        cls,
        address: str | None,
        plan: Plan,
        name: str,
        redis_seq: int | None,
        ended_ns: int,
        seconds_max: float,
        show_line: ShowLine,
    ) -> "Sql":
        """Waits until SQL reaches `redis_seq`. If that is None, because Redis could not be read, it does not wait."""
        if address is None:
            return cls("no database was named, and there is none in the data folder")
        from booking.ledger.errors import LedgerError  # only here, so that --help and completion start fast

        database = Database(address, plan.event_id)
        try:
            with shown_if_slow(
                show_line, f"waiting up to {seconds_max:g} s for SQL to reach change {redis_seq}, the last one in Redis"
            ):
                caught_up = await database.caught_up(name, redis_seq, ended_ns, seconds_max)
        except LedgerError as error:
            await database.close()
            return cls(f"the database can't be read: {error}")
        if caught_up is None:
            await database.close()
            return cls("the database is another service's: this event is another there")
        return cls("", database, caught_up)

    async def judge(self, plan: Plan, records: Sequence[BuyerRecord], findings: Findings) -> None:
        """Judges the changes that SQL has."""
        if self._database is None or self.caught_up is None:
            return
        from booking.ledger.errors import LedgerError  # as in `open`

        try:
            history = await self._database.history(plan.tickets)
        except LedgerError as error:
            findings.add(Fault.UNSETTLED, f"the database could not be read to the end: {error}")
            return
        missing = history.compare(records, self.caught_up.redis_seq)
        findings.merge(history.findings)
        if not self.caught_up.reached:
            _report_lag(self.caught_up, history, missing, findings)

    async def close(self) -> None:
        """Closes the connections."""
        if self._database is not None:
            await self._database.close()


def _report_lag(caught_up: CaughtUp, history: History, missing: int, findings: Findings) -> None:
    """Reports changes that SQL does not have yet. They may only be late, so it is not proven that they are lost."""
    redis_seq = caught_up.redis_seq
    if redis_seq is not None and history.seq >= redis_seq:
        findings.add(
            Fault.NOT_YET,
            f"{caught_up.seconds:.1f} s after the end SQL was at change {caught_up.seq}, Redis at {redis_seq}; it has"
            " caught up since, and --database-seconds gives it longer",
            redis_seq - caught_up.seq,
        )
        return
    lag = missing if redis_seq is None else redis_seq - history.seq
    if lag:
        redis = "Redis could not be asked" if redis_seq is None else f"Redis was at change {redis_seq}"
        doubt = "" if history.seq else " (if it is this service's database)"
        findings.add(
            Fault.NOT_YET,
            f"SQL is at change {history.seq}, {redis}{doubt}: {missing} acknowledged bookings and cancels are not in"
            " SQL yet, which is not to say that they are lost. GET /readyz and the log say what the persister waits"
            " for; once it has caught up, `booking audit` compares the two",
            lag,
        )
