"""One load test from beginning to end: open a sale, play it in several processes, read it back, judge it."""

import asyncio
import os
import platform
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from time import perf_counter_ns
from typing import Any

from booking.ledger.errors import LedgerError
from booking.loadtest.calls import Kind
from booking.loadtest.database import CaughtUp, Database
from booking.loadtest.figures import Figures
from booking.loadtest.opening import Organizer, UnusableServiceError
from booking.loadtest.plan import Plan
from booking.loadtest.player import Player, ShowProgress
from booking.loadtest.records import BuyerRecord, Fault, Findings, Verdict
from booking.loadtest.verdict import judge

FORMAT = 1
"""Of the JSON: it grows when something in it changes its name or its meaning, not when something is added."""

START_SECONDS = 0.05
"""From the word to start until the first call, so that every process has heard it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    plan: Plan
    figures: Figures
    findings: Findings
    event: dict[str, Any]
    """The event after the sale, as the service shows it."""
    buyers_sent: int
    caught_up: CaughtUp | None
    """How SQL caught up; None when it was not read."""
    database_note: str
    """Why SQL was not read; empty when it was."""
    started_at: datetime
    """When the load began, in UTC."""
    buyers_turned_away: int = 0
    """Buyers who were refused each time that they asked, with an answer that promises that nothing was changed."""

    @property
    def clean(self) -> bool:
        """Whether no fault was found."""
        return self.findings.verdict is Verdict.CLEAN

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes; scripts/load/README.md says what each key means."""
        return {
            "format": FORMAT,
            "started_at": self.started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "machine": machine(),
            "plan": asdict(self.plan),
            "load": self.figures.to_json(),
            "buyers_sent": self.buyers_sent,
            "buyers_turned_away": self.buyers_turned_away,
            "event": self.event,
            "database": asdict(self.caught_up) if self.caught_up else {"not_read": self.database_note},
            "verdict": {
                "clean": self.clean,
                "word": str(self.findings.verdict),
                **{str(fault): self.findings.counts.get(fault, 0) for fault in Fault},
            },
            "examples": {str(fault): examples for fault, examples in self.findings.examples.items()},
        }


def machine() -> dict[str, Any]:
    """What the load was made on; where the service runs on it, too, they share its cores."""
    return {"system": platform.platform(terse=True), "cores": os.cpu_count(), "python": platform.python_version()}


async def run(
    plan: Plan, secret: str, organizer: Organizer, database: str | None, database_seconds: float, show: ShowProgress
) -> Outcome:
    """Runs `plan` (its event_id is set here). `database` is an SQLAlchemy address, or None for no look at SQL.

    Raises UnusableServiceError when the sale can't be opened, LoadProcessError when a load process dies.
    """
    name = f"Load test {secrets.token_hex(6)}"
    plan = replace(plan, event_id=await asyncio.to_thread(organizer.open_sale, name, plan.tickets, plan.quantity_max))
    players = [Player(plan, process, secret, show) for process in range(plan.processes)]
    try:
        await asyncio.gather(*(player.start() for player in players))
        started_at = datetime.now(UTC)
        go_ns = perf_counter_ns() + int(START_SECONDS * 1e9)
        figures, findings = Figures(), Findings()
        for played in await asyncio.gather(*(player.play(go_ns) for player in players)):
            figures.add(played)
        ended_ns = perf_counter_ns()
        event = await event_after(organizer, plan, findings)
        # SQL is looked at before the reading, which takes time that would make it look quicker than it is.
        sql = await _Sql.open(database, plan, name, int(event.get("seq", 0)), ended_ns, database_seconds)
        try:
            records: list[BuyerRecord] = []
            for rows, found, latencies in await asyncio.gather(*(player.read() for player in players)):
                records += rows
                findings.merge(found)
                figures.latencies[Kind.READ].add_json(latencies)
            if event:
                findings.merge(judge(plan.tickets, records, event))
            await sql.judge(plan, records, findings)
        finally:
            await sql.close()
    finally:
        await asyncio.gather(*(player.end() for player in players))
    turned_away = sum(record.turned_away for record in records)
    return Outcome(plan, figures, findings, event, len(records), sql.caught_up, sql.note, started_at, turned_away)


async def event_after(organizer: Organizer, plan: Plan, findings: Findings) -> dict[str, Any]:
    """The event once the sale is over; empty, and a finding, when the service does not show it any more."""
    try:
        return await asyncio.to_thread(organizer.event_once_still, plan.event_id)
    except UnusableServiceError as error:
        findings.add(Fault.UNSETTLED, f"the event could not be read after the sale: {error}")
        return {}


class _Sql:
    """The look at SQL, or the reason why there is none."""

    def __init__(self, note: str, database: Database | None = None, caught_up: CaughtUp | None = None) -> None:
        self.note = note
        self.caught_up = caught_up
        self._database = database

    @classmethod
    async def open(
        cls, address: str | None, plan: Plan, name: str, seq: int, ended_ns: int, seconds_max: float
    ) -> "_Sql":
        if address is None:
            return cls("no database was named, and there is none in the data folder")
        database = Database(address, plan.event_id)
        try:
            caught_up = await database.caught_up(name, seq, ended_ns, seconds_max)
        except LedgerError as error:
            await database.close()
            return cls(f"the database can't be read: {error}")
        if caught_up is None:
            await database.close()
            return cls("the database is another service's: this event is another there")
        return cls("", database, caught_up)

    async def judge(self, plan: Plan, records: list[BuyerRecord], findings: Findings) -> None:
        if self._database is None or self.caught_up is None:
            return
        if not self.caught_up.reached:
            findings.add(
                Fault.DISAGREEMENT,
                f"SQL stood at change {self.caught_up.seq} {self.caught_up.seconds:.1f} s after the end, behind Redis"
                " (if it is this service's database)",
            )
        try:
            history = await self._database.history(plan.tickets)
        except LedgerError as error:
            findings.add(Fault.UNSETTLED, f"the database could not be read to the end: {error}")
            return
        history.compare(records)
        findings.merge(history.findings)

    async def close(self) -> None:
        if self._database is not None:
            await self._database.close()
