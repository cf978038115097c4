"""The shards are founded once."""

import asyncio

from booking.ledger import Ledger, ShardRecord, migrate


async def test_shards_are_founded_from_nothing_and_kept_from_then_on(address: str) -> None:
    await migrate(address)
    ledger = Ledger.open(address)
    try:
        assert await ledger.shards() == {}
        assert await ledger.found_shards([]) == {}
        founded = await ledger.found_shards(["a", "b", "c"])
        assert founded == {shard: ShardRecord(epoch, "0-0") for shard, epoch in enumerate("abc")}
        assert await ledger.found_shards(["x", "y"]) == founded
        assert await ledger.shards() == founded
    finally:
        await ledger.close()


async def test_many_that_found_at_once_get_the_same_shards(address: str) -> None:
    await migrate(address)
    ledgers = [Ledger.open(address) for _ in range(4)]
    try:
        answers = await asyncio.gather(
            *(ledger.found_shards([f"{number}-{shard}" for shard in range(8)]) for number, ledger in enumerate(ledgers))
        )
    finally:
        await asyncio.gather(*(ledger.close() for ledger in ledgers))
    assert len(answers[0]) == 8
    assert all(answer == answers[0] for answer in answers)
    assert len({record.epoch.split("-")[0] for record in answers[0].values()}) == 1
