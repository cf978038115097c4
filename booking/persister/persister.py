"""Consumes the change streams and writes them into the ledger, exactly once.

Each shard's cursor moves in the transaction that applies its changes.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import structlog

from booking import logs
from booking.domain.changes import ShardBatch
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.shard_clients import placement
from booking.inventory.streams import ChangeStreams, StreamRead, trimmed_past
from booking.inventory.topology import Topology, open_topology
from booking.ledger.errors import CursorMoved, DatabaseUnfit, LedgerConflict, LedgerError, LedgerUnavailable
from booking.ledger.ledger import Ledger
from booking.ledger.migrate import check_schema
from booking.ledger.records import ShardRecord
from booking.metrics import FOLDER, Metrics, MetricsFile
from booking.persister.bootstrap import initialize_shards, positions_of
from booking.persister.terms import take_all_terms
from booking.settings import Settings, SettingsError

BATCH_ENTRIES = 4_000
"""Entries of a shard in one transaction, at most."""

PERIOD_SECONDS = 0.2
"""Between two reads of streams that do not fill a batch. Entries that arrive in between share one transaction, which
costs as much as some fifty of them. This adds to SQL's lag, and delays no request."""

SYNCHRONOUS_PERIOD_SECONDS = 0.01
"""The same if every answer waits for SQL."""

RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0)
"""Waits after consecutive failures; the last one repeats. The fault suite requires that it resumes within 2 s."""

DRAIN_SECONDS_MAX = 4.0
"""How long a stop goes on consuming while others still sell. The next persister consumes what is left."""

IDLE_CHECK_SECONDS = 1.0
"""Between two checks, while nothing is sold, that SQL still has the changes that it had."""

METRICS_SECONDS = 1.0
"""Between two writes of the metrics file."""

BEHIND_SECONDS_MAX = 2.0
"""How old an entry may become before a persister of low priority has fallen behind. It is also the bound within which
SQL has to be equal to Redis after a sale."""

SHARE_SECONDS = 0.5
"""Between two renewals of this persister's leases."""

LEASE_MS = 1_500
"""How long other persisters leave a killed one's shards alone; the next one has to resume within 2 s."""

CONNECTIONS = 1
"""Its connections to the database. It makes one transaction at a time."""

log = structlog.get_logger()


class FallenBehind(Exception):
    """With low priority the persister gets too little processor time for the current sales."""


@dataclass(slots=True)
class Health:
    """What a persister tells about itself; another thread may read it."""

    metrics: Metrics = field(default_factory=Metrics)
    turned_at: float = field(default_factory=time.monotonic)
    """When it last ended a turn, whether or not that succeeded, by the monotonic clock."""
    is_failing: bool = True
    """Whether its last turn failed, because a Redis server or SQL is away; True before the first one."""


async def run(
    settings: Settings,
    stop: asyncio.Event,
    lower_priority: Callable[[], None] | None = None,
    health: Health | None = None,
    restore: Callable[[Settings, Topology, Metrics], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Consumes until `stop` is set, and then until the streams are empty or Redis or SQL fails.

    `restore` runs beside it, if given, and is cancelled at the end.

    When it has caught up for the first time, it calls `lower_priority`, if given. From then on it raises FallenBehind
    if an entry may be older than BEHIND_SECONDS_MAX when it is read.
    """
    ledger = Ledger.open(settings.database_address, CONNECTIONS)
    topology = open_topology(settings.redis_address, settings.shards)
    streams = ChangeStreams(topology, settings.ack_replicas if settings.ack == "replica" else 0)
    persister = Persister(settings, ledger, streams, lower_priority, health)
    restoring = None if restore is None else asyncio.create_task(restore(settings, topology, persister.metrics))
    try:
        with contextlib.suppress(InventoryUnavailable):  # the first turn tells it
            await topology.refresh()
        if topology.form != "server":
            log.info("where the shards are in Redis", form=topology.form, primaries=placement(topology))
        await persister.run(stop)
    finally:
        if restoring is not None:
            restoring.cancel()
            await asyncio.gather(restoring, return_exceptions=True)
        await streams.close()
        await topology.close()
        await ledger.close()


async def run_when_migrated(
    settings: Settings,
    stop: asyncio.Event,
    health: Health | None = None,
    restore: Callable[[Settings, Topology, Metrics], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Waits until the database's tables are those of this version, then runs; `booking migrate` may come later.

    Raises SettingsError if a newer version has migrated the database, or if it is not fit for the service.
    """
    failures = 0
    while not stop.is_set():
        try:
            await check_schema(settings.database_address)
        except DatabaseUnfit as error:
            raise SettingsError(f"BOOKING_DATABASE_URL: {error}") from None
        except LedgerError as error:
            if failures in (0, 10, 100):
                log.warning("the persister waits", reason=str(error))
            await _wait(stop, RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1
        else:
            await run(settings, stop, health=health, restore=restore)
            return


class Persister:
    """One persister. Several share the shards while they run. If two apply the same entries, one gets CursorMoved."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        streams: ChangeStreams,
        lower_priority: Callable[[], None] | None = None,
        health: Health | None = None,
    ) -> None:
        self.health = Health() if health is None else health
        self._set_low_priority, self._has_low_priority = lower_priority, False
        self._settings = settings
        self._ledger = ledger
        self._streams = streams
        self._positions: dict[int, tuple[str, str]] | None = None
        self._me = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex}"  # an operator sees which process it is
        # The embedded server is one machine's, and has one persister.
        self._shares = not settings.embedded_redis
        self._mine: set[int] | None = None
        """The shards that this persister reads; None: all."""
        self._shared_at = -SHARE_SECONDS
        self._untrimmed, self._lost, self._away = set[int](), set[int](), set[int]()
        self._fenced: set[int] = set()  # shards that this persister fenced, and whose reason it has logged
        self._checked_at = 0.0
        self._drained_at = time.monotonic()
        """When a read last got all there was. What a later read gets is not older; no clock of the day is believed."""
        self._unreadable: set[int] = set()
        self._refused: set[int] = set()
        self.metrics = self.health.metrics
        self._metrics_file = MetricsFile(settings.data_dir / FOLDER)
        self._saving: asyncio.Task[None] | None = None
        self._metrics_saved_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Consumes until `stop` is set, and then until the streams are empty or Redis or SQL fails.

        Raises FallenBehind.
        """
        try:
            await self._run(stop)
        finally:
            if self._mine is not None:
                with contextlib.suppress(InventoryUnavailable):
                    await self._streams.leave(self._me, range(self._settings.shards))

    async def _run(self, stop: asyncio.Event) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        end: float | None = None
        while end is None or loop.time() < end:
            if end is None and stop.is_set():
                end = loop.time() + DRAIN_SECONDS_MAX
            try:
                await self._share()
                consumed = await self.consume()
                if failures:
                    log.info("the persister resumes", after_failures=failures)
                failures = 0
                self.health.turned_at, self.health.is_failing = time.monotonic(), bool(self._away)
            except (LedgerError, InventoryUnavailable) as error:
                self.health.turned_at = time.monotonic()
                self.health.is_failing = not isinstance(error, CursorMoved)
                self._positions = None  # read them again: the commit may have succeeded
                self._drained_at = time.monotonic()  # what waits behind a failure is no sign of too low a priority
                if stop.is_set() and not isinstance(error, CursorMoved):
                    log.warning("the persister stops with entries left; the next one consumes them", reason=str(error))
                    return
                if not isinstance(error, CursorMoved) and failures in (0, 10, 100):
                    log.warning("the persister waits", reason=str(error))
                await _wait(stop, RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1
                continue
            self._save_metrics(loop.time())
            if consumed == 0 and stop.is_set():
                return
            if consumed < BATCH_ENTRIES:
                self._lower_priority()
                await _wait(stop, SYNCHRONOUS_PERIOD_SECONDS if self._settings.ack == "database" else PERIOD_SECONDS)

    async def _share(self) -> None:
        """Renews the leases, and finds the shards to read. Raises InventoryUnavailable."""
        if self._shares and time.monotonic() - self._shared_at >= SHARE_SECONDS:
            before = self._mine
            self._mine = await self._streams.share(self._me, range(self._settings.shards), LEASE_MS)
            self._shared_at = time.monotonic()
            if before is not None and self._mine - before:
                self._positions = None  # another persister has moved these shards' cursors

    def _lower_priority(self) -> None:
        """Lowers the priority when it has caught up for the first time; until then it needs the processor."""
        if self._set_low_priority is not None and not self._has_low_priority:
            self._has_low_priority = True
            self._set_low_priority()

    def _save_metrics(self, now: float) -> None:
        """Writes the metrics file that the web workers read. A persister on another machine has no such folder."""
        if now - self._metrics_saved_at < METRICS_SECONDS:
            return
        self._metrics_saved_at = now
        self.metrics.count("booking_log_lines_dropped_total", by=logs.take_dropped())
        if self._saving is None or self._saving.done():  # not awaited: a disk that hangs stops no persister
            self._saving = asyncio.create_task(self._metrics_file.save(self.metrics))

    async def consume(self) -> int:
        """Reads, applies and trims the entries of one transaction. Returns the number of entries applied.

        Raises LedgerUnavailable, CursorMoved, InventoryUnavailable and FallenBehind.
        """
        if self._positions is None:
            self._positions = positions_of(await initialize_shards(self._settings, self._ledger, self._streams))
            self._untrimmed = set(self._positions)  # a persister may have ended between its commit and its trim
        mine = self._positions.keys() & (self._positions if self._mine is None else self._mine)
        asked_at, drained_at = time.monotonic(), self._drained_at
        read = await self._streams.read({shard: self._positions[shard] for shard in sorted(mine)}, BATCH_ENTRIES)
        batches = read.batches
        if all(len(batch.changes) < BATCH_ENTRIES for batch in batches):
            self._drained_at = asked_at
        if await self._check(read):
            return await self.consume()  # also at a stop, when a read without entries would be the last one
        if not (batches or read.trimmed_to):
            await self._check_when_idle(mine)
        if batches:
            if self._has_low_priority and time.monotonic() - drained_at > BEHIND_SECONDS_MAX:
                raise FallenBehind
            batches = await self._apply(batches)
        for batch in batches:
            self._positions[batch.shard] = (batch.epoch, batch.upto)
            self._untrimmed.add(batch.shard)
        behind = {shard: self._positions[shard] for shard in (self._untrimmed - self._lost) & mine}
        if behind:
            self._untrimmed -= await self._streams.trim(behind)
        self._check_away()
        rows = sum(len(batch.changes) for batch in batches)
        if rows:
            self.metrics.count("booking_persisted_rows_total", by=rows)
            self.metrics.count("booking_persister_transactions_total")
        return rows

    async def _apply(self, batches: list[ShardBatch]) -> list[ShardBatch]:
        """Applies all batches in one transaction. If the database refuses it, applies each batch in its own.

        Returns the batches that were applied. Raises LedgerUnavailable and CursorMoved.
        """
        try:
            await self._ledger.apply(batches)
        except (LedgerUnavailable, CursorMoved):
            raise
        except LedgerError as error:
            if len(batches) > 1:
                return [batch for one in batches for batch in await self._apply([one])]
            if isinstance(error, LedgerConflict):
                await self._fence_diverged(batches[0])
            else:
                self._refuse(batches[0], error)
            return []
        self._refused -= {batch.shard for batch in batches}
        return batches

    def _refuse(self, batch: ShardBatch, error: LedgerError) -> None:
        """Logs once that the database refuses a shard's changes. The other shards go on; this one's lag grows."""
        if batch.shard not in self._refused:
            log.error("the database refuses a shard's changes", shard=batch.shard, reason=str(error))
            self._refused.add(batch.shard)

    async def _fence_diverged(self, batch: ShardBatch) -> None:
        """Fences a shard whose changes do not follow SQL's: tickets were sold from an old copy of Redis."""
        await self._fence([batch.shard])
        log.error(
            "a shard's changes do not follow those in the database; nothing is sold from it until `booking restore`",
            shard=batch.shard,
            after=batch.after,
        )

    async def _check(self, read: StreamRead) -> bool:
        """Logs each problem once, fences damaged shards, and reads the epochs again if a shard is lost.

        Returns whether a shard that seemed lost has another epoch.
        """
        lost, unreadable = set(read.lost), set(read.unreadable)
        # Or another server is the primary by now, or a restored shard has another epoch.
        if lost and self._follow(await take_all_terms(self._streams, self._ledger)) & lost:
            return True
        if unreadable - self._unreadable:
            await self._fence(unreadable)
        if found := lost - self._lost - self._fenced:
            log.error(
                "Redis has lost the data of these shards; nothing is sold from them until `booking restore`",
                shards=sorted(found),
            )
        if unreadable - self._unreadable:
            log.error("these shards' streams cannot be read; nothing is sold from them", reasons=read.unreadable)
        if read.trimmed_to:
            await self._check_for_lost_commits(read.trimmed_to)
        self._fenced -= self._lost - lost
        self._lost, self._unreadable = lost, unreadable
        return False

    def _follow(self, records: Mapping[int, ShardRecord]) -> set[int]:
        """Continues from where SQL is. Returns the shards that have another epoch than before.

        They are trimmed again: if the epoch changed between the commit and the trim, the trim did nothing.
        """
        before, self._positions = self._positions or {}, positions_of(records)
        renamed = {shard for shard, (epoch, _) in self._positions.items() if epoch != before[shard][0]}
        self._untrimmed |= renamed
        return renamed

    def _check_away(self) -> None:
        """Logs once which shards cannot be read. Those that are back are initialized or verified in the next turn."""
        away = set(self._streams.away)
        if gone := away - self._away:
            reasons = sorted({str(self._streams.away[shard]) for shard in gone})
            log.warning("these shards cannot be read; the others are", shards=sorted(gone), reasons=reasons)
        if back := self._away - away:
            log.info("these shards can be read again", shards=sorted(back))
            self._positions = None
        self._away = away

    async def _fence(self, shards: Iterable[int]) -> None:
        await self._streams.fence(shards)
        self._fenced.update(shards)

    async def _check_when_idle(self, mine: Set[int]) -> None:  # so that lost commits are found before the next booking
        if self._positions and time.monotonic() - self._checked_at >= IDLE_CHECK_SECONDS:
            self._checked_at = time.monotonic()
            await self._check_for_lost_commits(await self._streams.trimmed_to(mine - self._fenced - self._lost))

    async def _check_for_lost_commits(self, trimmed_to: Mapping[int, str]) -> None:
        """Fences the shards whose stream was trimmed beyond SQL's cursor, unless another persister moved the cursor.

        Streams are trimmed only up to what SQL has. So SQL is an old copy, or has failed over to one. If more changes
        were applied to it, they would hide the missing ones for ever.
        """
        renamed = self._follow(await self._ledger.shards())  # a restored shard has another epoch
        if old := [shard for shard in trimmed_past(trimmed_to, self._positions or {}) if shard not in renamed]:
            await self._fence(old)
            log.error(
                "the database lacks changes that it had; nothing is sold from these shards until it has them again, "
                "or `booking restore --force` drops them",
                shards=old,
            )


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
