"""The bench's command line: `scripts/bench`."""

import json
import os
import secrets
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from scripts.benchmark import wrk
from scripts.benchmark.against import compare
from scripts.benchmark.against import show as show_comparison
from scripts.benchmark.contenders import CHECKOUT
from scripts.benchmark.listening import listeners, too_few_files
from scripts.benchmark.processes import PartError
from scripts.benchmark.report import as_json, show
from scripts.benchmark.rows import FULL, QUICK, Extent, Row, chosen
from scripts.benchmark.run import measure

FOLDER = CHECKOUT / ".bench"
"""On the checkout's own disk, so that an fsync is one: /tmp may be memory."""

ROWS = ", ".join(row.word for row in Row)

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)

TABLE_COLUMNS = 165
"""Width of the table where it is not a terminal that it goes to."""


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="A few minutes: fewer, shorter rounds, and a fiftieth of the large sizes.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure to this file, too.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, max=100, help="Rounds of each contender.")] = None,
    seconds: Annotated[int | None, typer.Option(min=1, max=60, help="Length of a round.")] = None,
    workers: Annotated[str | None, typer.Option(help="Worker counts to try beside 1: 2,3")] = None,
    sold_out: Annotated[bool, typer.Option("--sold-out", help="Also the minutes after the tickets have gone.")] = False,
    only: Annotated[
        str | None, typer.Option(help=f"Just these rows, with commas between them, of {ROWS}. All by default.")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(min=0.001, max=1, help="Share of the sizes of the large rows: 0.1, 100,000 bookings."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Only this: this code against the code of a commit, in turn, and the ratios.")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Also where a worker's time goes, by function.")] = False,
) -> None:
    """Measures this service beside its rivals, in turn and in one run, and prints one table.

    Exit code 1 when a figure could not be measured or must not be trusted, never because a mark was missed.
    """
    preset = QUICK if quick else FULL
    if against is not None:
        _against(against, rounds or preset.rounds, seconds or preset.seconds, json_file)
        return
    try:
        more_workers = tuple(int(part) for part in workers.split(",")) if workers else preset.more_workers
    except ValueError:
        print("--workers takes whole numbers with commas between them: 2,3", file=sys.stderr)
        raise typer.Exit(2) from None
    try:
        rows = preset.rows if only is None else chosen(only)
    except ValueError as error:
        print(f"--only: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    extent = Extent(
        rounds or preset.rounds,
        seconds or preset.seconds,
        more_workers,
        rows,
        scale or preset.scale,
        sold_out=sold_out,
        profile=profile,
    )
    problem = too_few_files(listeners(extent)) if Row.LISTENERS in rows else None
    problem = problem or wrk.missing()
    if problem is not None:
        print(problem, file=sys.stderr)
        raise typer.Exit(2)
    for number in INTERRUPTIONS:
        signal.signal(number, _interrupted)
    FOLDER.mkdir(exist_ok=True)
    progress = Console(stderr=True, highlight=False)
    try:
        with tempfile.TemporaryDirectory(dir=FOLDER, prefix="run-") as folder:
            report = measure(Path(folder), extent, lambda line: progress.print(line, markup=False))
    except KeyboardInterrupt:
        print("interrupted; everything that was started has been stopped", file=sys.stderr)
        raise typer.Exit(130) from None
    except (PartError, wrk.LoadError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    cores = os.cpu_count() or 1
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(report, cores), indent=2) + "\n", encoding="utf-8")
    show(report, cores, Console(width=None if sys.stdout.isatty() else TABLE_COLUMNS))
    if not all(contest.trusted for contests in report.contests.values() for contest in contests):
        raise typer.Exit(1)


def _against(commit: str, rounds: int, seconds: float, json_file: Path | None) -> None:
    FOLDER.mkdir(exist_ok=True)
    progress = Console(stderr=True, highlight=False)
    secret = secrets.token_urlsafe(48).encode()
    try:
        with tempfile.TemporaryDirectory(dir=FOLDER, prefix="against-") as folder:
            found = compare(
                Path(folder), commit, rounds, seconds, secret, lambda line: progress.print(line, markup=False)
            )
    except PartError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    if json_file is not None:
        json_file.write_text(json.dumps(found.to_json(), indent=2) + "\n", encoding="utf-8")
    show_comparison(found, Console(width=None if sys.stdout.isatty() else TABLE_COLUMNS))


def _interrupted(*_: object) -> NoReturn:
    """Once: a second Ctrl-C must not cut the cleaning up short, which takes a few seconds."""
    for number in INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(bench)
