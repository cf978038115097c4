"""The commands for users: `token`, and those of the group `user`."""

import asyncio
import sys
from collections.abc import Coroutine
from getpass import getpass
from typing import Annotated, Any, Literal, TypeVar

import typer

from booking.cli.invocation import EXIT_FAILED, DataDir, check_redis_address, fail, make_data_folder, read_settings
from booking.domain.accounts import PASSWORD_CHARACTERS_MAX, PASSWORD_CHARACTERS_MIN, Role
from booking.processes.data_folder import running_service
from booking.settings import SettingsError

TOKEN_SECONDS_MAX = 10 * 365 * 86_400

Email = Annotated[str, typer.Argument(help="The account's address; compared without case.")]

Result = TypeVar("Result")


def token(
    user: Annotated[str, typer.Option(help="The user's id; an account's is account: and its number.")],
    role: Annotated[
        Literal["user", "organizer", "admin", "service"],
        typer.Option(
            help="Organizers make events, and change their own; administrators change all; a service acts for buyers."
        ),
    ] = "user",
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
                None if role == "user" else role,
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
    email: Email,
    organizer: Annotated[bool, typer.Option("--organizer", help="The same as --role organizer.")] = False,
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.USER,
    create_database: Annotated[
        bool, typer.Option("--create-database", help="Make the database if there is none, as the first start does.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Add an account, or set the password of an existing one.

    Asks for the password twice on a terminal; otherwise reads it as one line from standard input. An organizer sees and
    changes the events that it created, an administrator (admin) all events. Without a database of the service it does
    nothing (exit code 2): another folder may be meant.

        booking user add ann@example.com --role organizer
        openssl rand -base64 18 | tee password | booking user add ann@example.com
    """
    from booking.operations.accounts import add_account, require_database

    settings = read_settings(data_dir=data_dir)
    _check(email)
    if not create_database:
        _done(require_database(settings.database_address))
    password = _password_for(email)
    make_data_folder(settings)
    if organizer and role is Role.USER:
        role = Role.ORGANIZER
    _run(add_account(settings.database_address, email, password, role))


def set_password(email: Email, data_dir: DataDir = None) -> None:
    """Set the password of an account, and end its tokens.

    Asks for the password as `booking user add` does. Tokens end at once on the calls of organizers, and within a minute
    on all others.

        booking user set-password ann@example.com
    """
    from booking.operations.accounts import set_password as set_it

    settings = read_settings(data_dir=data_dir)
    _run(set_it(settings.database_address, email, _password_for(email)))


def promote(
    email: Email,
    role: Annotated[Literal["organizer", "admin"], typer.Option(help="What it may do.")] = "organizer",
    data_dir: DataDir = None,
) -> None:
    """Let an account create events (organizer), or see and change all events (admin), from its next login.

    booking user promote ann@example.com
    booking user promote ann@example.com --role admin
    """
    from booking.operations.accounts import promote as promote_it

    settings = read_settings(data_dir=data_dir)
    _run(promote_it(settings.database_address, email, Role(role)))


def demote(email: Email, data_dir: DataDir = None) -> None:
    """Make an organizer or administrator a plain user, and end its tokens. Its events go on.

    Tokens end at once on the calls of organizers, and within a minute on all others.

        booking user demote ann@example.com
    """
    from booking.operations.accounts import demote as demote_it

    settings = read_settings(data_dir=data_dir)
    _run(demote_it(settings.database_address, email))


def remove(
    email: Email,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Cancel its live bookings.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Remove an account: erase its email and password, and end its tokens. Its bookings stay under its user id.

    Refuses while it has live bookings, unless --force cancels them. For a minute after that, a token may still book.
    The service, or at least its Redis and persister, has to run.

        booking user remove ann@example.com
        booking user remove ann@example.com --yes --force
    """
    from booking.operations.accounts import remove_account

    settings = read_settings(data_dir=data_dir)
    check_redis_address(settings)
    if not yes and not sys.stdin.isatty():
        fail("standard input is no terminal to ask on; say --yes")
    if yes or typer.confirm(f"Remove the account {email}?"):
        _run(remove_account(settings, email, force=force))
    else:
        fail("nothing was changed", EXIT_FAILED)


def list_users(
    role: Annotated[Role | None, typer.Option(help="Only accounts with this role.")] = None, data_dir: DataDir = None
) -> None:
    """List the accounts: user id, role and email, one a line.

    booking user list
    booking user list --role organizer
    """
    from booking.operations.accounts import list_accounts

    settings = read_settings(data_dir=data_dir)
    for user_id, its_role, email in _done(list_accounts(settings.database_address, role)):
        print(f"{user_id:<16} {its_role:<9} {email}")


def _run(work: Coroutine[Any, Any, str]) -> None:
    """Does it, and prints what was done."""
    print(_done(work))


def _done(work: Coroutine[Any, Any, Result]) -> Result:
    """The result. If it fails, prints a line and exits."""
    from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
    from booking.ledger.errors import LedgerError
    from booking.operations.accounts import Refused

    try:
        return asyncio.run(work)
    except ValueError as error:
        fail(str(error))
    except Refused as error:
        fail(str(error), EXIT_FAILED)
    except LedgerError as error:
        fail(f"database: {error}", EXIT_FAILED)
    except (InventoryUnavailable, OutcomeUnknown, Overloaded) as error:
        fail(f"Redis: {error}; is the service running?", EXIT_FAILED)


def _password_for(email: str) -> str:
    """The password that is entered for this email. If one of the two is not valid, prints why, and exits."""
    _check(email)
    try:
        return _ask_password()
    except ValueError as error:
        fail(str(error))


def _check(email: str) -> None:
    from booking.auth.emails import normalise_email

    try:
        normalise_email(email)
    except ValueError as error:
        fail(str(error))


def _ask_password() -> str:
    bounds = f"{PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters"
    try:
        if sys.stdin.isatty():
            password = getpass(f"Password ({bounds}): ")
            if getpass("The same again: ") != password:
                raise ValueError("the two passwords differ")
        else:
            password = sys.stdin.buffer.readline().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("the password has to be UTF-8") from None
    except EOFError:
        raise ValueError("no password was given") from None
    if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
        raise ValueError(f"the password has to have {bounds}")
    return password
