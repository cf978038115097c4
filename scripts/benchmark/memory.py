"""What a booking costs in Redis's memory, measured on a running service once it has come to rest."""

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from booking.settings import Settings
from scripts.benchmark import wrk
from scripts.benchmark.processes import PartError
from scripts.benchmark.service import DRAINED_S, Service

REST_S = 1.0
"""Redis is at rest when the number of its keys has not changed for so long."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of Redis memory, everything counted: records, queues, hash tables' own room."""

    booking_bytes: float
    waiting_bytes: float
    bookings: int
    waiting: int


def memory(service: Service, data_dir: Path, tokens: Path, seconds: int) -> Memory:
    """Fills one event with bookings and another with a waiting list. Raises LoadError and PartError."""
    with closing(Redis.from_url(Settings.read({}, data_dir=data_dir).redis_address)) as redis:
        empty = _at_rest(service, redis)
        sale = service.open_sale()
        wrk.shoot(sale, tokens, seconds)
        booked = _at_rest(service, redis)
        bookings: int = service.event(sale.event_id)["bookings_count"]
        sale = service.open_sale(1)
        wrk.shoot(sale, tokens, seconds)
        queued = _at_rest(service, redis)
        waiting: int = service.event(sale.event_id)["waiting_list_count"]
    return Memory((booked - empty) / bookings, (queued - booked) / waiting, bookings, waiting)


def _at_rest(service: Service, redis: Redis) -> int:
    """Redis's memory for data, in bytes, once the stream has been trimmed and the rate limit's buckets have expired.

    `used_memory_dataset` leaves out what belongs to the server and not to the data: the append-only file's buffers
    and the clients'.
    """
    deadline = time.monotonic() + DRAINED_S
    keys = -1
    while service.lag_entries() or keys != (keys := redis.dbsize()):
        if time.monotonic() > deadline:
            raise PartError(f"Redis had not come to rest after {DRAINED_S:.0f} s: its memory cannot be told")
        time.sleep(REST_S)
    figures = redis.info("memory")
    return int(figures["used_memory_dataset"])
