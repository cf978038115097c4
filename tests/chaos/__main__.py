"""`scripts/chaos`: breaks a service under load for a given time, and reports the result."""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from scripts.benchmark.against import check_out
from scripts.benchmark.processes import PartError
from tests.chaos.client import ANSWER_SECONDS_MAX
from tests.chaos.deployment import Deployment, open_embedded, open_on_cluster, open_on_sentinels
from tests.chaos.failovers import CLUSTER, SENTINEL
from tests.chaos.faults import EMBEDDED, Fault
from tests.chaos.rounds import ChaosRun, Round
from tests.fixtures.postgres import running_postgres

TABLE_COLUMNS = 160
"""Width of the table if the output is not a terminal."""


@dataclass(frozen=True)
class Form:
    """A form of the service: how it is opened, and what can happen to it."""

    open: Callable[..., AbstractAsyncContextManager[Deployment[Any]]]
    faults: Mapping[str, Fault]
    workers: int
    """Web workers of each node, unless told otherwise."""


ALONE = Form(open_embedded, EMBEDDED, 2)
ON_CLUSTER = Form(open_on_cluster, CLUSTER, 1)
ON_SENTINELS = Form(open_on_sentinels, SENTINEL, 1)


def chaos(
    minutes: Annotated[float, typer.Option(min=0.05, max=600, help="How long to run.")] = 1.0,
    seed: Annotated[
        int | None, typer.Option(help="Decides the order of operations and faults; always printed.")
    ] = None,
    fault: Annotated[list[str] | None, typer.Option(help="Only this fault; can be repeated.")] = None,
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="Two nodes on a cluster of three primaries with two replicas each."),
    ] = False,
    sentinel: Annotated[
        bool, typer.Option("--sentinel", help="Two nodes on a primary with two replicas and three Sentinels.")
    ] = False,
    disk: Annotated[
        bool,
        typer.Option(
            "--disk",
            help="With --cluster: acknowledge what is on the primary's disk. What a failover loses has to be told.",
        ),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=16, help="Web workers of each node; two, or one of two nodes.")
    ] = None,
    database_url: Annotated[str | None, typer.Option(help="An empty postgresql:// database; else SQLite.")] = None,
    postgres: Annotated[
        bool,
        typer.Option("--postgres", help="Start a PostgreSQL server, and stop it as a fault, too. Two nodes have one."),
    ] = False,
    beside: Annotated[
        str | None,
        typer.Option(
            help="With --cluster or --sentinel: the second node runs the code of this commit, as in an upgrade."
        ),
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1, max=60, help="Seconds within which an answer has to come; more on a busy machine.")
    ] = ANSWER_SECONDS_MAX,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the table to this file.")] = None,
) -> None:
    """Runs a load on a real service, breaks the service again and again, and checks the result with the oracle.

    The service has its embedded Redis, unless `--cluster` or `--sentinel` is given. Then two nodes acknowledge what one
    replica has, or all replicas with Sentinels (BOOKING_ACK=replica).

    Exit code 1 if a change was lost or doubled or another rule was violated. Then the seed and the round are printed,
    and the service's folder is kept.
    """
    if (cluster and sentinel) or (disk and not cluster) or (beside and not (cluster or sentinel)):
        sys.exit("one of --cluster and --sentinel; --disk belongs to --cluster, --beside to either")
    form = ON_CLUSTER if cluster else ON_SENTINELS if sentinel else ALONE
    if unknown := set(fault or ()) - form.faults.keys():
        sys.exit(f"there is no fault {', '.join(sorted(unknown))}; there are {', '.join(form.faults)}")
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    console = Console(highlight=False, width=None if sys.stdout.isatty() else TABLE_COLUMNS)
    console.print(f"seed {seed}")
    faults = {name: form.faults[name] for name in fault or form.faults}
    starts = postgres or (form is not ALONE and database_url is None)
    with running_postgres() if starts else nullcontext() as server, TemporaryDirectory() as older:
        url = server.url("postgres") if server is not None else database_url
        more: dict[str, object] = {"level": "disk"} if disk else {}
        if beside is not None:
            try:
                check_out(beside, Path(older))
            except PartError as error:
                sys.exit(str(error))
            more["second"] = {"PYTHONPATH": older, "PYTHONSAFEPATH": "1"}
        opened = form.open(url, workers or form.workers, postgres=server, answer_seconds=patience, **more)
        sys.exit(asyncio.run(run(minutes, seed, faults, opened, json_file, console)))


async def run(
    minutes: float,
    seed: int,
    faults: Mapping[str, Fault],
    opened: AbstractAsyncContextManager[Deployment[Any]],
    json_file: Path | None,
    console: Console,
) -> int:
    """Runs rounds for this many minutes. Returns the exit code."""
    try:
        async with opened as deployment:
            end = time.monotonic() + 60 * minutes
            chaos_run = ChaosRun(deployment, seed, faults)
            try:
                violations = await chaos_run.play(
                    lambda _: time.monotonic() < end, lambda one: print_round(console, one, end)
                )
            finally:
                print_table(console, chaos_run, deployment)
                if json_file is not None:
                    write_json(json_file, chaos_run, deployment)
            raise_if_violated(console, violations, deployment)
    except Violated:
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    console.print(verdict_on(sum(one.lost for one in chaos_run.sums.values())))
    return 0


def verdict_on(lost: int) -> str:
    """The last line of a run without a violation. With `--disk` a failover may lose changes, if it is told."""
    if lost:
        return f"{lost:,} changes were lost, and told of as lost; nothing was doubled or otherwise violated"
    return "nothing was lost, doubled or otherwise violated"


def raise_if_violated(console: Console, violations: list[str], deployment: Deployment[Any]) -> None:
    """Prints the violations. Raises Violated if there are any, so that the service's folder is kept."""
    for line in violations[:20]:
        console.print(line, style="red", markup=False)
    if violations:
        console.print(f"{len(violations)} violations; the service's files are kept in {deployment.data_dir.parent}")
        raise Violated


def write_json(file: Path, chaos_run: ChaosRun, deployment: Deployment[Any]) -> None:
    """Writes the table as JSON."""
    sums = {name: asdict(one) | {"p99_ms": one.p99_ms} for name, one in chaos_run.sums.items()}
    for one in sums.values():
        del one["elsewhere_seconds"]
    file.write_text(
        json.dumps({"seed": chaos_run.seed, "faults": sums, "kills": deployment.kills}, indent=2), encoding="utf-8"
    )


class Violated(Exception):
    """The oracle has found violations. The service's folder is kept."""


def print_round(console: Console, one: Round, end: float) -> None:
    """Prints one line for a round."""
    left = max(0, end - time.monotonic())
    verdict = "[red]violated[/red]" if one.verdict.faults else "clean"
    done = f"{one.tally.operations:>7,} operations, {one.tally.acknowledged:>6,} acknowledged"
    failed = f"{one.tally.refused:>5,} refused, {one.tally.unknown:>4} unknown"
    console.print(
        f"round {one.number:>4}  {one.fault:<16} {done}, {failed}: {verdict}, {left / 60:.1f} min left",
        soft_wrap=True,
    )


def print_table(console: Console, chaos_run: ChaosRun, deployment: Deployment[Any]) -> None:
    """Prints the table of all rounds. "Elsewhere" are the calls about shards that a fault does not concern.

    "Messages" are what a webhook was told of all changes, and of some more than once.
    """
    table = Table(title=f"seed {chaos_run.seed}", title_justify="left")
    table.add_column("fault")
    names = ("rounds", "operations", "acknowledged", "refused", "unknown", "lost", "doubled", "messages", "violations")
    for name in (*names, "failed elsewhere", "p99 elsewhere, ms"):
        table.add_column(name, justify="right")
    for fault, one in sorted(chaos_run.sums.items()):
        table.add_row(fault, *(f"{getattr(one, name):,}" for name in (*names, "elsewhere_refused", "p99_ms")))
    table.add_row(
        "all", *(f"{sum(getattr(one, name) for one in chaos_run.sums.values()):,}" for name in names), style="bold"
    )
    console.print(table, soft_wrap=True)
    console.print(
        "kills: " + (", ".join(f"{part} {number}" for part, number in sorted(deployment.kills.items())) or "none")
    )
    console.print(f"connections that ended without an answer: {deployment.client.silences:,}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)  # it would print all that buyers remember
    app.command()(chaos)
    app()
