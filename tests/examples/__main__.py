"""`scripts/examples/proof`: buyers pay in the little shop while parts are killed; every payment has to end once."""

import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.chaos.client import START_SECONDS_MAX
from tests.chaos.deployment import open_embedded
from tests.examples.parts import running_till
from tests.examples.proof import ORGANIZER, Plan, Proof, Result

SAY_SECONDS = 5.0
"""Between two lines of progress."""

MOODS = ("--repeats", "2", "--spread", "3", "--lose", "0.1")
"""How troublesome the provider is."""

PROVEN, VIOLATED, INCOMPLETE, STOPPED = 0, 1, 3, 130


class NotProven(Exception):
    """A check has failed. The files are kept."""


def proof(
    buyers: Annotated[int, typer.Option(min=50, max=50_000, help="Buyers of the sale.")] = 1_000,
    rate: Annotated[float, typer.Option(min=1, max=500, help="Buyers that come in a second, at most.")] = 50.0,
    kill: Annotated[
        bool, typer.Option("--kill", help="Kill every part of the service, the shop and the provider, again and again.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Decides what buyers and faults do; always printed.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
) -> None:
    """Sends buyers through the little shop, whose provider tells of payments late, several times and out of order.

    Then it checks, in the service's SQL, in the shop's book and at the provider: every payment is one booking or one
    refund; nothing was oversold; nobody overtook; holds and offers gave their tickets on within a second of their end;
    Redis and SQL agree. All of it runs here, on ports of its own, in a new folder that is removed afterwards.

    Exit code 0: all of it is proven. 1: a check has failed; then the files are kept. 3: too little happened to prove it
    (no late payment, no refund). 130: Ctrl-C.
    """
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    console = Console(highlight=False, soft_wrap=True)
    plan = Plan(buyers, rate, seed, kill)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, and leaves no process behind
    console.print(
        f"seed {seed}; {buyers / rate + plan.habits.late_seconds[1]:.0f} s and more, at most {plan.seconds_max:.0f} s"
    )
    folder = Path(tempfile.mkdtemp(prefix="booking-shop-"))
    try:
        result = asyncio.run(run(plan, folder, console))
    except NotProven:
        sys.exit(VIOLATED)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(STOPPED)
    if json_file is not None:
        json_file.write_text(json.dumps({"seed": seed, **result.figures}, indent=2) + "\n", encoding="utf-8")
    if result.missing:
        console.print(f"nothing was violated, but too little happened to prove it: no {', no '.join(result.missing)}")
        sys.exit(INCOMPLETE)
    console.print("every payment is one booking or one refund; nothing was oversold, nobody overtook, offers rolled on")


async def run(plan: Plan, folder: Path, console: Console) -> Result:
    """Plays the plan in a folder, with a line of progress now and then. Raises NotProven."""
    async with open_embedded(None, workers=2, folder=folder, answer_seconds=START_SECONDS_MAX) as deployment:
        with running_till(deployment.services[0], folder / "shop", ORGANIZER, MOODS) as till:
            played = Proof(deployment, till, plan)
            saying = asyncio.create_task(say(played, console))
            try:
                result = await played.run()
            except TimeoutError:
                console.print(f"not at an end after {plan.seconds_max:.0f} s: {played.progress()}")
                raise NotProven from None
            finally:
                saying.cancel()
        print_figures(console, result)
        for fault in result.faults[:20]:
            console.print(fault, style="red", markup=False)
        if result.faults:
            console.print(f"{len(result.faults)} faults; seed {plan.seed}; the files are kept in {folder}")
            raise NotProven
        return result


async def say(played: Proof, console: Console) -> None:
    """Prints a line of progress every SAY_SECONDS."""
    while True:
        await asyncio.sleep(SAY_SECONDS)
        console.print(played.progress(), markup=False)


def print_figures(console: Console, result: Result) -> None:
    """Prints the figures as a table."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, figure in result.figures.items():
        table.add_row(name, f"{figure:,}")
    console.print(table)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(proof)
    app()
