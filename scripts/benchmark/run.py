"""One run of the bench: what is measured, in which order, and which marks and remarks come of it."""

import os
import platform
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from scripts.benchmark.figures import OTHERS, bottleneck, median_cores
from scripts.benchmark.large import large
from scripts.benchmark.listening import listening
from scripts.benchmark.many import many
from scripts.benchmark.report import Contest, Report
from scripts.benchmark.restoring import restoring
from scripts.benchmark.rows import Extent, Row
from scripts.benchmark.session import Found, Say, Session
from scripts.benchmark.throughput import Throughput
from scripts.benchmark.wrk import CONNECTIONS

OTHERS_CORES_MAX = 0.1
"""More than this taken by other programs, and the run says so."""

LOAD = (
    f"The load: wrk on the same cores as what it measures, {CONNECTIONS} connections, closed loop; every request is a "
    "new buyer's, with a token of its own."
)
RIVALS = (
    "The rivals run in uvicorn set up as the service's is, and answer with a booking of the same shape; they limit no "
    "rates, log nothing and persist nothing in SQL. The naive one has the service's embedded Redis."
)
SERVICE = "The service: rate limit on, a log line a request, appendfsync always, the persister running."


def measure(folder: Path, extent: Extent, say: Say) -> Report:
    """The whole run, in `folder`; everything it starts has stopped at its end. Raises PartError and LoadError."""
    session = Session(folder, extent, say)
    found = Found()
    for rows, part in PARTS:
        if session.wants(*rows) or (part is throughput and extent.profile):
            found.add(part(session))
    told = [*remarks(contest for contests in found.contests.values() for contest in contests), *found.remarks]
    return Report(machine(extent), found.contests, found.marks, told, found.functions)


def throughput(session: Session) -> Found:
    """The service beside its rivals."""
    return Throughput(session).measure()


def remarks(contests: Iterable[Contest]) -> list[str]:
    """What a reader has to know to read the table rightly."""
    cores = os.cpu_count() or 1
    told, others = [LOAD, RIVALS, SERVICE], [0.0]
    for contest in contests:
        found = median_cores(contest.rounds)
        others.append(found.get(OTHERS, 0.0))
        if bottleneck(found, cores, contest.servers) == "generator":
            told.append(f"{contest.name}: the generator was the limit, so the figure is a lower bound.")
        told += [f"{contest.name}, not to be trusted: {fault}." for one in contest.rounds for fault in one.faults]
    if max(others) > OTHERS_CORES_MAX:
        told.append(
            f"Other programs took up to {max(others):.1f} cores meanwhile: the rates are too low, and the ratios hold "
            "only as far as that was even. Run it again on a quiet machine."
        )
    return told


def machine(extent: Extent) -> dict[str, object]:
    """What the figures were made on: they mean little without it."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "scale": extent.scale,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("starlette", "uvicorn", "redis", "pyjwt")},
    }


PARTS = (
    ((Row.THROUGHPUT, Row.STORM, Row.START, Row.LATENCY, Row.MEMORY, Row.PERSISTER), throughput),
    ((Row.EVENTS,), many),
    ((Row.EXPORT, Row.LARGE, Row.POSITION), large),
    ((Row.RESTORE,), restoring),
    ((Row.LISTENERS,), listening),
)
"""What measures which rows, in the order of the run."""
