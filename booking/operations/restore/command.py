"""`booking restore`: finds the shards that Redis has lost, restores them from the database, and audits the result."""

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.prompt import Confirm

from booking.domain.lags import describe_lost
from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.reader import InventoryReader
from booking.inventory.shard_clients import describe_away
from booking.inventory.streams import ChangeStreams, opened_streams, trimmed_past
from booking.inventory.topology import Topology
from booking.ledger.errors import LedgerError
from booking.ledger.ledger import Ledger
from booking.logs import drain, unwaiting
from booking.operations.audit.catch_up import CatchUp
from booking.operations.audit.command import show
from booking.operations.audit.comparison import audit_event
from booking.operations.audit.findings import EventAudit
from booking.operations.restore.restoration import Restored, lost_shards, restore_shard
from booking.persister.bootstrap import positions_of
from booking.settings import Settings

DONE, DIFFERENT, REFUSED, UNREADABLE = 0, 1, 2, 3
"""Exit codes: restored; the audit found differences; not done; SQL, or Redis or a part of it, could not be read or
written."""

LOADING_SECONDS_MAX = 600.0
"""How long a Redis that was just started may load its data; enough for some ten million bookings."""

POLL_SECONDS = 0.1


class _Interrupted(Exception):
    """Redis or SQL failed during the restoration; it has the error's message."""


def restore(settings: Settings, shards: Sequence[int], *, yes: bool, force: bool) -> int:
    """Restores these shards, or all, if they are lost or with `force`; returns the exit code."""
    console = Console(file=unwaiting(sys.stderr))  # nothing is sold from a half restored shard: it must not wait
    try:
        return asyncio.run(_restore(settings, shards, yes=yes, force=force, console=console))
    except (InventoryUnavailable, LedgerError, _Interrupted) as error:
        console.print(f"booking: {error}", markup=False, soft_wrap=True)
        if isinstance(error, _Interrupted):
            console.print("booking: nothing is sold from a half restored shard; run the command again", markup=False)
        return UNREADABLE


async def _restore(settings: Settings, shards: Sequence[int], *, yes: bool, force: bool, console: Console) -> int:
    async with AsyncExitStack() as stack:
        ledger = Ledger.open(settings.database_address)
        stack.push_async_callback(ledger.close)
        known = await ledger.shards()
        unknown = [shard for shard in shards if shard not in known]
        if unknown or not known:
            console.print(f"booking: the database has the shards {_list(known)}, not {_list(unknown)}", markup=False)
            return REFUSED
        streams = await stack.enter_async_context(opened_streams(settings.redis_address, len(known)))
        await _until_loaded(streams, console)
        lost = await lost_shards(ledger, streams)
        away = {shard: error for shard, error in streams.away.items() if not shards or shard in shards}
        if away:
            console.print(f"booking: these cannot be restored now: {describe_away(away)}", markup=False, soft_wrap=True)
        wanted = [shard for shard in (shards or known) if shard not in away and (force or shard in lost)]
        if not wanted:
            if not away:
                console.print("Redis has every change that the database has: there is nothing to restore.")
            return UNREADABLE if away else DONE
        old = trimmed_past(await streams.trimmed_to(wanted), positions_of(known))
        if old:
            console.print(
                f"The database lacks changes that it had of the shards {_list(old)}: it is an old copy, or the wrong "
                "database. Put the newer one back. To restore from this one drops the later bookings.",
            )
            if not force:
                console.print("booking: nothing was changed; --force drops the later bookings", markup=False)
                return REFUSED
        if not _is_confirmed(console, lost, wanted, yes=yes):
            return REFUSED
        try:
            await _restore_each(settings, ledger, streams, wanted, even_if_whole=force, console=console)
        except (InventoryUnavailable, LedgerError) as error:
            raise _Interrupted(str(error)) from None
        audits = await _audit(streams.topology, ledger, wanted, len(known))
        drain(console.file)
        show(audits, Console())
        if not all(audit.ok for audit in audits):
            return DIFFERENT
        return UNREADABLE if away else DONE


def _is_confirmed(console: Console, lost: Sequence[int], wanted: Sequence[int], *, yes: bool) -> bool:
    whole = [shard for shard in wanted if shard not in lost]
    console.print(f"Redis has lost the shards {_list(lost)}." if lost else "Redis has lost nothing.")
    if whole:
        console.print(
            f"The shards {_list(whole)} are whole. They are written again all the same. Meanwhile nothing is sold "
            "from them. Their idempotency keys and counts of refusals are deleted.",
        )
    if yes or (console.is_terminal and Confirm.ask("Restore them from the database?", console=console)):
        return True
    console.print("booking: nothing was changed; --yes restores without asking")
    return False


async def _restore_each(
    settings: Settings,
    ledger: Ledger,
    streams: ChangeStreams,
    shards: Sequence[int],
    *,
    even_if_whole: bool,
    console: Console,
) -> None:
    count = len(await ledger.shards())
    with _bar(console) as bar:
        for shard in shards:
            task = bar.add_task(f"shard {shard}", total=await _bookings(ledger, shard, count))
            restored = await restore_shard(
                settings, ledger, streams, shard, even_if_whole=even_if_whole, progress=partial(bar.advance, task)
            )
            console.print(_summary(shard, restored))


async def _until_loaded(streams: ChangeStreams, console: Console) -> None:
    """Waits until Redis has loaded its data: a restoration often follows a restart of Redis.

    Raises InventoryUnavailable after LOADING_SECONDS_MAX.
    """
    end = time.monotonic() + LOADING_SECONDS_MAX
    if await streams.is_loaded():
        return
    console.print("Redis is still loading its data; the restoration waits for it.")
    while not await streams.is_loaded():
        if time.monotonic() > end:
            raise InventoryUnavailable(f"Redis has been loading its data for {LOADING_SECONDS_MAX:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


async def _bookings(ledger: Ledger, shard: int, shards: int) -> int:
    total = 0
    for event_id in await ledger.event_ids():
        if keys.shard_of(event_id, shards) == shard:
            total += sum(count.bookings for count in (await ledger.counts(event_id)).values())
    return total


async def _audit(topology: Topology, ledger: Ledger, restored: Sequence[int], shards: int) -> list[EventAudit]:
    reader, catch_up = InventoryReader(topology, shards), CatchUp(ledger)
    try:
        return [
            await audit_event(reader, ledger, event_id, catch_up=catch_up)
            for event_id in await ledger.event_ids()
            if keys.shard_of(event_id, shards) in restored
        ]
    finally:
        await reader.close()


def _summary(shard: int, restored: Restored | None) -> str:
    if restored is None:
        return f"shard {shard}: another process has restored it"
    summary = f"shard {shard}: {restored.events} events, {restored.bookings:,} live bookings"
    if restored.saved:
        summary += f"; {restored.saved} changes that were only in Redis were saved first"
    if restored.discarded:
        summary += "; changes that do not follow those in the database were dropped"
    if restored.lost:
        summary += f"; lost for good are {describe_lost(shard, restored.lost)}; no booking gets one of their ids"
    return summary


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _list(shards: Iterable[int]) -> str:
    return ", ".join(map(str, shards)) or "none"
