"""Fills events quickly and honestly: the service's own scripts in large batches, straight into the service's Redis."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from redis import Redis

from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.records import read_epoch
from booking.inventory.scripts import load
from booking.settings import Settings
from scripts.benchmark.processes import PartError
from scripts.benchmark.service import DRAINED_S, Service

Say = Callable[[str], None]

CALL_ITEMS = 250
"""Bookings in one call: what one exchange of the service carries at most."""

EXCHANGE_CALLS = 8
"""Calls in one exchange, so that the file on disk is synced once for all of them."""

NEWS = 200_000
"""After so many bookings a line says how far it is."""

UNLIMITED = 10**9
"""Entries that may wait for SQL: the persister follows, and is waited for at the end."""

SLOWEST_PER_S = 2_000
"""A persister that writes fewer rows a second than this is not waited for."""


class Filler:
    """A connection to a running service's Redis."""

    def __init__(self, redis: Redis, shards: int) -> None:
        self._redis = redis
        self._shards = shards

    def book(self, event_id: int, number: int, name: str, expected: Status, say: Say) -> None:
        """Books for `number` buyers, `name-000000000` and on. Raises PartError if one is answered differently."""
        script = load("book")
        event_keys = keys.event_keys(event_id, self._shards)[: len(script.header.keys)]
        self._redis.script_load(script.source.decode())
        epoch = read_epoch(self._redis.get(keys.epoch(keys.shard_of(event_id, self._shards))))  # type: ignore[arg-type]  # it is there
        started, news = time.monotonic(), NEWS
        for start in range(0, number, CALL_ITEMS * EXCHANGE_CALLS):
            end = min(number, start + CALL_ITEMS * EXCHANGE_CALLS)
            pipeline = self._redis.pipeline(transaction=False)
            for at in range(start, end, CALL_ITEMS):
                users = (f"{name}-{n:09d}" for n in range(at, min(end, at + CALL_ITEMS)))
                items = [part for user in users for part in (user, 1, 0, "")]
                arguments = (epoch, event_id, 0, 0, UNLIMITED, "", *items)
                pipeline.evalsha(script.sha.decode(), len(event_keys), *event_keys, *arguments)  # type: ignore[arg-type]  # bytes and numbers are fine
            for answer in pipeline.execute():
                *rows, _newest_entry = answer
                wrong = [row for row in rows if row[0] != expected] if rows else answer
                if wrong:
                    raise PartError(f"filling an event: not every booking was answered {expected.name}: {wrong[0]}")
            if end >= news:
                say(f"  {end:,} of {number:,} ({end / (time.monotonic() - started):,.0f}/s)")
                news += NEWS


@contextmanager
def filler(service: Service) -> Iterator[Filler]:
    """The filler of a running service, for the length of the block."""
    settings = Settings.read({}, data_dir=service.data_dir)
    with closing(Redis.from_url(settings.redis_address)) as redis:
        yield Filler(redis, settings.shards)


def wait_until_saved(service: Service, say: Say) -> None:
    """Waits until SQL has all of it. Raises PartError when that takes too long."""
    lag = service.lag_entries()
    say(f"  {lag:,} changes are on their way into SQL")
    if service.settle(DRAINED_S + lag / SLOWEST_PER_S):
        raise PartError(f"the persister did not get {lag:,} changes into SQL in time")
