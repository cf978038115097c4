"""`scripts/chaos`: breaks a service under load for a given time, and reports the result."""

import asyncio
import json
import random
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.chaos.deployment import Deployment, open_deployment
from tests.chaos.faults import FAULTS
from tests.chaos.rounds import ChaosRun, Round
from tests.fixtures.postgres import PostgresServer, running_postgres

TABLE_COLUMNS = 120
"""Width of the table if the output is not a terminal."""


def chaos(
    minutes: Annotated[float, typer.Option(min=0.05, max=600, help="How long to run.")] = 1.0,
    seed: Annotated[
        int | None, typer.Option(help="Decides the order of operations and faults; always printed.")
    ] = None,
    fault: Annotated[list[str] | None, typer.Option(help="Only this fault; can be repeated.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Web workers.")] = 2,
    database_url: Annotated[str | None, typer.Option(help="An empty postgresql:// database; else SQLite.")] = None,
    postgres: Annotated[
        bool, typer.Option("--postgres", help="Start a PostgreSQL server, and stop it as a fault, too.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the table to this file.")] = None,
) -> None:
    """Runs a load on a real service, breaks the service again and again, and checks the result with the oracle.

    Exit code 1 if a change was lost or doubled or another rule was violated. Then the seed and the round are printed,
    and the service's folder is kept.
    """
    unknown = set(fault or ()) - FAULTS.keys()
    if unknown:
        sys.exit(f"there is no fault {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    console = Console(highlight=False, width=None if sys.stdout.isatty() else TABLE_COLUMNS)
    console.print(f"seed {seed}")
    with running_postgres() if postgres else nullcontext() as server:
        url = server.url("postgres") if server is not None else database_url
        faults = fault or list(FAULTS)
        sys.exit(asyncio.run(run(minutes, seed, faults, workers, url, json_file, console, server)))


async def run(
    minutes: float,
    seed: int,
    faults: list[str],
    workers: int,
    database_url: str | None,
    json_file: Path | None,
    console: Console,
    postgres: PostgresServer | None = None,
) -> int:
    """Runs rounds for this many minutes. Returns the exit code."""
    end = time.monotonic() + 60 * minutes
    try:
        async with open_deployment(database_url, workers, postgres=postgres) as deployment:
            chaos_run = ChaosRun(deployment, seed, faults)
            try:
                violations = await chaos_run.play(
                    lambda _: time.monotonic() < end, lambda one: print_round(console, one, end)
                )
            finally:
                print_table(console, chaos_run, deployment)
                if json_file is not None:
                    write_json(json_file, chaos_run, deployment)
            raise_if_violated(violations, deployment)
    except Violated as found:
        for line in found.violations[:20]:
            console.print(line, style="red", markup=False)
        console.print(f"{len(found.violations)} violations; the service's files are kept in {found.data_dir}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    console.print("nothing was lost, doubled or otherwise violated")
    return 0


def raise_if_violated(violations: list[str], deployment: Deployment) -> None:
    """Raises Violated if there are violations, so that the service's folder is kept."""
    if violations:
        raise Violated(violations, deployment.service.data_dir)


def write_json(file: Path, chaos_run: ChaosRun, deployment: Deployment) -> None:
    """Writes the table as JSON."""
    sums = {name: asdict(one) for name, one in chaos_run.sums.items()}
    file.write_text(
        json.dumps({"seed": chaos_run.seed, "faults": sums, "kills": deployment.kills}, indent=2), encoding="utf-8"
    )


class Violated(Exception):
    """The oracle has found violations. The service's folder is kept."""

    def __init__(self, violations: list[str], data_dir: Path) -> None:
        super().__init__(violations)
        self.violations = violations
        self.data_dir = data_dir


def print_round(console: Console, one: Round, end: float) -> None:
    """Prints one line for a round."""
    left = max(0, end - time.monotonic())
    verdict = "[red]violated[/red]" if one.verdict.faults else "clean"
    done = f"{one.tally.operations:>7,} operations, {one.tally.acknowledged:>6,} acknowledged"
    console.print(
        f"round {one.number:>4}  {one.fault:<16} {done}, {one.tally.unknown:>4} unknown: {verdict}, "
        f"{left / 60:.1f} min left",
        soft_wrap=True,
    )


def print_table(console: Console, chaos_run: ChaosRun, deployment: Deployment) -> None:
    """Prints the table of all rounds."""
    table = Table(title=f"seed {chaos_run.seed}", title_justify="left")
    table.add_column("fault")
    names = ("rounds", "operations", "acknowledged", "unknown", "lost", "doubled", "violations")
    for name in names:
        table.add_column(name, justify="right")
    for fault, one in sorted(chaos_run.sums.items()):
        table.add_row(fault, *(f"{getattr(one, name):,}" for name in names))
    table.add_row(
        "all", *(f"{sum(getattr(one, name) for one in chaos_run.sums.values()):,}" for name in names), style="bold"
    )
    console.print(table, soft_wrap=True)
    console.print(
        "kills: " + (", ".join(f"{part} {number}" for part, number in sorted(deployment.kills.items())) or "none")
    )
    console.print(f"connections that ended without an answer: {deployment.client.silences:,}")


if __name__ == "__main__":
    typer.run(chaos)
