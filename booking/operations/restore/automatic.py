"""Restores shards by itself if SQL has everything that was acknowledged, as after a failover to a replica behind it."""

import asyncio
from time import monotonic

import structlog

from booking.inventory.errors import InventoryUnavailable
from booking.inventory.streams import ChangeStreams
from booking.inventory.topology import Topology
from booking.ledger.errors import LedgerError
from booking.ledger.ledger import Ledger
from booking.metrics import Metrics
from booking.operations.restore.restoration import restore_shard
from booking.persister.bootstrap import positions_of
from booking.settings import Settings

PERIOD_SECONDS = 1.0
"""Between two looks at the shards."""

TOLD_SECONDS = 3.0
"""How long a shard has to be fenced first. Each worker asks every shard for expired holds once a second, and verifies a
new connection each `script_connection.FENCED_SECONDS` while it is refused. So by then it has told in Redis what it
acknowledged and Redis lacks, if SQL lacks it, too."""

log = structlog.get_logger()


async def restore_behind(settings: Settings, topology: Topology, metrics: Metrics) -> None:
    """Restores each shard whose stream ends before SQL's cursor, and of which no loss was told. Until cancelled."""
    ledger, streams = Ledger.open(settings.database_address, 1), ChangeStreams(topology)
    since = dict[int, float]()
    try:
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            try:
                behind = await streams.behind(positions_of(await ledger.shards()))
                since = {shard: since.get(shard, monotonic()) for shard in behind}
                for shard in [shard for shard in behind if monotonic() - since[shard] >= TOLD_SECONDS]:
                    log.warning("Redis is behind the database and lacks nothing else: it is restored", shard=shard)
                    restored = await restore_shard(settings, ledger, streams, shard, only_behind=True)
                    if restored is not None:
                        metrics.count("booking_restorations_total")
                        log.warning("a shard was restored", shard=shard, bookings=restored.bookings)
            except (LedgerError, InventoryUnavailable):
                since = {}  # the persister logs what is away
    finally:
        await streams.close()
        await ledger.close()
