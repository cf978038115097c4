"""Applies a sale of `tests.ledger.sale` from its cursor on, as a process that a test may kill."""

import asyncio
from multiprocessing.connection import Connection

from booking.domain.changes import ChangeKind
from booking.ledger import CursorMoved, Ledger
from tests.ledger.sale import Sale


def whole_sale(changes: int) -> Sale:
    """The same sale every time: people join, and every third change is of a booking made earlier."""
    sale = Sale()
    standing = [sale.ask("first")]
    while sale.seq < changes:
        if sale.seq % 3 == 0:
            sale.move(standing.pop(0), ChangeKind.CANCELLED)
        else:
            standing.append(sale.ask(f"user-{sale.seq}"))
    return sale


def apply(address: str, changes: int, batch_size: int, parent: Connection) -> None:
    """Continues from the cursor until all of the sale is applied; tells `parent` when it begins.

    Another applier may run at the same time.
    """
    asyncio.run(_apply(address, changes, batch_size, parent))


async def _apply(address: str, changes: int, batch_size: int, parent: Connection) -> None:
    sale = whole_sale(changes)
    ledger = Ledger.open(address)
    parent.send("began")
    try:
        while (start := int((await ledger.shards())[0].cursor.split("-")[0])) < sale.seq:
            try:
                await ledger.apply([sale.batch(start, min(start + batch_size, sale.seq))])
            except CursorMoved:
                continue  # the other one was faster
    finally:
        await ledger.close()
