"""To close a ledger closes the connections that are in use, too, and does not wait for them for ever."""

import asyncio

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest

from booking.ledger import Ledger, closing

MOMENT_SECONDS = 0.05


async def test_a_connection_in_use_is_closed_when_its_call_ends(migrated_address: str) -> None:
    ledger = Ledger.open(migrated_address)
    async with ledger.reading() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        ending = asyncio.create_task(ledger.close())
        await asyncio.sleep(MOMENT_SECONDS)
        assert not ending.done()
    await ending
    with pytest.raises((ValueError, asyncpg.InterfaceError), match=r"no active connection|connection is closed"):
        await driver.execute("SELECT 1")


async def test_a_call_that_does_not_end_holds_the_close_up_for_a_bounded_time(
    migrated_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "CLOSE_SECONDS_MAX", MOMENT_SECONDS)
    ledger = Ledger.open(migrated_address)
    async with ledger.reading() as connection:
        async with asyncio.timeout(30):
            await ledger.close()
        await connection.invalidate()  # nobody else closes it now
