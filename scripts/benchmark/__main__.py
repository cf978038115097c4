"""The bench's command line: `scripts/bench`."""

import json
import os
import platform
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from scripts.benchmark import against as comparison
from scripts.benchmark.listening import listeners, too_few_files
from scripts.benchmark.outbox import outbox
from scripts.benchmark.processes import PartError
from scripts.benchmark.report import Report, show
from scripts.benchmark.service import CHECKOUT
from scripts.benchmark.session import Session
from scripts.benchmark.storage import large, memory, persister, restore
from scripts.benchmark.throughput import throughput

FOLDER = CHECKOUT / ".bench"
"""On the checkout's own disk, so that an fsync is one: /tmp may be memory."""

PARTS = {
    throughput: ("throughput", "storm", "start", "latency", "newcomers"),
    memory: ("memory",),
    persister: ("persister",),
    large: ("large",),
    restore: ("restore",),
    listeners: ("listeners",),
    outbox: ("outbox",),
}
"""What measures which rows, in the order of the run."""

ROWS = [row for rows in PARTS.values() for row in rows]
TABLE_COLUMNS = 165
"""Width of a table that does not go to a terminal."""


def bench(
    only: Annotated[str, typer.Option(help="These rows, with commas between them.")] = ",".join(ROWS),
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds of each contender.")] = 5,
    seconds: Annotated[int, typer.Option(min=1, max=60, help="Length of a round.")] = 8,
    scale: Annotated[
        float, typer.Option(min=0.001, max=1, help="Share of the sizes of the large rows: 0.1, 100,000 bookings.")
    ] = 1.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure to this file, too.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Only this: this code against the code of a commit, in turn, and the ratios.")
    ] = None,
) -> None:
    """Measures this service beside its rivals, in turn and in one run, and prints one table.

    Exit code 1 when a figure could not be measured or must not be trusted, never because a mark was missed.
    """
    rows = frozenset(only.split(","))
    if not rows <= set(ROWS):
        print(
            f"--only: there is no row {', '.join(sorted(rows - set(ROWS)))}; there are {', '.join(ROWS)}",
            file=sys.stderr,
        )
        raise typer.Exit(2)
    progress, tables = (
        Console(stderr=True, highlight=False),
        Console(width=None if sys.stdout.isatty() else TABLE_COLUMNS),
    )

    def say(line: str) -> None:
        progress.print(line, markup=False, soft_wrap=True)

    with folder() as there:
        if against is not None:
            found = comparison.compare(there, against, rounds, seconds, secrets.token_urlsafe(48), say)
            figures, trusted = found.to_json(), True
            comparison.show(found, tables)
        else:
            session = Session(there, Report(machine(scale)), say, rows, rounds, seconds, scale)
            if session.wants("listeners") and (problem := too_few_files(session)):
                print(problem, file=sys.stderr)
                raise typer.Exit(2)
            for part, measured in PARTS.items():
                if session.wants(*measured):
                    part(session)
            figures, trusted = session.report.to_json(), session.report.trusted
            show(session.report, tables)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if not trusted:
        raise typer.Exit(1)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one run. An interruption, or a part that fails, ends the program after everything has stopped."""
    FOLDER.mkdir(exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        with tempfile.TemporaryDirectory(dir=FOLDER, prefix="run-") as there:
            yield Path(there)
    except KeyboardInterrupt:
        print("interrupted; everything that was started has been stopped", file=sys.stderr)
        raise typer.Exit(130) from None
    except PartError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


def machine(scale: float) -> dict[str, object]:
    """What the figures were made on: they mean little without it."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "scale": scale,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("starlette", "uvicorn", "redis", "pyjwt")},
    }


def _interrupted(*_: object) -> NoReturn:
    """Once: a second Ctrl-C must not cut the cleaning up short, which takes a few seconds."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(bench)
