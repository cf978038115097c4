"""Writes a shard into Redis anew, out of what the database has. Its epoch comes last: nothing sells until then."""

from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from booking.domain.model import Booking, BookingStatus, Rules, Source
from booking.inventory import keys
from booking.inventory.errors import InventoryUnavailable

LEASE_MS = 10_000
"""How long a restorer that was killed keeps others from restoring the shard."""

PAGE = 1_000
"""Keys or fields in one command; no command then takes Redis more than a few milliseconds."""

REPLY_SECONDS_MAX = 10.0

RESTORED_CURSOR = "0-1"
"""Where a restored shard's stream begins. Not 0-0, which is a shard that never had anything in Redis."""

_STATUS_LETTERS = {
    BookingStatus.CONFIRMED: "c",
    BookingStatus.HELD: "h",
    BookingStatus.WAITING: "w",
    BookingStatus.EXPIRED: "x",
}
_SOURCE_LETTERS = {Source.SALE: "s", Source.WAITLIST: "w"}

_RENEW = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('PEXPIRE', KEYS[1], ARGV[2])"
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
    """Somebody else restores the shard now, or Redis was emptied again: this restoration is void."""


class Rebuild:
    """One shard's restoration, under a lease in the very Redis that is written to. Raises InventoryUnavailable."""

    def __init__(self, address: str, shard: int, shards: int, me: str) -> None:
        self._redis: Any = Redis.from_url(
            address,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=REPLY_SECONDS_MAX,
            socket_connect_timeout=REPLY_SECONDS_MAX,
            protocol=2,
        )
        self._shard = shard
        self._shards = shards
        self._me = me

    async def close(self) -> None:
        """Closes the connection."""
        await self._redis.aclose()

    async def is_empty(self) -> bool:
        """Whether nothing of the shard is there, or only what a restoration that was broken off has left."""
        with _told_plainly():
            shard = self._shard
            found: int = await self._redis.exists(keys.changes(shard), keys.mark(shard), keys.epoch(shard))
        return found == 0

    async def take_lease(self) -> bool:
        """Whether this is the one that restores the shard now."""
        with _told_plainly():
            taken = await self._redis.set(keys.restoring(self._shard), self._me, nx=True, px=LEASE_MS)
        return bool(taken)

    async def keep_lease(self) -> None:
        """Makes the lease last from now on. Raises LeaseLost."""
        with _told_plainly():
            kept = await self._redis.eval(_RENEW, 1, keys.restoring(self._shard), self._me, LEASE_MS)
        if not kept:
            raise LeaseLost

    async def give_lease_back(self) -> None:
        """Lets somebody else try."""
        with _told_plainly():
            if await self._redis.get(keys.restoring(self._shard)) == self._me.encode():
                await self._redis.delete(keys.restoring(self._shard))

    async def clear(self) -> None:
        """Takes away every key of the shard, the epoch first, and this lease not. Raises LeaseLost."""
        lease = keys.restoring(self._shard)
        with _told_plainly():
            await self._redis.delete(keys.epoch(self._shard))
            cursor = None
            while cursor != 0:
                cursor, found = await self._redis.scan(cursor or 0, match=keys.all_of_shard(self._shard), count=PAGE)
                doomed = [key for key in found if key != lease]
                if doomed:
                    await self._redis.unlink(*doomed)
                await self.keep_lease()

    async def write_bookings(self, event_id: int, bookings: Iterable[Booking]) -> None:
        """Writes what these bookings, given in the order of their numbers, come to. Raises LeaseLost."""
        _, records, waiting, holds, *_ = self._keys(event_id)
        latest = {booking.user_id: booking for booking in bookings}
        gone = [user for user, booking in latest.items() if booking.status is BookingStatus.CANCELLED]
        kept = {user: _text(booking) for user, booking in latest.items() if booking.status in _STATUS_LETTERS}
        places = {user: one.number for user, one in latest.items() if one.status is BookingStatus.WAITING}
        ends = {user: one.expires_at_ms for user, one in latest.items() if one.status is BookingStatus.HELD}
        pipeline = self._redis.pipeline(transaction=False)
        if gone:  # an earlier hold of theirs had expired
            pipeline.hdel(records, *gone)
        if kept:
            pipeline.hset(records, mapping=kept)
        if places:
            pipeline.zadd(waiting, places)
        if ends:
            pipeline.zadd(holds, ends)
        with _told_plainly():
            await pipeline.execute()
        await self.keep_lease()

    async def write_event(
        self, event_id: int, rules: Rules, created_at_ms: int, seq: int, counters: Mapping[str, int]
    ) -> None:
        """Writes an event's rules and counters, and when the first of its holds ends. Raises LeaseLost."""
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
            "created_at": created_at_ms,
            "seq": seq,
            **counters,
        }
        with _told_plainly():
            await self._redis.hset(event, mapping=fields)
            first = await self._redis.zrange(holds, 0, 0, withscores=True)
            if first:
                await self._redis.zadd(due, {str(event_id): first[0][1]})
        await self.keep_lease()

    async def finish(self, epoch: str, last_event_id: int) -> None:
        """Opens the shard for sale, under its new epoch. Raises LeaseLost."""
        shard = self._shard
        with _told_plainly():
            await self._redis.eval(_RAISE_LAST_EVENT, 1, keys.LAST_EVENT, last_event_id)
            script_keys = (keys.restoring(shard), keys.mark(shard), keys.epoch(shard))
            done = await self._redis.eval(_FINISH, 3, *script_keys, self._me, RESTORED_CURSOR, epoch)
        if not done:
            raise LeaseLost

    def _keys(self, event_id: int) -> tuple[bytes, ...]:
        return keys.event_keys(event_id, self._shards)


@contextmanager
def _told_plainly() -> Any:
    try:
        yield
    except (RedisError, OSError) as error:
        raise InventoryUnavailable(f"Redis cannot be written ({type(error).__name__}: {error})") from None


def _text(booking: Booking) -> str:
    """A record as `lua/shared/sale.lua` writes it."""
    status, source = _STATUS_LETTERS[booking.status], _SOURCE_LETTERS[booking.source]
    expires = booking.expires_at_ms if booking.status is BookingStatus.HELD else 0
    return f"{status} {booking.quantity} {booking.number} {booking.created_at_ms} {source} {expires or 0}"


def _or_empty(value: int | None) -> int | str:
    return "" if value is None else value
