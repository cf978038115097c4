"""The command `booking`: reads the settings and hands over; each command imports only what it needs."""

import asyncio
import os
import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from booking.settings import EXIT_WRONG_SETTING, Settings, SettingsError

EXIT_FAILED = 1

PASSWORD_CHARACTERS_MIN = 8
PASSWORD_CHARACTERS_MAX = 256
"""The bounds that /auth/register has, too (contract)."""

TOKEN_SECONDS_MAX = 10 * 365 * 86_400

app = typer.Typer(
    name="booking",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Sells tickets in a flash sale: atomic stock in Redis, every change in SQL exactly once.

Settings come from the environment (BOOKING_HOST, BOOKING_WORKERS, …); an option outranks its variable.

    booking serve                                     start everything on http://127.0.0.1:8000
    booking token --user 1 --role organizer           a token for making events
    booking user add ann@example.com --organizer      an account that may make events
    booking loadtest                                  a flash sale against the running service
""",
)
user = typer.Typer(no_args_is_help=True, help="The service's own accounts.")
app.add_typer(user, name="user")

DataDir = Annotated[
    Path | None, typer.Option(help="The folder of everything that has to last (BOOKING_DATA_DIR; ./data).")
]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (BOOKING_HOST; 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port, 0 for any that is free (PORT or BOOKING_PORT; 8000).")] = None,
    workers: Annotated[int | None, typer.Option(help="Web processes (BOOKING_WORKERS; 1).")] = None,
    data_dir: DataDir = None,
    without_persister: Annotated[
        bool, typer.Option("--without-persister", help="Leave SQL to a `booking persist` that runs elsewhere.")
    ] = False,
) -> None:
    """Serve: web workers, the persister, and an embedded Redis unless BOOKING_REDIS_URL names one.

    What dies is started again. Ctrl-C or SIGTERM finishes the requests in flight and ends with exit code 0.

        booking serve --port 8080 --workers 2
        BOOKING_REDIS_URL=redis://cache:6379 BOOKING_DATABASE_URL=postgresql://shop@db/shop booking serve
    """
    from booking.supervisor import StartFailed, Supervisor

    settings = _read_settings(host=host, port=port, workers=workers, data_dir=data_dir)
    try:
        code = asyncio.run(Supervisor(settings, with_persister=not without_persister).run())
    except StartFailed as error:
        _fail(str(error), error.exit_code)
    sys.exit(code)


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database's tables up to date; `booking serve` does so by itself."""
    from booking.ledger.errors import LedgerUnavailable
    from booking.ledger.migrate import migrate as migrate_ledger

    settings = _read_settings(data_dir=data_dir)
    try:
        asyncio.run(migrate_ledger(settings.database_address))
    except ValueError as error:
        _fail(f"BOOKING_DATABASE_URL: {error}")
    except LedgerUnavailable as error:
        _fail(f"database: {error}", EXIT_FAILED)
    print("The database is up to date.")


@app.command()
def persist(data_dir: DataDir = None) -> None:
    """Carry changes from Redis into SQL until Ctrl-C or SIGTERM, beside `booking serve --without-persister`."""
    import uvloop

    from booking.persister import run
    from booking.worker import until_told

    settings = _read_settings(data_dir=data_dir)
    try:
        uvloop.run(until_told(settings, run))
    except SettingsError as error:
        _fail(str(error))


@app.command()
def audit(
    event_ids: Annotated[list[int] | None, typer.Argument(help="Events; all of them if none is named.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Compare Redis with the database, booking by booking, while the service runs. Repairs nothing.

    Exit code 0: they agree. 1: there are differences; each is listed with what it means. 3: a side cannot be read.

        booking audit
        booking audit 17 --json
    """
    from booking.audit.command import audit as run_audit

    sys.exit(run_audit(_read_settings(data_dir=data_dir), event_ids or [], as_json=as_json))


@app.command()
def restore(
    shard: Annotated[list[int] | None, typer.Option(help="This shard; every lost one if none is named.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also write anew what Redis has not lost.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Bring back into Redis what it has lost (emptied, an old copy), out of the database, while the rest sells on.

    What is lost is not sold from (503) until this has run. Killed half-way, it can be run again. It ends with an audit.
    Exit code 0: restored, or nothing was lost. 1: the audit found differences. 2: not done. 3: a side is away.

        booking restore --yes
    """
    from booking.restore.command import restore as run_restore

    sys.exit(run_restore(_read_settings(data_dir=data_dir), shard or [], yes=yes, force=force))


@app.command()
def token(
    user: Annotated[str, typer.Option(help="The user's id.")],
    role: Annotated[Literal["organizer", "user"], typer.Option(help="Organizers make and change events.")] = "user",
    expires_in: Annotated[int, typer.Option(help="Lifetime in seconds.", min=1, max=TOKEN_SECONDS_MAX)] = 3600,
    data_dir: DataDir = None,
) -> None:
    """Print a token, and nothing else, for trying things out.

    curl -H "Authorization: Bearer $(booking token --user 17)" http://127.0.0.1:8000/events/1/booking
    """
    from booking.web.tokens import sign_token

    settings = _read_settings(data_dir=data_dir)
    try:
        print(
            sign_token(
                settings.signing_secret(),
                user,
                "organizer" if role == "organizer" else None,
                expires_in,
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
            )
        )
    except (OSError, SettingsError, ValueError) as error:
        _fail(str(error))


@user.command("add")
def add_user(
    email: str,
    organizer: Annotated[bool, typer.Option("--organizer", help="Let the account make and change events.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Add an account, or set the password of one that is there.

    Asks for the password twice on a terminal; otherwise reads it as one line from standard input.

        booking user add ann@example.com --organizer
        openssl rand -base64 18 | tee password | booking user add ann@example.com
    """
    from booking.ledger.errors import LedgerError
    from booking.newcomers import add_account
    from booking.web.credentials import normalise_email

    settings = _read_settings(data_dir=data_dir)
    try:
        normalise_email(email)  # before a password is asked for in vain
        told = asyncio.run(add_account(settings.database_address, email, _ask_password(), organizer=organizer))
    except ValueError as error:
        _fail(str(error))
    except LedgerError as error:
        _fail(f"database: {error}", EXIT_FAILED)
    print(told)


def _ask_password() -> str:
    try:
        if sys.stdin.isatty():
            password = getpass("Password: ")
            if getpass("The same again: ") != password:
                raise ValueError("the two passwords differ")
        else:
            password = sys.stdin.buffer.readline().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("the password has to be UTF-8") from None
    except EOFError:
        raise ValueError("no password was given") from None
    if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
        raise ValueError(f"the password has to have {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters")
    return password


def _read_settings(**options: object) -> Settings:
    """The settings from the environment and the command line; a wrong one ends the program with a line for each."""
    try:
        return Settings.read(os.environ, **options)
    except SettingsError as error:
        _fail(str(error))


def _fail(message: str, exit_code: int = EXIT_WRONG_SETTING) -> NoReturn:
    for line in message.splitlines():
        print(f"booking: {line}", file=sys.stderr)
    sys.exit(exit_code)


def main() -> None:
    """The entry point. The load test is mounted only where it may be meant, so that the others stay quick."""
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    if sys.argv[1:2] and sys.argv[1] not in known | {"user"}:
        from booking.loadtest.command import loadtest

        app.command()(loadtest)
    app()
