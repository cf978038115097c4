"""`booking restore` on an emptied Redis: how long a million bookings take to come back from SQL, in what memory."""

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from booking.domain.outcomes import Status
from booking.inventory import keys
from scripts.benchmark.contenders import CAPACITY, embedded_redis
from scripts.benchmark.filling import filler, wait_until_saved
from scripts.benchmark.postgres import postgres
from scripts.benchmark.processes import PartError, last_lines
from scripts.benchmark.report import Mark
from scripts.benchmark.service import booking, environment, serve
from scripts.benchmark.session import Found, Session

BOOKINGS = 1_000_000

SECONDS_MOST = 60

GIVEN_UP_S = 1_800.0
"""A restoration that takes longer than half an hour is stopped."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """What the command took."""

    seconds: float
    cpu_s: float
    peak_mib: float


def restoring(session: Session) -> Found:
    """Fills, empties Redis and restores, with SQLite and with PostgreSQL."""
    found = Found()
    number = session.extent.sized(BOOKINGS)
    with postgres(session.folder) as url:
        for database, settings in (("SQLite", {}), ("PostgreSQL", {"BOOKING_DATABASE_URL": url})):
            took = restored(session, session.folder / f"restored-{database.lower()}", settings, number)
            found.marks += [
                Mark(f"restore of {number:,} bookings from {database}, with its audit", took.seconds, "s",
                     most=SECONDS_MOST),
                Mark(f"  its peak memory ({took.cpu_s:.1f} s of processor)", took.peak_mib, "MiB"),
            ]  # fmt: skip
    return found


def restored(session: Session, data_dir: Path, settings: Mapping[str, str], number: int) -> Restoration:
    """Fills an event, empties Redis, restores. Raises PartError where not all of it is back afterwards."""
    with serve(data_dir, session.secret, 1, settings) as service, filler(service) as fill:
        session.say(f"filling an event with {number:,} bookings, to be restored")
        event_id = service.open_sale(CAPACITY).event_id
        fill.book(event_id, number, "live", Status.BOOKED, session.say)
        wait_until_saved(service, session.say)
    shutil.rmtree(data_dir / "redis")
    with embedded_redis(data_dir) as (found, _), closing(Redis.from_url(found.redis_address)) as redis:
        session.say("Redis is empty; restoring")
        took = timed(booking("restore", "--yes"), data_dir.with_suffix(".log"),
                     environment(data_dir, session.secret, settings))  # fmt: skip
        there = int(redis.hlen(keys.event_keys(event_id, found.shards)[1].decode()))
    if there != number:
        raise PartError(f"{number:,} bookings were to be restored, and {there:,} are there")
    session.say(f"  {took.seconds:.1f} s")
    return took


def timed(command: list[str], log: Path, variables: Mapping[str, str]) -> Restoration:
    """Runs a command to its end and asks the kernel what it took. Raises PartError when it fails."""
    started = time.monotonic()
    with log.open("ab") as output, subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(variables)
    ) as process:  # fmt: skip
        try:
            usage = _wait(process, started + GIVEN_UP_S)
        finally:
            process.kill()
    if process.returncode:
        raise PartError(f"booking restore ended with exit code {process.returncode}:\n{last_lines(log)}")
    return Restoration(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _wait(process: "subprocess.Popen[bytes]", deadline: float) -> "resource.struct_rusage":
    """What the process used, once it has ended by itself: `wait4` alone tells of one process and not of all."""
    while time.monotonic() < deadline:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage
        time.sleep(0.02)
    raise PartError(f"booking restore had not ended after {GIVEN_UP_S:.0f} s")
