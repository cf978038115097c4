"""The export of a large event: how long it takes, and that the worker's memory does not grow with the rows."""

import time
from dataclasses import dataclass
from pathlib import Path

from booking.ledger.engine import SQLITE_CACHE_KIB
from scripts.benchmark.processes import PartError
from scripts.benchmark.report import Mark
from scripts.benchmark.service import Service
from scripts.benchmark.session import Say

GROWTH_MIB_MOST = SQLITE_CACHE_KIB / 1024 + 32
"""Constant memory: the database's own cache of pages, and a little; a million bookings held at once take hundreds."""

RESET_PEAK = "5"
"""What /proc/PID/clear_refs takes to begin a new peak (proc(5))."""


@dataclass(frozen=True, slots=True)
class Export:
    """One export, and the worker's resident memory before it and at its peak."""

    rows: int
    bytes: int
    seconds: float
    before_mib: float
    peak_mib: float


def export_marks(service: Service, event_id: int, small_id: int, say: Say) -> list[Mark]:
    """The large event's export, and how much its worker's memory grows meanwhile. Raises PartError."""
    say("exporting bookings as CSV")
    export(service, small_id)  # what is loaded and opened once is there afterwards
    whole = export(service, event_id)
    return [
        Mark(f"the export of {whole.rows:,} rows, {whole.bytes / 1e6:,.0f} MB of CSV", whole.seconds, "s"),
        Mark("  the same", whole.rows / whole.seconds, "rows/s"),
        Mark(
            f"  its worker's memory, at its peak {whole.peak_mib:.0f} MiB: more than before",
            whole.peak_mib - whole.before_mib,
            "MiB",
            most=GROWTH_MIB_MOST,
        ),
    ]


def export(service: Service, event_id: int) -> Export:
    """Takes the whole file. Raises PartError when its rows are not the event's bookings."""
    (worker,) = service.parts()["server"]
    Path(f"/proc/{worker}/clear_refs").write_text(RESET_PEAK, encoding="ascii")
    before = resident_mib(worker, "VmRSS")
    started = time.monotonic()
    size, lines = 0, 0
    for piece in service.stream(f"/events/{event_id}/bookings?format=csv"):
        size += len(piece)
        lines += piece.count(b"\n")
    seconds = time.monotonic() - started
    bookings = service.event(event_id)["bookings_count"]
    if lines - 1 != bookings:
        raise PartError(f"the export has {lines - 1:,} rows, and the event {bookings:,} bookings")
    return Export(bookings, size, seconds, before, resident_mib(worker, "VmHWM"))


def resident_mib(pid: int, field: str) -> float:
    """VmRSS, a process's resident memory, or VmHWM, its peak, in MiB (proc(5))."""
    return status_kib(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), field) / 1024


def status_kib(status: str, field: str) -> int:
    """A field in KiB, from the text of /proc/PID/status. Raises StopIteration when it isn't there."""
    line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1])
