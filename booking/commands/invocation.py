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


def fail(message: str, exit_code: int = EXIT_WRONG_SETTING) -> NoReturn:
    """Ends the program with a line on standard error for each of the message's."""
    for line in message.splitlines():
        print(f"booking: {line}", file=sys.stderr)
    sys.exit(exit_code)
