"""What runs inside a child of `booking serve`: a web server on the inherited socket, the persister, or the migration.

    python -m booking.worker web DESCRIPTOR | persist | persist pressing | migrate

The settings arrive as JSON on standard input, and their arrival is the go-ahead: what can be imported before is.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable

from booking.settings import EXIT_BEHIND, EXIT_WRONG_SETTING, Settings, SettingsError

EXIT_FAILED = 1

PERSISTER_NICENESS = 5
"""A quarter of a core is still its own where everything is busy, which carries more than is booked."""


def web(descriptor: int) -> None:
    """Serves until SIGTERM."""
    from booking.app import create_app
    from booking.inventory.errors import InventoryUnavailable
    from booking.ledger.errors import LedgerUnavailable
    from booking.web.server import serve

    settings = _receive_settings()
    with socket.socket(fileno=descriptor) as listener:
        try:
            serve(create_app(settings), settings, listener)
        except (InventoryUnavailable, LedgerUnavailable) as error:
            _complain(str(error))
            sys.exit(EXIT_FAILED)


def persist(*, pressing: bool) -> None:
    """Carries the stream into SQL until SIGTERM.

    Unless it is `pressing`, it runs only when nothing else wants the processor: a buyer waits for the web workers and
    for Redis, and nobody for this. On two busy cores its transactions are else what the p99 of bookings is made of (6
    against 9 to 12 ms at half of what one worker can do). Exits with EXIT_BEHIND when that is not enough.
    """
    import uvloop

    from booking.persister import FallenBehind, run, run_giving_way

    gives_way = not pressing and hasattr(os, "SCHED_IDLE")
    if gives_way:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(PERSISTER_NICENESS)
    try:
        uvloop.run(until_told(_receive_settings(), run_giving_way if gives_way else run))
    except FallenBehind:
        _complain("the persister falls behind; it goes on without giving way to everything else")
        sys.exit(EXIT_BEHIND)


def migrate() -> None:
    """Brings the database's tables up to date."""
    from booking.ledger.errors import LedgerUnavailable
    from booking.ledger.migrate import migrate as migrate_ledger

    settings = _receive_settings()
    try:
        asyncio.run(migrate_ledger(settings.database_address))
    except ValueError as error:
        raise SettingsError(f"BOOKING_DATABASE_URL: {error}") from None
    except LedgerUnavailable as error:
        _complain(f"database: {error}")
        sys.exit(EXIT_FAILED)


async def until_told(settings: Settings, run: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    """Runs the persister; SIGTERM or SIGINT tells it to drain and return."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop)


def main(arguments: list[str]) -> None:
    """Runs the part that is named; exits with EXIT_WRONG_SETTING and a line for each when settings are wrong."""
    try:
        match arguments:
            case ["web", descriptor]:
                web(int(descriptor))
            case ["persist"]:
                persist(pressing=False)
            case ["persist", "pressing"]:
                persist(pressing=True)
            case ["migrate"]:
                migrate()
            case _:
                sys.exit(__doc__)
    except SettingsError as error:
        _complain(str(error))
        sys.exit(EXIT_WRONG_SETTING)


def _receive_settings() -> Settings:
    return Settings.model_validate_json(sys.stdin.buffer.read())


def _complain(message: str) -> None:
    for line in message.splitlines():
        print(f"booking: {line}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
