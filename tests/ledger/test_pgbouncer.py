"""PostgreSQL behind pgbouncer in transaction mode, where each transaction may get another session."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from booking.domain.changes import ChangeKind
from booking.ledger import Ledger, migrate
from booking.ledger.inspection import inspect
from tests.fixtures.pgbouncer import PROGRAM, running_pgbouncer
from tests.fixtures.postgres import PostgresServer
from tests.ledger.sale import Sale

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")

SESSIONS, CLIENTS = 3, 6


@pytest.fixture
async def behind(postgres_server: PostgresServer, postgres_url: str) -> AsyncIterator[str]:
    """The address of a database behind a pgbouncer that has fewer sessions than there are clients."""
    with running_pgbouncer(postgres_server, sessions=SESSIONS) as folder:
        yield postgres_url.replace(str(postgres_server.folder), str(folder))


async def test_ledgers_that_share_few_sessions_read_and_write_without_an_error(behind: str) -> None:
    await asyncio.gather(*(migrate(behind) for _ in range(3)))
    ledgers, numbers = [Ledger.open(behind) for _ in range(CLIENTS)], count()
    try:
        await asyncio.gather(*(ledger.initialize_shards(["first"]) for ledger in ledgers))

        async def use(ledger: Ledger) -> None:
            for _ in range(5):
                email = f"{next(numbers)}@example.org"
                await ledger.add_account(email, email, "hash")
                assert (await ledger.find_account(email)) is not None
                assert (await ledger.shards())[0].epoch == "first"

        await asyncio.gather(*(use(ledger) for ledger in ledgers for _ in range(4)))
        sale = Sale()
        bookings = [sale.ask(str(number)) for number in range(50)]
        for booking in bookings[:20]:
            sale.move(booking, ChangeKind.CANCELLED)
        for start in range(0, sale.seq, 7):  # each batch from another client
            batch = sale.batch(start, min(start + 7, sale.seq))
            await asyncio.gather(ledgers[start % CLIENTS].apply([batch]), *map(use, ledgers[:2]))
        assert len([one async for one in ledgers[1].live_bookings(1)]) == 30
    finally:
        for ledger in ledgers:
            await ledger.close()
    assert (await inspect(behind)).kind == "PostgreSQL"


async def test_a_transaction_leaves_no_setting_in_its_session(behind: str) -> None:
    await migrate(behind)
    ledger = Ledger.open(behind)
    try:
        await ledger.initialize_shards(["first"])
        async with ledger._writing() as connection:
            assert (await connection.exec_driver_sql("SHOW lock_timeout")).scalar_one() == "5s"
        async with ledger.reading() as connection:
            assert (await connection.exec_driver_sql("SHOW lock_timeout")).scalar_one() == "0"
    finally:
        await ledger.close()


def test_pgbouncer_is_found_where_debian_puts_it() -> None:
    assert PROGRAM is not None
    assert Path(PROGRAM).is_file()
