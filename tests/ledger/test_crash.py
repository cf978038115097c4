"""An applier is killed at any moment and continued from the cursor: every change is applied exactly once."""

import asyncio
import random
from multiprocessing.process import BaseProcess

from booking.domain.changes import BookingChange
from booking.ledger import Ledger
from tests.fixtures.forks import FORKS
from tests.ledger.applier import apply, whole_sale

CHANGES = 2_000
BATCH_SIZE = 40
KILLS = 4


async def start(address: str) -> BaseProcess:
    """An applier that is about to apply."""
    here, there = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=apply, args=(address, CHANGES, BATCH_SIZE, there))
    process.start()
    there.close()
    with here:
        assert await asyncio.to_thread(here.recv) == "began"
    return process


async def exit_code(process: BaseProcess) -> int | None:
    """Waits for its end."""
    await asyncio.to_thread(process.join)
    return process.exitcode


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
    migrated_address: str, ledger: Ledger, seed: int
) -> None:
    moments = random.Random(seed)
    cursors = []
    for _ in range(KILLS):
        process = await start(migrated_address)
        await asyncio.sleep(moments.uniform(0, 0.15))
        process.kill()
        await exit_code(process)
        standing = int((await ledger.shards())[0].cursor.split("-")[0])
        # What is there is exactly what the cursor says, after every single kill.
        record = await ledger.event(1)
        assert (record.seq if record else 0) == standing
        assert len(await ledger.changes(1, 0, 10 * CHANGES)) == standing
        cursors.append(standing)
    print(f"killed with the cursor at {cursors}")
    assert cursors == sorted(cursors)

    assert await exit_code(await start(migrated_address)) == 0
    await check_all_is_there_once(ledger)


async def test_two_appliers_at_once_leave_each_change_applied_once(migrated_address: str, ledger: Ledger) -> None:
    processes = [await start(migrated_address) for _ in range(2)]
    assert [await exit_code(process) for process in processes] == [0, 0]
    await check_all_is_there_once(ledger)
