"""`booking audit`: compares Redis with SQL and reports the differences. It changes nothing."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.reader import InventoryReader, opened_reader
from booking.ledger.errors import LedgerError
from booking.ledger.ledger import Ledger
from booking.logs import printable
from booking.operations.audit.catch_up import CatchUp
from booking.operations.audit.comparison import audit_event
from booking.operations.audit.findings import MEANINGS, EventAudit
from booking.settings import Settings

OK, DIFFERENT, NO_EVENT, UNREADABLE = 0, 1, 2, 3
"""Exit codes: no difference; a difference; no such event; SQL, or Redis or a part of it, could not be read."""


def audit(settings: Settings, event_ids: Sequence[int], *, as_json: bool) -> int:
    """Audits these events, or all; prints the result to standard output and returns the exit code."""
    console = Console(stderr=True)
    try:
        audits = asyncio.run(read(settings, event_ids, console))
    except (InventoryUnavailable, LedgerError) as error:
        line = f"booking: {error}; is the service (or its Redis and database) running?"
        console.print(line, style=None, markup=False, soft_wrap=True)
        return UNREADABLE
    missing = [one.event_id for one in audits if one.ok and one.seq_redis is None and one.seq_database is None]
    if missing:
        console.print(f"booking: there is no event {', '.join(map(str, missing))}", style=None, markup=False)
        return NO_EVENT
    if as_json:
        print(json.dumps([_document(one) for one in audits], indent=2))
    else:
        show(audits, Console())
    if any(one.differences for one in audits):
        return DIFFERENT
    return UNREADABLE if any(one.unread for one in audits) else OK


async def read(settings: Settings, event_ids: Sequence[int], console: Console) -> list[EventAudit]:
    """The audits, with a progress bar on a terminal. Raises InventoryUnavailable, LedgerError."""
    ledger = Ledger.open(settings.database_address)
    try:
        shards = len(await ledger.shards()) or settings.shards
        async with opened_reader(settings.redis_address, shards) as reader:
            ids = list(event_ids) or await _every_event(reader, ledger)
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
                events = bar.add_task("events", total=len(ids))
                compared = bar.add_task("bookings compared", total=None)
                catch_up, audits = CatchUp(ledger), list[EventAudit]()
                away: dict[int, InventoryUnavailable] = {}
                for event_id in ids:
                    shard = keys.shard_of(event_id, shards)
                    if shard not in away:  # which is not waited for again
                        try:
                            one = await audit_event(reader, ledger, event_id, partial(bar.advance, compared), catch_up)
                        except InventoryUnavailable as error:
                            away[shard] = error
                    if shard in away:
                        one = EventAudit(event_id, unread=f"shard {shard}: {away[shard]}")
                    audits.append(one)
                    bar.advance(events)
                if audits and all(one.unread for one in audits):
                    raise next(iter(away.values()))
                return audits
    finally:
        await ledger.close()


async def _every_event(reader: InventoryReader, ledger: Ledger) -> list[int]:
    """The ids of the events in Redis or in SQL, in order."""
    in_database = await ledger.event_ids()
    known = frozenset(in_database)
    return sorted([*in_database, *[event_id async for page in reader.event_ids(known) for event_id in page]])


def show(audits: Sequence[EventAudit], console: Console) -> None:
    """Prints a line for each event, then every difference and its meaning."""
    table = Table(title="Audit", title_justify="left", box=None, header_style="bold")
    for heading in ("event", "seq in Redis", "in SQL", "sold", "held", "available", "capacity", "bookings", ""):
        table.add_column(heading, justify="right")
    for one in audits:
        numbers = [one.redis.get(name) for name in ("tickets_sold", "tickets_held", "available_tickets", "capacity")]
        cells = (one.seq_redis, one.seq_database, *numbers, one.bookings)
        verdict = "[green]clean[/green]" if one.ok else f"[red]{_count(one)} differences[/red]"
        if one.unread:
            verdict = "[red]not read[/red]"
        table.add_row(str(one.event_id), *("-" if cell is None else f"{cell:,}" for cell in cells), verdict)
    console.print(table)
    for one in audits:
        for difference in one.differences:
            whose = f", user {printable(difference.user_id)}" if difference.user_id is not None else ""
            console.print(f"event {one.event_id}{whose}: {difference.kind}", style="bold", markup=False)
            console.print(f"  Redis:    {difference.redis}\n  database: {difference.database}", markup=False)
            console.print(f"  {MEANINGS[difference.kind]}", markup=False)
        if one.more_differences:
            console.print(f"event {one.event_id}: and {one.more_differences} more")
        if one.unread:
            console.print(f"event {one.event_id} could not be read: {one.unread}", markup=False, soft_wrap=True)
        if one.unsettled:
            console.print(f"event {one.event_id}: {one.unsettled} bookings kept changing while they were compared")
    unread = sum(bool(one.unread) for one in audits)
    wrong = sum(not one.ok for one in audits) - unread
    summary = f"{wrong} with differences" if wrong or unread else "all clean"
    console.print(f"{len(audits)} events, {summary}{f', {unread} not read' if unread else ''}.")


def _count(audit: EventAudit) -> int:
    return len(audit.differences) + audit.more_differences


def _document(audit: EventAudit) -> dict[str, Any]:
    return asdict(audit) | {"ok": audit.ok}
