"""A primary's term: each shard's epoch names, in SQL and in Redis, the server that the shard is sold from."""

import asyncio
from collections.abc import Collection
from dataclasses import replace

from booking.domain.epochs import follows, is_of, next_term
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.script_connection import Acknowledged, Execute
from booking.inventory.streams import ChangeStreams, begin_terms, held_epochs, run_id, verify_or_fence
from booking.ledger.ledger import Ledger
from booking.ledger.records import ShardRecord

ROUNDS_MAX = 5
"""Two are enough, unless other processes move cursors or terms meanwhile."""


async def take_terms(
    execute: Execute,
    ledger: Ledger,
    shards: Collection[int],
    server: str | None,
    acknowledged: Acknowledged,
    seconds_max: float | None = None,
) -> tuple[dict[int, ShardRecord], dict[int, str]]:
    """Verifies these shards of a server, and makes it the primary of those that another server was the primary of.

    `server` is its `run_id`; without one, no term begins. Returns the shards as SQL has them after that, and what
    `verify_or_fence` has found. `seconds_max` bounds each question to SQL.

    A term begins in Redis, then in SQL. Each step compares and sets, and any process may repeat it:

    - Redis first, and only from the epoch that SQL has. A forgotten primary has an earlier one, so it cannot come back
      as the primary. A replica refuses to write, so it cannot become the primary before it is promoted.
    - SQL only from the epoch and the cursor that the server was verified against. Of two servers that were promoted at
      once, one wins; the other's epoch is known to no process. A server that lacks what a persister applied in
      between has to be verified again.
    - If the process ends between the steps, the server is one term ahead of SQL. The next process that connects, to
      this server or to a replica of it that was promoted, moves SQL on.

    Raises LedgerUnavailable, InventoryUnavailable.
    """
    told = dict[int, str]()
    """What each verification has found; only the first one that finds a loss says what is lost."""
    for number in range(ROUNDS_MAX):
        records = {shard: record for shard, record in (await ledger.shards(seconds_max)).items() if shard in shards}
        held = await held_epochs(execute, records)
        ahead = {shard: held[shard] for shard, record in records.items() if follows(held[shard], record.epoch)}
        positions = {shard: (ahead.get(shard, record.epoch), record.cursor) for shard, record in records.items()}
        found = await verify_or_fence(execute, positions, acknowledged)
        told = {shard: text or told.get(shard, "") for shard, text in found.items()}
        begun = {
            shard: (record.epoch, next_term(record.epoch, server))
            for shard, record in records.items()
            if server and held[shard] == record.epoch and shard not in found and not is_of(record.epoch, server)
        }
        moved = {shard: epoch for shard, epoch in ahead.items() if shard not in found}
        # Another process may have begun the term between the two looks at Redis. This looks again only once: a shard
        # with a key of a wrong type is found each time, and keeps its epoch.
        again = number == 0 and any(held[shard] == records[shard].epoch for shard in found)
        if not (begun or moved or again):
            return records, told
        moved |= {shard: begun[shard][1] for shard in await begin_terms(execute, begun)}
        changes = {shard: (records[shard], replace(records[shard], epoch=epoch)) for shard, epoch in moved.items()}
        await ledger.replace_shards(changes, seconds_max)
    raise InventoryUnavailable("other processes change the shards at the same time")


async def take_all_terms(streams: ChangeStreams, ledger: Ledger) -> dict[int, ShardRecord]:
    """Does `take_terms` at each known primary that answers, and returns all shards as SQL has them then.

    Raises LedgerUnavailable, and InventoryUnavailable if no primary answers.
    """
    topology = streams.topology

    async def take(address: str) -> None:
        execute = streams.executor(address)
        await take_terms(execute, ledger, topology.shards_at(address), await run_id(execute), {})

    failed = [
        error
        for error in await asyncio.gather(*map(take, topology.addresses()), return_exceptions=True)
        if error is not None
    ]
    for error in failed:
        if not isinstance(error, InventoryUnavailable) or len(failed) == len(topology.addresses()):
            raise error
    return await ledger.shards()
