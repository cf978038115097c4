"""An applier is killed at any moment and continued from the cursor: every change is applied exactly once."""

import asyncio
import random
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from booking.domain.changes import BookingChange
from booking.ledger import Ledger
from tests.ledger.applier import whole_sale

CHECKOUT = Path(__file__).parents[2]
CHANGES = 3_000
BATCH_SIZE = 40
KILLS = 5


async def start(address: str) -> Process:
    """An applier that is about to apply."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.ledger.applier", address, str(CHANGES), str(BATCH_SIZE), stdout=PIPE, cwd=CHECKOUT
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"began\n"
    return process


async def check_all_is_there_once(ledger: Ledger) -> None:
    sale = whole_sale(CHANGES)
    assert (await ledger.shards())[0].cursor == f"{sale.seq}-0"
    assert await ledger.seq_gaps(1) == []
    assert await ledger.changes(1, 0, 10 * CHANGES) == sale.changes
    last = {change.number: change for change in sale.changes if isinstance(change, BookingChange)}
    counts = await ledger.counts(1)
    assert sum(count.bookings for count in counts.values()) == len(last)
    assert {booking.number async for booking in ledger.live_bookings(1)} == {
        number for number, change in last.items() if change.status == "confirmed"
    }


async def test_an_applier_killed_at_random_moments_leaves_each_change_applied_once(
    address: str, ledger: Ledger, seed: int
) -> None:
    moments = random.Random(seed)
    cursors = []
    for _ in range(KILLS):
        process = await start(address)
        await asyncio.sleep(moments.uniform(0, 0.15))
        if process.returncode is None:
            process.kill()
        await process.communicate()
        standing = int((await ledger.shards())[0].cursor.split("-")[0])
        # What is there is exactly what the cursor says, after every single kill.
        record = await ledger.event(1)
        assert (record.seq if record else 0) == standing
        assert len(await ledger.changes(1, 0, 10 * CHANGES)) == standing
        cursors.append(standing)
    print(f"killed with the cursor at {cursors}")
    assert cursors == sorted(cursors)

    process = await start(address)
    assert (await process.communicate())[0] == b"done\n"
    await check_all_is_there_once(ledger)


async def test_two_appliers_at_once_leave_each_change_applied_once(address: str, ledger: Ledger) -> None:
    processes = [await start(address) for _ in range(2)]
    ends = [(await process.communicate())[0] for process in processes]
    assert ends == [b"done\n", b"done\n"]
    await check_all_is_there_once(ledger)
