"""The rows about what is kept: Redis memory a booking, the persister's speed, a restore, and a very large event."""

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from redis import Redis

from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.settings import Settings
from scripts.benchmark import processes
from scripts.benchmark.contenders import embedded_redis
from scripts.benchmark.filling import filler, wait_until_saved
from scripts.benchmark.load import Plan, Target, new_buyers, offer
from scripts.benchmark.postgres import postgres
from scripts.benchmark.processes import PartError, last_lines
from scripts.benchmark.report import Mark, ratio_mark
from scripts.benchmark.rounds import Contender
from scripts.benchmark.service import CAPACITY, DRAINED_S, Service, booking, environment, serve
from scripts.benchmark.session import Session

REST_S = 1.0
"""Redis is at rest when the number of its keys has not changed for so long."""

FILL_ROUNDS = 2
"""The stream is filled for as long as so many rounds last, to give the persister a second's work and more."""

POLL_S = 0.02
PERSIST_S_MAX = 120.0
RESTORE_S_MAX = 1_800.0

RESTORED = LIVE = 1_000_000
WAITING = 100_000
"""Bookings that are restored; bookings of the large event, and how many wait there when its list is joined."""


def memory(session: Session) -> None:
    """Fills one event with bookings and another with a waiting list, and asks Redis for its memory at rest."""
    data_dir = session.folder / "service-memory"
    with (
        serve(data_dir, session.secret) as service,
        closing(Redis.from_url(Settings.read({}, data_dir=data_dir).redis_address)) as redis,
    ):
        for what, tickets, count, most in (
            ("a live booking", CAPACITY, "bookings_count", 200),
            ("a waiting entry", 1, "waiting_list_count", 250),
        ):
            session.say(f"filling Redis, for the memory of {what}")
            before = _bytes_at_rest(service, redis)
            sale = service.sale(tickets)
            offer([Plan(sale, session.seconds, first_buyer=new_buyers())])
            added, number = _bytes_at_rest(service, redis) - before, service.event(sale.event_id)[count]
            session.mark(Mark(f"Redis memory {what} ({number:,})", added / number, "B", most=most))


def _bytes_at_rest(service: Service, redis: Redis) -> int:
    """Redis's memory for data once the stream has been trimmed and the rate limit's buckets have expired.

    `used_memory_dataset` leaves out the append-only file's buffers and the clients'.
    """
    deadline, there = time.monotonic() + DRAINED_S, -1
    while service.lag_entries() or there != (there := redis.dbsize()):
        if time.monotonic() > deadline:
            raise PartError(f"Redis had not come to rest after {DRAINED_S:.0f} s: its memory cannot be told")
        time.sleep(REST_S)
    return int(redis.info("memory")["used_memory_dataset"])


def persister(session: Session) -> None:
    """Sells without a persister, then starts one and watches the lag shrink."""
    with postgres(session.folder) as url:
        for database, settings in (("SQLite", {}), ("PostgreSQL", {"BOOKING_DATABASE_URL": url})):
            session.say(f"filling the stream, then draining it into {database}")
            booked, rows, seconds, cores = _drain(session, session.folder / database.lower(), settings)
            session.mark(
                Mark(f"persister into {database}, {rows:,} rows, {cores:.2f} cores", rows / seconds, "/s", least=2,
                     against="bookings meanwhile, 1 worker", theirs=booked, ratio=rows / seconds / booked)
            )  # fmt: skip


def _drain(session: Session, data_dir: Path, settings: Mapping[str, str]) -> tuple[float, int, float, float]:
    """Bookings a second, rows written, seconds, cores. The clock starts at the first change that reaches SQL."""
    log = data_dir.with_suffix(".persister.log")
    with serve(data_dir, session.secret, 1, settings, persister=False) as service:
        [load] = offer([Plan(service.sale(), FILL_ROUNDS * session.seconds, first_buyer=new_buyers())])
        filled = service.lag_entries()
        with processes.running(booking("persist"), log, environment(data_dir, session.secret, settings)) as process:
            processes.wait_until(lambda: service.lag_entries() < filled, process, log, PERSIST_S_MAX)
            rows = lag = service.lag_entries()
            started, cpu_s = time.monotonic(), processes.used_cpu_s([process.pid])
            while lag:
                if time.monotonic() - started > PERSIST_S_MAX or process.poll() is not None:
                    raise PartError(f"the persister did not finish, {lag} rows were left:\n{last_lines(log)}")
                time.sleep(POLL_S)
                lag = service.lag_entries()
            elapsed_s = time.monotonic() - started
            cores = (processes.used_cpu_s([process.pid]) - cpu_s) / elapsed_s
    if not rows:
        raise PartError(f"{filled} rows were written before the clock had started: take longer rounds (--seconds)")
    return load.per_second, rows, elapsed_s, cores


def restore(session: Session) -> None:
    """`booking restore` on an emptied Redis, from SQLite and from PostgreSQL."""
    number = session.sized(RESTORED)
    with postgres(session.folder) as url:
        for database, settings in (("SQLite", {}), ("PostgreSQL", {"BOOKING_DATABASE_URL": url})):
            seconds, usage = _restored(session, session.folder / f"restored-{database.lower()}", settings, number)
            cpu_s = usage.ru_utime + usage.ru_stime
            session.mark(
                Mark(f"restore of {number:,} bookings from {database}, with its audit", seconds, "s", most=60),
                Mark(f"  its peak memory ({cpu_s:.1f} s of processor)", usage.ru_maxrss / 1024, "MiB"),
            )


def _restored(
    session: Session, data_dir: Path, settings: Mapping[str, str], number: int
) -> "tuple[float, resource.struct_rusage]":
    """Fills an event, empties Redis, restores. Raises PartError if not all of it is back afterwards."""
    with serve(data_dir, session.secret, 1, settings) as service, filler(service) as fill:
        session.say(f"filling an event with {number:,} bookings, to be restored")
        event_id = service.sale().event_id
        fill.book(event_id, number, "live", Status.BOOKED, session.say)
        wait_until_saved(service, session.say)
    shutil.rmtree(data_dir / "redis")
    with embedded_redis(data_dir) as (found, _), closing(Redis.from_url(found.redis_address)) as redis:
        session.say("Redis is empty; restoring")
        started, log = time.monotonic(), data_dir.with_suffix(".log")
        variables = environment(data_dir, session.secret, settings)
        with processes.running(booking("restore", "--yes"), log, variables) as process:
            usage = _usage_at_end(process, started + RESTORE_S_MAX)
        seconds = time.monotonic() - started
        if process.returncode:
            raise PartError(f"booking restore ended with exit code {process.returncode}:\n{last_lines(log)}")
        there = int(redis.hlen(keys.event_keys(event_id, found.shards)[1].decode()))
    if there != number:
        raise PartError(f"{number:,} bookings were to be restored, and {there:,} are there")
    return seconds, usage


def _usage_at_end(process: "subprocess.Popen[bytes]", deadline: float) -> "resource.struct_rusage":
    """What the process used, once it has ended by itself: `wait4` alone tells of one process and not of all."""
    while time.monotonic() < deadline:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage
        time.sleep(POLL_S)
    raise PartError(f"booking restore had not ended after {RESTORE_S_MAX:.0f} s")


def large(session: Session) -> None:
    """Bookings at an event of a million live bookings, and joining its long waiting list, against fresh ones."""
    live, waiting = session.sized(LIVE), session.sized(WAITING)
    with serve(session.folder / "service-large", session.secret) as service, filler(service) as fill:
        session.say(f"filling an event with {live:,} bookings")
        event_id = service.sale().event_id
        fill.book(event_id, live, "live", Status.BOOKED, session.say)
        wait_until_saved(service, session.say)
        _against_fresh(session, service, service.bookings_of(event_id), f"an event with {live:,} bookings", CAPACITY)
        session.say(f"the event is sold out, and {waiting:,} wait")
        service.resize(event_id, service.event(event_id)["tickets_sold"])
        fill.book(event_id, waiting, "wait", Status.JOINED, session.say)
        wait_until_saved(service, session.say)
        _against_fresh(session, service, service.bookings_of(event_id), f"a list of {waiting:,} waiting there", 1)


def _against_fresh(session: Session, service: Service, filled: Target, name: str, tickets: int) -> None:
    fresh = f"a fresh event of {tickets:,}"
    contests = session.contest(
        f"Bookings: {name}",
        {
            fresh: Contender(lambda: service.sale(tickets), service.parts, service.stored, service.settle),
            name: Contender(lambda: filled, service.parts, service.stored, service.settle),
        },
    )
    session.mark(ratio_mark(f"bookings: {name}", contests[name], contests[fresh], 0.9))
