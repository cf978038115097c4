"""`scripts/chaos`: plays and breaks for as long as one asks, and tells what came of it."""

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

from tests.chaos.faults import FAULTS
from tests.chaos.play import Game, Round
from tests.chaos.world import World, open_world
from tests.fixtures.postgres import PostgresServer, running_postgres

TABLE_COLUMNS = 120
"""Width of the table where it is not a terminal that it goes to."""


def chaos(
    minutes: Annotated[float, typer.Option(min=0.05, max=600, help="How long to go on.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Decides the order of everything; shown in any case.")] = None,
    fault: Annotated[list[str] | None, typer.Option(help="Only this fault; may be given several times.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Web workers.")] = 2,
    database_url: Annotated[str | None, typer.Option(help="An empty postgresql:// database; else SQLite.")] = None,
    postgres: Annotated[
        bool, typer.Option("--postgres", help="A PostgreSQL of its own, which is stopped, too.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the table to this file, too.")] = None,
) -> None:
    """Plays with a real service, breaks it again and again, and holds what is left to the one oracle.

    Exit code 1 when anything was lost, doubled or otherwise violated; the seed and the round are shown then, and the
    service's folder is kept.
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
    """Plays for so many minutes; returns the exit code."""
    end = time.monotonic() + 60 * minutes
    try:
        async with open_world(database_url, workers, postgres=postgres) as world:
            game = Game(world, seed, faults)
            try:
                violations = await game.play(lambda _: time.monotonic() < end, lambda one: tell(console, one, end))
            finally:
                show(console, game, world)
                if json_file is not None:
                    write(json_file, game, world)
            keep_if(violations, world)
    except Violated as found:
        for line in found.violations[:20]:
            console.print(line, style="red", markup=False)
        console.print(f"{len(found.violations)} violations; the service's files are kept in {found.data_dir}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    console.print("nothing was lost, doubled or otherwise violated")
    return 0


def keep_if(violations: list[str], world: World) -> None:
    """Raises Violated where there are any, which leaves the world's folder where it is."""
    if violations:
        raise Violated(violations, world.service.data_dir)


def write(file: Path, game: Game, world: World) -> None:
    """The table as JSON."""
    sums = {name: asdict(one) for name, one in game.sums.items()}
    file.write_text(json.dumps({"seed": game.seed, "faults": sums, "kills": world.kills}, indent=2), encoding="utf-8")


class Violated(Exception):
    """The oracle has found something; leaves the world's folder where it is."""

    def __init__(self, violations: list[str], data_dir: Path) -> None:
        super().__init__(violations)
        self.violations = violations
        self.data_dir = data_dir


def tell(console: Console, one: Round, end: float) -> None:
    """One line a round."""
    left = max(0, end - time.monotonic())
    verdict = "[red]violated[/red]" if one.verdict.faults else "clean"
    done = f"{one.tally.operations:>7,} operations, {one.tally.acknowledged:>6,} acknowledged"
    console.print(
        f"round {one.number:>4}  {one.fault:<16} {done}, {one.tally.unknown:>4} unknown: {verdict}, "
        f"{left / 60:.1f} min left",
        soft_wrap=True,
    )


def show(console: Console, game: Game, world: World) -> None:
    """The table at the end."""
    table = Table(title=f"seed {game.seed}", title_justify="left")
    table.add_column("fault")
    names = ("rounds", "operations", "acknowledged", "unknown", "lost", "doubled", "violations")
    for name in names:
        table.add_column(name, justify="right")
    for fault, one in sorted(game.sums.items()):
        table.add_row(fault, *(f"{getattr(one, name):,}" for name in names))
    table.add_row(
        "all", *(f"{sum(getattr(one, name) for one in game.sums.values()):,}" for name in names), style="bold"
    )
    console.print(table, soft_wrap=True)
    console.print("kills: " + (", ".join(f"{part} {number}" for part, number in sorted(world.kills.items())) or "none"))
    console.print(f"connections that ended without an answer: {world.door.silences:,}")


if __name__ == "__main__":
    typer.run(chaos)
