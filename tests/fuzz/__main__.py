"""`scripts/fuzz`: sends a given number of requests to a service of its own and prints a table of the answers."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from tests.fixtures.service import RunningService, running_service
from tests.fuzz.counter import Tally
from tests.fuzz.generated import Generated
from tests.fuzz.hostile import Sender, calls

PROGRESS_SECONDS = 10.0
TABLE_COLUMNS = 120
"""Width of the table if the output is not a terminal."""


def fuzz(
    requests: Annotated[int, typer.Option(min=100, help="Requests to send, at least.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Decides what is sent, and in which order.")] = 1,
) -> None:
    """Sends what the OpenAPI document allows, what it does not, and hostile input, to a service of its own.

    Every answer has to be in the document, with its status, its headers and its body; nothing may be a 5xx, and what
    cannot be right has to be a 4xx with a problem document. Exit code 1 at anything else.

        scripts/fuzz --requests 10000 --seed 1
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else TABLE_COLUMNS)
    tally = Tally()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="booking-fuzz-") as folder:
        environment = {"BOOKING_RATE_LIMIT": "off", "BOOKING_LOG_FORMAT": "json"}
        with running_service(Path(folder) / "data", environment) as service:
            console.print(f"seed {seed}: {requests:,} requests to {service.base_url}")
            play(service, requests, seed, tally, console)
            for line in service.output.splitlines():
                if '"level":"error"' in line or "Traceback" in line:
                    tally.note(f"in the service's log: {line[:400]}")
    show(console, tally)
    took = time.monotonic() - began
    verdict = "nothing wrong" if not tally.faulty else f"{tally.faulty:,} wrong"
    console.print(f"seed {seed}: {tally.requests:,} requests in {took:.0f} s: {verdict}")
    for fault in tally.faults:
        console.print(fault, markup=False, soft_wrap=True)
    sys.exit(1 if tally.faulty else 0)


def play(service: RunningService, requests: int, seed: int, tally: Tally, console: Console | None = None) -> None:
    """Sends the requests: hostile ones first, at most half of all, then generated ones."""
    authorization = f"Bearer {service.token('the-organizer', 'organizer')}"
    said = time.monotonic()

    def tell() -> None:
        nonlocal said
        if console is not None and time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            console.print(f"  {tally.requests:,} of {requests:,} requests, {tally.faulty:,} wrong")

    events = open_events(service, authorization)
    sender = Sender(service.base_url, authorization, tally)
    try:
        for call in calls(seed):
            if tally.requests >= requests // 2:
                break
            sender.send(call)
            tell()
    finally:
        sender.close()
    generated = Generated(service.base_url, authorization, events, tally)
    try:
        rounds = 0
        while tally.requests < requests:
            each = max(2, (requests - tally.requests) // len(generated.operations))
            for number in range(len(generated.operations)):
                generated.play(number, min(each, 200), seed + rounds)
                tell()
            rounds += 1
    finally:
        generated.close()


def open_events(service: RunningService, authorization: str) -> list[int]:
    """Sales of several kinds, so that what is generated gets as far as the rules: open, sold out, held, paused."""
    rules: list[dict[str, Any]] = [
        {},
        {"available_tickets": 1},
        {"hold_seconds": 60},
        {"opens_at": "2999-01-01T00:00:00Z"},
        {"max_per_user": 9},
    ]
    with httpx.Client(base_url=service.base_url, trust_env=False, headers={"Authorization": authorization}) as client:
        return [
            client.post("/initialize", json={"event_name": "Fuzzed", "available_tickets": 1_000, **rule}).json()[
                "event_id"
            ]
            for rule in rules
        ]


def show(console: Console, tally: Tally) -> None:
    """The table: a row an operation, a column a status."""
    statuses = sorted({status for _, status in tally.answers})
    table = Table(title="answers by status", title_justify="left")
    table.add_column("operation")
    table.add_column("requests", justify="right")
    for status in statuses:
        table.add_column(str(status), justify="right")
    labels = sorted({label for label, _ in tally.answers})
    for label in [*labels, ""]:
        counts = [sum(tally.answers[one, status] for one in ([label] if label else labels)) for status in statuses]
        table.add_row(label or "all", f"{sum(counts):,}", *(f"{count:,}" if count else "" for count in counts))
    console.print(table)


if __name__ == "__main__":
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(fuzz)
    command()
