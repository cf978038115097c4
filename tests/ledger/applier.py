"""Applies a sale of `tests.ledger.sale` from wherever its cursor stands, as a process that a test may kill.

    python -m tests.ledger.applier ADDRESS CHANGES BATCH_SIZE

Says `began` once it is about to apply, and `done` when all is applied.
"""

import asyncio
import sys

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


async def apply_all(address: str, changes: int, batch_size: int) -> None:
    """Continues from the cursor until all of the sale is applied. Another applier may run at the same time."""
    sale = whole_sale(changes)
    ledger = Ledger.open(address)
    print("began", flush=True)
    try:
        while (start := int((await ledger.shards())[0].cursor.split("-")[0])) < sale.seq:
            try:
                await ledger.apply([sale.batch(start, min(start + batch_size, sale.seq))])
            except CursorMoved:
                continue  # the other one was faster
    finally:
        await ledger.close()
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(apply_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
