"""What commands have in common: the settings, a failure in one line, and what their exit codes mean."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from booking.settings import EXIT_WRONG_SETTING, Settings, SettingsError

EXIT_FAILED = 1

EXIT_STOPPED = 130
"""Ctrl-C: 128 and the signal's number, as shells tell it."""

EXIT_NOBODY_READS = 141
"""The program behind the pipe has gone: 128 and SIGPIPE, as shells tell it."""

EXIT_CODES = """\
Exit codes
  0    done, and all is well
  1    it failed, or not all is well (audit: differences; doctor: a fault; loadtest: not clean)
  2    a setting, an option or an argument is wrong: standard error says which
  3    audit, restore: Redis or the database cannot be read
  130  stopped by Ctrl-C (serve and persist end with 0)
  141  nobody reads the output any more
"""
"""The one place where they are told, at the end of `booking --help`; commands say what theirs mean beyond that."""

DataDir = Annotated[
    Path | None, typer.Option(help="The folder of everything that has to last (BOOKING_DATA_DIR; ./data).")
]


def read_settings(**options: object) -> Settings:
    """The settings from the environment and the command line; a wrong one ends the program with a line for each."""
    try:
        return Settings.read(os.environ, **options)
    except SettingsError as error:
        fail(str(error))


def check_redis_address(settings: Settings) -> None:
    """Ends the program with a line where Redis's URL holds what its client cannot read; connects to nothing."""
    from booking.inventory.errors import AddressUnreadable
    from booking.inventory.inspection import check_address

    try:
        check_address(settings.redis_address)
    except AddressUnreadable as error:
        fail(f"BOOKING_REDIS_URL: {error}")


def check_database_address(settings: Settings) -> None:
    """Ends the program with a line where the database's URL names none that there could be; connects to nothing."""
    from booking.ledger.ledger import Ledger

    try:
        Ledger.open(settings.database_address)
    except ValueError as error:
        fail(f"BOOKING_DATABASE_URL: {error}")


def make_data_folder(settings: Settings) -> None:
    """Makes the folder of a database that is in the data folder; one that a URL names has to have its folder."""
    if settings.database_url is None:
        try:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            fail(f"BOOKING_DATA_DIR: {error.filename}: {error.strerror}")


def fail(message: str, exit_code: int = EXIT_WRONG_SETTING) -> NoReturn:
    """Ends the program with a line on standard error for each of the message's."""
    for line in message.splitlines():
        print(f"booking: {line}", file=sys.stderr)
    sys.exit(exit_code)
