"""The shards are initialized once, and an epoch is replaced by one process at a time."""

import asyncio

from booking.ledger import Ledger, ShardRecord


async def test_shards_are_initialized_once_and_then_kept(migrated_address: str) -> None:
    ledger = Ledger.open(migrated_address)
    try:
        assert await ledger.shards() == {}
        assert await ledger.initialize_shards([]) == {}
        initialized = await ledger.initialize_shards(["a", "b", "c"])
        assert initialized == {shard: ShardRecord(epoch, "0-0") for shard, epoch in enumerate("abc")}
        assert await ledger.initialize_shards(["x", "y"]) == initialized
        assert await ledger.shards() == initialized
    finally:
        await ledger.close()


async def test_concurrent_initializations_get_the_same_shards(migrated_address: str) -> None:
    ledgers = [Ledger.open(migrated_address) for _ in range(4)]
    try:
        answers = await asyncio.gather(
            *(
                ledger.initialize_shards([f"{number}-{shard}" for shard in range(8)])
                for number, ledger in enumerate(ledgers)
            )
        )
    finally:
        await asyncio.gather(*(ledger.close() for ledger in ledgers))
    assert len(answers[0]) == 8
    assert all(answer == answers[0] for answer in answers)
    assert len({record.epoch.split("-")[0] for record in answers[0].values()}) == 1


async def test_an_epoch_is_replaced_only_if_its_record_has_not_changed(migrated_address: str) -> None:
    ledger = Ledger.open(migrated_address)
    try:
        seen = (await ledger.initialize_shards(["a", "b"]))[1]
        assert await ledger.replace_shard(1, seen, ShardRecord("new", "0-1"))
        assert not await ledger.replace_shard(1, seen, ShardRecord("later", "0-1")), "a changed record was replaced"
        assert not await ledger.replace_shard(1, ShardRecord("new", "0-0"), ShardRecord("later", "0-1"))
        assert await ledger.shards() == {0: ShardRecord("a", "0-0"), 1: ShardRecord("new", "0-1")}
    finally:
        await ledger.close()
