"""Writes a shard into Redis again from SQL. The epoch is written last, so that nothing is sold from it before."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.exceptions import WatchError

from booking.domain.model import Booking, BookingStatus, Payment, Rules
from booking.inventory import keys
from booking.inventory.records import detail_fields, read_lost, stored_epoch, write_payments, write_record
from booking.inventory.shard_clients import ShardClients
from booking.inventory.topology import Topology

LEASE_MS = 10_000
"""How long the lease of a killed process keeps others from restoring the shard."""

PAGE = 1_000
"""Keys or fields in one command, so that no command takes Redis more than a few milliseconds."""

REPLY_SECONDS_MAX = 10.0

RESTORED_CURSOR = "0-1"
"""The cursor of a restored shard. 0-0 would mean a shard that has never been in Redis."""

_KEPT = frozenset({BookingStatus.CONFIRMED, BookingStatus.HELD, BookingStatus.WAITING, BookingStatus.EXPIRED})
"""Statuses of the bookings that Redis has records of."""

_FINISH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3])
return redis.call('DEL', KEYS[1])
"""
_RAISE_LAST_EVENT = """
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
"""


class LeaseLost(Exception):
    """Another process restores the shard now, or Redis was emptied again. This restoration has to stop."""


class RestoreWriter:
    """Writes one shard under a lease, which is in the same Redis. Every method raises InventoryUnavailable."""

    def __init__(self, topology: Topology | str, shard: int, shards: int, me: str, *, fenced_as: str = "") -> None:
        """`fenced_as` replaces the epoch until the shard is cleared. It shows which restoration fenced the shard."""
        self._clients = ShardClients(topology, REPLY_SECONDS_MAX)
        self._shard = shard
        self._shards = shards
        self._me = me
        self._fenced_as = fenced_as
        self._largest_waiting: dict[int, int] = {}
        """By event: the largest number of tickets that one user on its waiting list waits for."""

    async def close(self) -> None:
        """Closes the connections."""
        await self._clients.close()

    async def is_empty(self) -> bool:
        """Whether Redis has nothing of the shard except what an interrupted restoration has left."""
        with self._clients.using(self._shard, "written") as redis:
            shard = self._shard
            found: int = await redis.exists(keys.changes(shard), keys.trimmed_to(shard), keys.epoch(shard))
        return found == 0

    async def has_fenced(self) -> bool:
        """Whether an interrupted restoration has fenced the shard with the same `fenced_as`."""
        with self._clients.using(self._shard, "written") as redis:
            found = await redis.get(keys.epoch(self._shard))
        return bool(found == self._fenced_as.encode())

    async def take_lease(self) -> bool:
        """Tries to take the lease. Returns whether this process may restore the shard now."""
        with self._clients.using(self._shard, "written") as redis:
            lease = keys.restoring(self._shard)
            taken = await redis.set(lease, self._me, nx=True, px=LEASE_MS)
            if not taken and await redis.pttl(lease) > LEASE_MS:  # taken while Redis's clock was ahead
                await redis.pexpire(lease, LEASE_MS)
        return bool(taken)

    async def keep_lease(self) -> None:
        """Extends the lease by LEASE_MS from now. Raises LeaseLost."""
        async with self._under_lease():
            pass

    async def give_lease_back(self) -> None:
        """Releases the lease, if it is still held, so that another process may try."""
        with suppress(LeaseLost):
            async with self._under_lease() as pipeline:
                pipeline.delete(keys.restoring(self._shard))

    async def lost(self) -> str:
        """Which acknowledged changes the shard has lost for good, as `Lag.lost`; kept until `finish`."""
        with self._clients.using(self._shard, "written") as redis:
            return read_lost(await redis.get(keys.epoch(self._shard)) or b"")

    async def fence(self) -> None:
        """Removes the shard's epoch, so that nothing is sold from it. Raises LeaseLost."""
        if await self.lost():
            return
        async with self._under_lease() as pipeline:
            if self._fenced_as:
                pipeline.set(keys.epoch(self._shard), self._fenced_as)
            else:
                pipeline.delete(keys.epoch(self._shard))

    async def clear(self) -> None:
        """Deletes every key of the shard except the lease. The shard is fenced first. Raises LeaseLost."""
        await self.fence()
        kept = {keys.restoring(self._shard), keys.epoch(self._shard)}
        cursor = None
        while cursor != 0:
            with self._clients.using(self._shard, "written") as redis:
                cursor, found = await redis.scan(cursor or 0, match=keys.all_of_shard(self._shard), count=PAGE)
            obsolete = [key for key in found if key not in kept]
            async with self._under_lease() as pipeline:
                if obsolete:
                    pipeline.unlink(*obsolete)
        if not await self.lost():
            async with self._under_lease() as pipeline:
                pipeline.delete(keys.epoch(self._shard))

    async def write_bookings(self, event_id: int, bookings: Iterable[Booking]) -> None:
        """Writes the last booking of each user; `bookings` are in the order of their numbers. Raises LeaseLost."""
        _, records, waiting, holds, *_ = self._keys(event_id)
        latest = {booking.user_id: booking for booking in bookings}
        gone = [user for user, booking in latest.items() if booking.status is BookingStatus.CANCELLED]
        kept = {user: write_record(booking) for user, booking in latest.items() if booking.status in _KEPT}
        places = {user: one.number for user, one in latest.items() if one.status is BookingStatus.WAITING}
        ends = {user: one.expires_at_ms for user, one in latest.items() if one.status is BookingStatus.HELD}
        groups = [one.quantity for one in latest.values() if one.status is BookingStatus.WAITING]
        self._largest_waiting[event_id] = max(self._largest_waiting.get(event_id, 0), *groups, 0)
        async with self._under_lease() as pipeline:
            if gone:  # an earlier page may have written an expired hold of these users
                pipeline.hdel(records, *gone)
            if kept:
                pipeline.hset(records, mapping=kept)
            if places:
                pipeline.zadd(waiting, places)
            if ends:
                pipeline.zadd(holds, ends)

    async def write_payments(self, event_id: int, payments: Mapping[str, Sequence[Payment]]) -> None:
        """Writes what is remembered of users' payments. Raises LeaseLost."""
        *_, key = self._keys(event_id)
        async with self._under_lease() as pipeline:
            pipeline.hset(key, mapping={user: write_payments(mine) for user, mine in payments.items()})

    async def write_event(
        self,
        event_id: int,
        rules: Rules,
        organizer_id: str | None,
        created_at_ms: int,
        seq: int,
        counters: Mapping[str, int],
    ) -> None:
        """Writes an event's rules and counters, and when its first hold ends. Raises LeaseLost."""
        event, _, _, holds, due, *_ = self._keys(event_id)
        fields = {
            "name": rules.name,
            "capacity": rules.capacity,
            "max_per_user": rules.max_per_user,
            "hold_ms": rules.hold_seconds * 1000,
            "waitlist_limit": _or_empty(rules.waitlist_limit),
            "opens_at": _or_empty(rules.opens_at_ms),
            "closes_at": _or_empty(rules.closes_at_ms),
            "paused": int(rules.paused),
            "organizer_id": organizer_id or "",
            "created_at": created_at_ms,
            "seq": seq,
            **counters,
        }
        fields |= detail_fields(rules.details)
        if self._largest_waiting.pop(event_id, 0) > rules.capacity:  # a smaller capacity was being applied
            fields["prune_from"] = 0
        with self._clients.using(self._shard, "written") as redis:
            first = await redis.zrange(holds, 0, 0, withscores=True)
        async with self._under_lease() as pipeline:
            pipeline.hset(event, mapping=fields)
            if first:
                pipeline.zadd(due, {str(event_id): first[0][1]})

    async def finish(self, epoch: str, last_event_id: int) -> None:
        """Writes the new epoch, so that the shard sells again, and ends the lease. Raises LeaseLost."""
        shard = self._shard
        with self._clients.using(self._shard, "written") as redis:
            is_cluster = self._clients.topology.form == "cluster"
            last_event = keys.last_event(shard) if is_cluster else keys.LAST_EVENT
            await redis.eval(_RAISE_LAST_EVENT, 1, last_event, last_event_id)
            script_keys = (keys.restoring(shard), keys.trimmed_to(shard), keys.epoch(shard))
            done = await redis.eval(_FINISH, 3, *script_keys, self._me, RESTORED_CURSOR, stored_epoch(epoch))
        if not done:
            raise LeaseLost

    @asynccontextmanager
    async def _under_lease(self) -> AsyncIterator[Any]:
        """A transaction that runs only while the lease is held, and extends it.

        Raises LeaseLost; then nothing was written. A process that stalled until its lease ended may find a shard that
        another process has restored and that sells again.
        """
        lease = keys.restoring(self._shard)
        with self._clients.using(self._shard, "written") as redis:
            async with redis.pipeline() as pipeline:
                await pipeline.watch(lease)
                if await pipeline.get(lease) != self._me.encode():
                    raise LeaseLost
                pipeline.multi()
                pipeline.pexpire(lease, LEASE_MS)
                yield pipeline
                try:
                    await pipeline.execute()
                except WatchError:
                    raise LeaseLost from None

    def _keys(self, event_id: int) -> tuple[bytes, ...]:
        return keys.event_keys(event_id, self._shards)


def _or_empty(value: int | None) -> int | str:
    return "" if value is None else value
