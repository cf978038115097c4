"""Runs a whole load test: opens a sale, plays it in several processes, reads it back, and judges it."""

import asyncio
import os
import platform
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from time import perf_counter_ns
from typing import Any

from booking.loadtest.calls import Kind
from booking.loadtest.checks import ShowLine, Sql, event_after, show_no_line, shown_if_slow
from booking.loadtest.database import CaughtUp
from booking.loadtest.figures import Figures
from booking.loadtest.organizer import Organizer
from booking.loadtest.plan import READ_SILENCE_SECONDS_MAX, Plan
from booking.loadtest.player import Player, ShowProgress
from booking.loadtest.records import BuyerRecord, Fault, Findings, Verdict
from booking.loadtest.verdict import judge

FORMAT = 1
"""The version of the JSON. It grows if a name or a meaning changes, not if something is added."""

START_SECONDS = 0.05
"""The delay between the start command and the first call, so that every process has received it."""

READING = f"reading back what each buyer has; it ends, too, once none could be read for {READ_SILENCE_SECONDS_MAX:g} s"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run."""

    plan: Plan
    figures: Figures
    findings: Findings
    event: dict[str, Any]
    """The event after the sale, as the service shows it."""
    buyers_sent: int
    caught_up: CaughtUp | None
    """How SQL caught up; None if it was not read."""
    database_note: str
    """Why SQL was not read; empty if it was."""
    started_at: datetime
    """When the load began, in UTC."""
    buyers_turned_away: int = 0
    """Buyers who only got refusals, which promise that nothing was changed."""

    @property
    def clean(self) -> bool:
        """Whether no fault was found."""
        return self.findings.verdict is Verdict.CLEAN

    def to_json(self) -> dict[str, Any]:
        """The content of `--json`. scripts/load/README.md explains each key."""
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
    """The machine of the load generator. If the service runs on it, too, they share its cores."""
    return {"system": platform.platform(terse=True), "cores": os.cpu_count(), "python": platform.python_version()}


async def run(
    plan: Plan,
    secret: str,
    organizer: Organizer,
    database: str | None,
    database_seconds: float,
    show: ShowProgress,
    show_line: ShowLine = show_no_line,
) -> Outcome:
    """Runs `plan` (its event_id is set here). `database` is an SQLAlchemy address; None: SQL is not read.

    Raises UnusableServiceError if the sale cannot be opened, and LoadProcessError if a load process dies.
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
        event = await event_after(organizer, plan, findings, show_line)
        # SQL is checked before the bookings are read: it could catch up during the reads, and would look faster.
        redis_seq = int(event["seq"]) if event else None
        sql = await Sql.open(database, plan, name, redis_seq, ended_ns, database_seconds, show_line)
        try:
            records: list[BuyerRecord] = []
            with shown_if_slow(show_line, READING):
                reports = await asyncio.gather(*(player.read(ask=bool(event)) for player in players))
            for rows, found, latencies in reports:
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
