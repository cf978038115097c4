"""Makes holds whose time has ended but which no call has expired yet."""

from booking.inventory import keys
from tests.fixtures.stock import SHARDS, Stock


def event_key(event_id: int, name: str) -> bytes:
    """One of an event's keys, by the name that the scripts' headers give it."""
    return dict(zip(keys.EVENT_KEY_NAMES, keys.event_keys(event_id, SHARDS), strict=True))[name]


async def end_hold(stock: Stock, event_id: int, user: str) -> None:
    """Moves the end of the user's hold to the year 1970."""
    bookings = event_key(event_id, "bookings")
    fields = (await stock.redis.hget(bookings, user)).split(b" ")
    fields[6 if fields[0].isdigit() else 5] = b"1"  # a payment may follow
    await stock.redis.hset(bookings, user, b" ".join(fields))
    await stock.redis.zadd(event_key(event_id, "holds"), {user: 1})
    await stock.redis.zadd(event_key(event_id, "due"), {event_id: 1})
