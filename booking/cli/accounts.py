"""The commands for users: `token` and `user add`."""

import asyncio
import sys
from getpass import getpass
from typing import Annotated, Literal

import typer

from booking.cli.invocation import EXIT_FAILED, DataDir, fail, make_data_folder, read_settings
from booking.domain.accounts import PASSWORD_CHARACTERS_MAX, PASSWORD_CHARACTERS_MIN
from booking.processes.data_folder import running_service
from booking.settings import SettingsError

TOKEN_SECONDS_MAX = 10 * 365 * 86_400


def token(
    user: Annotated[str, typer.Option(help="The user's id; an account's is account: and its number.")],
    role: Annotated[Literal["organizer", "user"], typer.Option(help="Organizers make and change events.")] = "user",
    expires_in: Annotated[int, typer.Option(help="Lifetime in seconds.", min=1, max=TOKEN_SECONDS_MAX)] = 3600,
    data_dir: DataDir = None,
) -> None:
    """Print a token, and nothing else, for trying things out.

    It is signed with BOOKING_JWT_SECRET, or with the secret in the data folder, as the service does it. If no service
    runs on that folder, standard error says which secret was used.

        curl -H "Authorization: Bearer $(booking token --user 17)" http://127.0.0.1:8000/events/1/booking
    """
    from booking.auth.tokens import sign_token

    settings = read_settings(data_dir=data_dir)
    is_new = not (settings.data_dir / "jwt-secret").exists()
    try:
        print(
            sign_token(
                settings.signing_secret(),
                user,
                "organizer" if role == "organizer" else None,
                expires_in,
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
            ),
            flush=True,
        )
    except BrokenPipeError:
        raise
    except (OSError, SettingsError, ValueError) as error:
        fail(str(error))
    if settings.jwt_secret is None and running_service(settings.data_dir) is None:
        which = "a new secret" if is_new else "the secret"
        warning = (
            f"signed with {which} in {settings.data_dir}; no service runs on that folder, and no other service accepts"
            " the token"
        )
        print(f"booking: {warning}", file=sys.stderr)


def add_user(
    email: Annotated[str, typer.Argument(help="The account's address; compared without case.")],
    organizer: Annotated[bool, typer.Option("--organizer", help="Let the account make and change events.")] = False,
    create_database: Annotated[
        bool, typer.Option("--create-database", help="Make the database if there is none, as the first start does.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Add an account, or set the password of an existing one.

    Asks for the password twice on a terminal; otherwise reads it as one line from standard input. Without a database
    of the service it does nothing (exit code 2): another folder may be meant.

        booking user add ann@example.com --organizer
        openssl rand -base64 18 | tee password | booking user add ann@example.com
    """
    from booking.auth.emails import normalise_email
    from booking.ledger.errors import LedgerError
    from booking.operations.accounts import add_account, require_database

    settings = read_settings(data_dir=data_dir)
    try:
        normalise_email(email)  # before it asks for a password
        if not create_database:
            asyncio.run(require_database(settings.database_address))
        password = _ask_password()
        make_data_folder(settings)
        message = asyncio.run(add_account(settings.database_address, email, password, organizer=organizer))
    except ValueError as error:
        fail(str(error))
    except LedgerError as error:
        fail(f"database: {error}", EXIT_FAILED)
    print(message)


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
