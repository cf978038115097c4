"""What all nodes have to agree on: the first of them decides."""

import asyncio

from booking.ledger.ledger import Ledger


async def test_of_nodes_that_start_at_once_one_decides_on_the_secret(ledger: Ledger) -> None:
    assert await ledger.signing_secret() is None
    own = [f"{number}" for number in range(8)]
    agreed = await asyncio.gather(*map(ledger.agree_on_signing_secret, own))
    assert len(set(agreed)) == 1
    assert agreed[0] in own
    await ledger.replace_signing_secret("another")
    assert await ledger.agree_on_signing_secret("0") == "another"
