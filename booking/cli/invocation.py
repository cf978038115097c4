"""Shared by all commands: reading the settings, one-line error messages, and exit codes."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from booking.settings import EXIT_WRONG_SETTING, Settings, SettingsError

EXIT_FAILED = 1

EXIT_STOPPED = 130
"""Stopped by Ctrl-C: 128 plus the signal's number, as in shells."""

EXIT_BROKEN_PIPE = 141
"""The program that read the output has ended: 128 plus SIGPIPE's number, as in shells."""

EXIT_CODES = """\
Exit codes
  0    success, no problem found
  1    it failed, or found a problem (audit: differences; doctor: a fault; loadtest: not clean)
  2    a setting, an option or an argument is wrong: standard error says which
  3    audit, restore: Redis or the database cannot be read
  130  stopped by Ctrl-C (serve and persist end with 0)
  141  the reader of the output has closed it
"""
"""Shown at the end of `booking --help`. A command's own help adds what is special to it."""

DataDir = Annotated[Path | None, typer.Option(help="The folder for all persistent data (BOOKING_DATA_DIR; ./data).")]


def read_settings(**options: object) -> Settings:
    """The settings from the environment and the command line. If some are wrong, prints a line for each, and exits."""
    try:
        return Settings.read(os.environ, **options)
    except SettingsError as error:
        fail(str(error))


def check_redis_address(settings: Settings) -> None:
    """Exits with a message if the client cannot parse Redis's URL. It does not connect."""
    from booking.inventory.errors import AddressUnreadable
    from booking.inventory.inspection import check_address

    try:
        check_address(settings.redis_address)
    except AddressUnreadable as error:
        fail(f"BOOKING_REDIS_URL: {error}")


def check_database_address(settings: Settings) -> None:
    """Exits with a message if the database's URL is not valid. It does not connect."""
    from booking.ledger.ledger import Ledger

    try:
        Ledger.open(settings.database_address)
    except ValueError as error:
        fail(f"BOOKING_DATABASE_URL: {error}")


def make_data_folder(settings: Settings) -> None:
    """Makes the data folder if the database is in it. The folder of a database that a URL names must exist."""
    if settings.database_url is None:
        try:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            fail(f"BOOKING_DATA_DIR: {error.filename}: {error.strerror}")


def fail(message: str, exit_code: int = EXIT_WRONG_SETTING) -> NoReturn:
    """Prints each line of the message to standard error, and exits."""
    for line in message.splitlines():
        print(f"booking: {line}", file=sys.stderr)
    sys.exit(exit_code)
