"""What runs inside a child of `booking serve`: a web server on the inherited socket, the persister, or a first step.

    python -m booking.processes.entry_point web DESCRIPTOR [wait] | persist | persist DESCRIPTOR | migrate | inspect

The settings arrive as JSON on standard input, and their arrival is the go-ahead: what can be imported before is.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from booking.settings import EXIT_BEHIND, EXIT_WRONG_SETTING, Settings, SettingsError

EXIT_FAILED = 1

PERSISTER_NICENESS = 5
"""A quarter of a core is still its own where everything is busy, which carries more than is booked."""

INSPECTION_SECONDS = 1.0
"""How long a Redis that does not answer is waited for before it is looked at."""


def web(descriptor: int, *, waits: bool) -> None:
    """Serves until SIGTERM; one that `waits` answers with what is away at its start, where others end."""
    from booking.inventory.errors import InventoryUnavailable
    from booking.ledger.errors import LedgerUnavailable
    from booking.processes.web_server import serve

    settings = _receive_settings()
    with socket.socket(fileno=descriptor) as listener:
        try:
            serve(settings, listener, waits=waits)
        except (InventoryUnavailable, LedgerUnavailable) as error:
            _print_error(str(error))
            sys.exit(EXIT_FAILED)


def persist(watch: int | None) -> None:
    """Carries the stream into SQL until SIGTERM; gives way to everybody else where a supervisor listens on `watch`.

    Exits with EXIT_BEHIND when that is not enough.
    """
    import uvloop

    from booking.persister.persister import FallenBehind, run
    from booking.processes.priority import lower_priority

    if watch is None:
        with suppress(OSError):  # a sandbox may not let it
            os.nice(PERSISTER_NICENESS)
    courtesy = None if watch is None else partial(lower_priority, watch)
    try:
        uvloop.run(until_signalled(_receive_settings(), partial(run, lower_priority=courtesy)))
    except FallenBehind:
        sys.exit(EXIT_BEHIND)


def migrate() -> None:
    """Brings the database's tables up to date."""
    from booking.ledger.errors import LedgerError
    from booking.ledger.migrate import migrate as migrate_ledger

    settings = _receive_settings()
    try:
        asyncio.run(migrate_ledger(settings.database_address))
    except ValueError as error:
        raise SettingsError(f"BOOKING_DATABASE_URL: {error}") from None
    except LedgerError as error:
        _print_error(f"database: {error}")
        sys.exit(EXIT_FAILED)


def inspect() -> None:
    """Looks at a Redis that is not the tested one: says what should be changed about it, and refuses what must be.

    One that is away is told of, and left to the workers, who wait for it a little longer.
    """
    from booking.domain.diagnosis import Verdict
    from booking.inventory.errors import AddressUnreadable, InventoryUnavailable
    from booking.inventory.inspection import inspect as inspect_server
    from booking.inventory.inspection import location_of
    from booking.inventory.server_checks import start_checks

    settings = _receive_settings()
    variable = "BOOKING_REDIS_SERVER" if settings.embedded_redis else "BOOKING_REDIS_URL"
    patience_ends = time.monotonic() + INSPECTION_SECONDS
    while True:
        try:
            findings = start_checks(asyncio.run(inspect_server(settings.redis_address)))
            break
        except AddressUnreadable as error:
            raise SettingsError(f"{variable}: {error}") from None
        except InventoryUnavailable as error:
            if time.monotonic() > patience_ends:
                if not settings.embedded_redis:
                    advice = "start it, or correct the URL (host, port, user, password, redis:// or rediss://)"
                    _print_error(f"{variable}: {location_of(settings.redis_address)}: {error}; {advice}")
                return
            time.sleep(0.1)
    told = {
        verdict: [f"{variable}: {one.found}; {one.advice}" for one in findings if one.verdict is verdict]
        for verdict in Verdict
    }
    for line in told[Verdict.WARNING]:
        _print_error(line)
    if told[Verdict.FAULT]:
        raise SettingsError("\n".join(told[Verdict.FAULT]))


async def until_signalled(settings: Settings, run: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    """Runs the persister; SIGTERM or SIGINT tells it to drain and return."""
    from booking import logs

    logs.configure(settings.log_format)
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
                web(int(descriptor), waits=False)
            case ["web", descriptor, "wait"]:
                web(int(descriptor), waits=True)
            case ["persist"]:
                persist(None)
            case ["persist", watch]:
                persist(int(watch))
            case ["migrate"]:
                migrate()
            case ["inspect"]:
                inspect()
            case _:
                sys.exit(__doc__)
    except SettingsError as error:
        _print_error(str(error))
        sys.exit(EXIT_WRONG_SETTING)


def _receive_settings() -> Settings:
    return Settings.model_validate_json(sys.stdin.buffer.read())


def _print_error(message: str) -> None:
    for line in message.splitlines():
        print(f"booking: {line}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
