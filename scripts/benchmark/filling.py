"""Fills events quickly and honestly: the service's own scripts in large batches, straight into the service's Redis."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from statistics import median

from redis import Redis

from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.records import read_epoch
from booking.inventory.scripts import load
from booking.settings import Settings
from scripts.benchmark.processes import PartError
from scripts.benchmark.service import DRAINED_S, Service
from scripts.benchmark.session import Say

CALL_ITEMS = 250
"""Bookings in one call: what one exchange of the service carries at most."""

EXCHANGE_CALLS = 8
"""Calls in one exchange, so that the file on disk is synced once for all of them."""

NEWS = 200_000
"""After so many bookings a line says how far it is."""

LOOK_GROUP = 20
"""Looks that are timed together: few enough that other programs leave most groups alone."""

UNLIMITED = 10**9
"""Entries that may wait for SQL: the persister follows, and is waited for at the end."""

SLOWEST_PER_S = 2_000
"""A persister that carries fewer rows a second than this is not waited for."""


class Filler:
    """A connection to a running service's Redis."""

    def __init__(self, redis: Redis, shards: int) -> None:
        self._redis = redis
        self._shards = shards

    def events(self, number: int) -> int:
        """Opens so many events of ten million tickets each, whose ids follow on one another; returns the first."""
        create = load("create")
        last = int(self._redis.incrby(keys.LAST_EVENT, number))
        first = last - number + 1
        rules = ("bench", 10_000_000, 1, 0, "", "", "")
        calls = [
            (keys.event_keys(event_id, self._shards)[: len(create.header.keys)], (event_id, *rules))
            for event_id in range(first, last + 1)
        ]
        for start in range(0, number, CALL_ITEMS):
            self._exchange("create", calls[start : start + CALL_ITEMS])
        return first

    def book(self, event_id: int, number: int, name: str, expected: Status, say: Say) -> None:
        """Books for `number` buyers, `name-0000000` and on. Raises PartError where one is answered differently."""
        event_keys = keys.event_keys(event_id, self._shards)
        started, news = time.monotonic(), NEWS
        for start in range(0, number, CALL_ITEMS * EXCHANGE_CALLS):
            end = min(number, start + CALL_ITEMS * EXCHANGE_CALLS)
            calls: list[tuple[Sequence[bytes], Sequence[object]]] = []
            for at in range(start, end, CALL_ITEMS):
                users = (buyer(name, n) for n in range(at, min(end, at + CALL_ITEMS)))
                items = [part for user in users for part in (user, 1, 0, "")]
                calls.append((event_keys, (event_id, 0, 0, UNLIMITED, *items)))
            for rows in self._exchange("book", calls):
                if {row[0] for row in rows} != {expected}:
                    raise PartError(f"filling an event: not every booking was answered {expected.name}: {rows[0]}")
            if end >= news:
                say(f"  {end:,} of {number:,} ({end / (time.monotonic() - started):,.0f}/s)")
                news += NEWS

    def bookings(self, first: int, number: int) -> int:
        """How many confirmed bookings so many events have together, whose ids follow on `first`."""
        pipeline = self._redis.pipeline(transaction=False)
        for event_id in range(first, first + number):
            pipeline.hget(keys.event_keys(event_id, self._shards)[0].decode(), "bookings")
        return sum(map(int, pipeline.execute()))

    def look_us(self, event_id: int, users: Sequence[str]) -> float:
        """Microseconds of the server's own time that `get_event` takes for one user: the median of small groups.

        Called as EVALSHA_RO, whose times the server keeps apart from those of the service's own calls.
        """
        script = load("get_event")
        self._redis.script_load(script.source.decode())
        event_keys = keys.event_keys(event_id, self._shards)[: len(script.header.keys)]
        epoch = read_epoch(self._redis.get(keys.epoch(keys.shard_of(event_id, self._shards))))  # type: ignore[arg-type]  # it is there
        times: list[float] = []
        for start in range(0, len(users), LOOK_GROUP):
            self._redis.config_resetstat()
            for user in users[start : start + LOOK_GROUP]:
                self._redis.evalsha_ro(script.sha.decode(), len(event_keys), *event_keys, epoch, event_id, user)  # type: ignore[arg-type]  # bytes and numbers are fine
            times.append(float(self._redis.info("commandstats")["cmdstat_evalsha_ro"]["usec_per_call"]))
        return median(times)

    def _exchange(self, verb: str, calls: Sequence[tuple[Sequence[bytes], Sequence[object]]]) -> list[list[list[int]]]:
        """One exchange of several calls; the shard's epoch goes in front of each call's arguments."""
        script = load(verb)
        self._redis.script_load(script.source.decode())
        pipeline = self._redis.pipeline(transaction=False)
        epochs = [read_epoch(each) for each in self._redis.mget([keys.epoch(shard) for shard in range(self._shards)])]
        for called, (event_id, *arguments) in calls:
            epoch = epochs[keys.shard_of(int(str(event_id)), self._shards)]
            pipeline.evalsha(script.sha.decode(), len(called), *called, epoch, event_id, *arguments)  # type: ignore[arg-type]  # bytes and numbers are fine
        return list(pipeline.execute())


def buyer(name: str, number: int) -> str:
    """The user id of one of those that `book` books for: as long as the ids of the buyers who come over HTTP."""
    return f"{name}-{number:09d}"


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
    if not service.wait_until_drained(DRAINED_S + lag / SLOWEST_PER_S):
        raise PartError(f"the persister did not get {lag:,} changes into SQL in time")
