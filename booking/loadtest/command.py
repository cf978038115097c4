"""The command `booking loadtest` and its options."""

import asyncio
import os
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from booking.auth.plain_tokens import ORGANIZER
from booking.auth.tokens import sign_token
from booking.domain.model import CAPACITY_MAX, MAX_PER_USER_MAX
from booking.loadtest.exports import Exports, UnwritableFileError
from booking.loadtest.organizer import Organizer, UnusableServiceError
from booking.loadtest.plan import (
    BUYERS_MAX,
    CONNECTIONS_MAX,
    PROCESSES_MAX,
    RATE_MAX,
    SECONDS_MAX,
    Plan,
    address_of,
)
from booking.loadtest.player import LoadProcessError
from booking.loadtest.report import LiveProgress, print_report
from booking.loadtest.run import Outcome, run
from booking.logs import drain, unwaiting
from booking.processes.data_folder import running_service
from booking.settings import JWT_SECRET_BYTES_MIN, Settings, SettingsError

EXIT_FAULTS = 1
EXIT_USAGE = 2
EXIT_STOPPED = 130
ORGANIZER_TOKEN_SECONDS = 86_400 + 3_600


def loadtest(
    url: Annotated[
        str | None,
        typer.Option(help="The running service; else the data folder's, else that of BOOKING_HOST and BOOKING_PORT."),
    ] = None,
    tickets: Annotated[int, typer.Option(min=1, max=CAPACITY_MAX, help="Tickets on sale.")] = 10_000,
    buyers: Annotated[
        int, typer.Option(min=1, max=BUYERS_MAX, help="Buyers, each with a token of their own.")
    ] = 50_000,
    cancel: Annotated[float, typer.Option(min=0, max=1, help="Share of the buyers who cancel.")] = 0.1,
    status: Annotated[float, typer.Option(min=0, max=100, help="Status reads for each booking request.")] = 0.2,
    quantity_max: Annotated[
        int, typer.Option(min=1, max=MAX_PER_USER_MAX, help="Each buyer wants 1 to this many tickets.")
    ] = 1,
    connections: Annotated[
        int, typer.Option(min=1, max=CONNECTIONS_MAX, help="Closed loop: calls in flight at once.")
    ] = 64,
    rate: Annotated[
        float | None,
        typer.Option(min=1, max=RATE_MAX, help="Open loop: calls a second, timed from when each was due."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=SECONDS_MAX, help="The sale ends after this at the latest.")
    ] = (600.0),
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds to wait for a response.")] = 10.0,
    processes: Annotated[int, typer.Option(min=1, max=PROCESSES_MAX, help="Processes that generate the load.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the random choice of who cancels and who wants how many.")] = 1,
    idempotent: Annotated[
        bool, typer.Option("--idempotent", help="Send an Idempotency-Key, and repeat a call whose outcome is unknown.")
    ] = False,
    secret_file: Annotated[
        Path | None,
        typer.Option(help="File with the service's JWT secret; else BOOKING_JWT_SECRET or the data folder."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="The service's data folder, for its secret and its database.")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="The service's database; else BOOKING_DATABASE_URL or the data folder.")
    ] = None,
    database_seconds: Annotated[
        float, typer.Option(min=0, max=600, help="How long SQL may take after the end to catch up with Redis.")
    ] = 2.0,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report to this file, as a self-contained page.")] = None,
    yes_i_own_this_host: Annotated[
        bool, typer.Option("--yes-i-own-this-host", help="Allow a host other than this machine.")
    ] = False,
) -> None:
    """Play a flash sale against a running service, and judge the result.

    Creates a new event and lets all buyers book; some cancel, and some read the status. Then it reads everything back:
    from the service, and from its database if that can be reached. Exit 0: the verdict is clean; 1: it is not; 2: the
    test could not be run.

    booking loadtest --tickets 10000 --buyers 50000

    booking loadtest --rate 2000 --buyers 20000 --json figures.json --html figures.html
    """
    errors = Console(file=unwaiting(sys.stderr))  # progress that is not read must not hold up the load
    try:
        settings = Settings.read(os.environ, data_dir=data_dir, database_url=database_url)
        url = url or str((running_service(settings.data_dir) or {}).get("url", settings.local_url))
        _require_own_host(url, yes_i_own_this_host)
        secret = _secret(settings, secret_file)
        plan = Plan(
            url=url.rstrip("/"),
            event_id=0,
            tickets=tickets,
            buyers=buyers,
            cancel_share=cancel,
            status_share=status,
            quantity_max=min(quantity_max, tickets),
            connections=connections,
            rate=rate,
            seconds_max=seconds,
            timeout_seconds=timeout,
            processes=min(processes, buyers, connections),
            seed=seed,
            idempotent=idempotent,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )
        # Opened before the sale, so that a missing folder is reported at once and not after ten minutes of load.
        with Exports(json, html) as exports:
            outcome = _run(plan, secret, settings, database_seconds, errors)
            # If a file cannot be written, the verdict still counts, and is printed.
            for fault in exports.write(outcome):
                errors.print(f"booking loadtest: {fault}", markup=False, highlight=False, soft_wrap=True)
    except (UnusableServiceError, UnwritableFileError, SettingsError, LoadProcessError, ValueError) as error:
        errors.print(f"booking loadtest: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_USAGE) from None
    except KeyboardInterrupt:
        errors.print("booking loadtest: stopped, so there is no verdict")
        raise typer.Exit(EXIT_STOPPED) from None
    drain(errors.file)
    print_report(Console(), outcome)
    if not outcome.clean:
        raise typer.Exit(EXIT_FAULTS)


def _run(plan: Plan, secret: str, settings: Settings, database_seconds: float, console: Console) -> Outcome:
    token = sign_token(
        secret.encode(),
        "load-test",
        ORGANIZER,
        ORGANIZER_TOKEN_SECONDS,
        issuer=plan.issuer,
        audience=plan.audience,
    )
    with LiveProgress(console, {"selling": plan.calls_expected, "reading": plan.buyers}) as progress:
        return asyncio.run(
            run(
                plan,
                secret,
                Organizer(plan.url, token),
                _database(settings),
                database_seconds,
                progress.show,
                progress.show_line,
            )
        )


def _database(settings: Settings) -> str | None:
    """The database's address; None if none was named and the data folder has none."""
    if settings.database_url is None and not (settings.data_dir / "booking.sqlite3").exists():
        return None
    return settings.database_address


def _require_own_host(url: str, owned: bool) -> None:
    try:
        host, _, _ = address_of(url)
    except ValueError as error:
        raise UnusableServiceError(f"--url {error}") from None
    if owned or host == "localhost":
        return
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise UnusableServiceError(f"{host} is not this machine; --yes-i-own-this-host if the load is welcome there")


def _secret(settings: Settings, secret_file: Path | None) -> str:
    """The service's secret, from the first source that has one. It never creates one, which could only be wrong."""
    path = secret_file if secret_file is not None else settings.data_dir / "jwt-secret"
    if secret_file is None and settings.jwt_secret is not None:
        return settings.jwt_secret
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise UnusableServiceError(
            f"the service's JWT secret can't be read ({error}); name it with --secret-file, BOOKING_JWT_SECRET or"
            " --data-dir"
        ) from None
    if len(secret.encode()) < JWT_SECRET_BYTES_MIN:
        raise UnusableServiceError(f"{path} holds fewer than {JWT_SECRET_BYTES_MIN} bytes, so it is no JWT secret")
    return secret


if __name__ == "__main__":
    typer.run(loadtest)
