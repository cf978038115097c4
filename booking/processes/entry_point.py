"""What the children of `booking serve` run: a web worker, the persister, the outbox, the migration, the inspection.

    web DESCRIPTORS [wait] [drain] | persist [DESCRIPTOR] | notify | migrate | check-schema | inspect

The settings come as JSON on standard input. Their arrival is the permission to go on. The children are forks of the
supervisor, so everything is imported here, and once.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial

import uvloop

from booking import logs
from booking.domain.diagnosis import Verdict
from booking.inventory.errors import AddressUnreadable, CommandRefused, InventoryUnavailable
from booking.inventory.inspection import inspect_all
from booking.inventory.server_checks import check_each, start_checks
from booking.ledger.errors import DatabaseUnfit, LedgerError, LedgerUnavailable, NotMigrated
from booking.ledger.migrate import check_schema
from booking.ledger.migrate import migrate as migrate_ledger
from booking.operations.accounts import has_organizer
from booking.operations.restore.automatic import restore_behind
from booking.operations.signing_secret import check_signing_secret
from booking.outbox import process as outbox
from booking.persister.persister import FallenBehind, run
from booking.processes.priority import lower_priority
from booking.processes.web_server import serve
from booking.settings import EXIT_BEHIND, EXIT_WRONG_SETTING, Settings, SettingsError
from booking.web.responses import change_data

EXIT_FAILED = 1

PERSISTER_NICENESS = 5
"""With this niceness it gets a quarter of a busy core, which is enough to consume more than is booked."""

OUTBOX_NICENESS = 10
"""With this niceness it gets a tenth of a busy core."""

INSPECTION_SECONDS = 1.0
"""How long the inspection waits for a Redis that does not answer."""


def web(descriptors: str, *, waits: bool, drains: bool) -> None:
    """Serves on the sockets with these descriptors, separated by commas, until SIGTERM.

    If Redis or the database cannot be reached at the start, the process exits; with `waits` it serves, and answers with
    the problem until they are back. `drains`: the service is about to stop.
    """
    settings = _receive_settings()
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.socket(fileno=int(descriptor))) for descriptor in descriptors.split(",")
        ]
        try:
            serve(settings, listeners, waits=waits, drains=drains)
        except (InventoryUnavailable, LedgerUnavailable) as error:
            _print_error(str(error))
            sys.exit(EXIT_FAILED)


def persist(watch: int | None) -> None:
    """Runs the persister until SIGTERM; with the lowest priority if a supervisor reads heartbeats from `watch`.

    At level `database` its priority is normal, because every buyer waits for it. Exits with EXIT_BEHIND if the lowest
    priority leaves it too little processor time.
    """
    settings = _receive_settings()
    lower = None
    if settings.ack != "database":
        if watch is not None:
            lower = partial(lower_priority, watch)
        else:
            with suppress(OSError):  # a sandbox may refuse it
                os.nice(PERSISTER_NICENESS)
    try:
        uvloop.run(until_signalled(settings, partial(run, lower_priority=lower, restore=restore_behind)))
    except FallenBehind:
        sys.exit(EXIT_BEHIND)


def notify() -> None:
    """Runs the outbox until SIGTERM, at a low priority: no buyer waits for it."""
    settings = _receive_settings()
    with suppress(OSError):  # a sandbox may refuse it
        os.nice(OUTBOX_NICENESS)
    uvloop.run(until_signalled(settings, partial(outbox.run, render=change_data)))


def migrate(*, only_checks: bool) -> None:
    """Migrates the database to the newest tables; with `only_checks`, exits with an error if they are not there.

    Then it compares this node's secret with the one of the other nodes, and says how to make an organizer if there is
    none.
    """
    settings = _receive_settings()
    try:
        asyncio.run((check_schema if only_checks else migrate_ledger)(settings.database_address))
        asyncio.run(check_signing_secret(settings))  # here, so that one process tells it, and not each worker
        if settings.has_accounts and not asyncio.run(has_organizer(settings.database_address)):
            _print_error("no account is an organizer's yet; `booking user add EMAIL --organizer` makes one")
    except (ValueError, DatabaseUnfit, NotMigrated) as error:
        raise SettingsError(f"BOOKING_DATABASE_URL: {error}") from None
    except LedgerError as error:
        _print_error(f"database: {error}")
        sys.exit(EXIT_FAILED)


def inspect() -> None:
    """Checks a Redis that the service does not bring itself: prints warnings, and exits if it has a fault.

    If Redis cannot be reached, that is printed and is no error: the web workers wait for it a little longer.
    """
    settings = _receive_settings()
    variable = "BOOKING_REDIS_SERVER" if settings.embedded_redis else "BOOKING_REDIS_URL"
    deadline = time.monotonic() + INSPECTION_SECONDS
    while True:
        inspected = asyncio.run(inspect_all(settings.redis_address, settings.shards))
        away = {where: one for where, one in inspected.servers.items() if isinstance(one, InventoryUnavailable)}
        if wrong := [one for one in away.values() if isinstance(one, AddressUnreadable | CommandRefused)]:
            raise SettingsError("\n".join(f"{variable}: {one}" for one in wrong))
        if not away or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    for where, error in away.items():
        if not settings.embedded_redis:
            advice = "start it, or correct the URL (host, port, user, password, redis:// or rediss://)"
            _print_error(f"{variable}: {where}: {error}; {advice}")
    findings = check_each(
        {
            where: start_checks(one, inspected.form)
            for where, one in inspected.servers.items()
            if not isinstance(one, InventoryUnavailable)
        }
    )
    lines = {
        verdict: [f"{variable}: {one.found}; {one.advice}" for one in findings if one.verdict is verdict]
        for verdict in Verdict
    }
    for line in lines[Verdict.WARNING]:
        _print_error(line)
    if lines[Verdict.FAULT]:
        raise SettingsError("\n".join(lines[Verdict.FAULT]))


async def until_signalled(settings: Settings, run: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    """Runs the persister or the outbox until SIGTERM or SIGINT; it then ends what it has begun, and returns."""
    logs.configure(settings.log_format, settings.node)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop)


def main(arguments: Sequence[str]) -> None:
    """Runs the named program. If settings are wrong, prints a line for each and exits with EXIT_WRONG_SETTING."""
    logs.never_wait()
    try:
        match arguments:
            case ["web", descriptors, *words]:
                web(descriptors, waits="wait" in words, drains="drain" in words)
            case ["persist"]:
                persist(None)
            case ["persist", watch]:
                persist(int(watch))
            case ["notify"]:
                notify()
            case ["migrate"]:
                migrate(only_checks=False)
            case ["check-schema"]:
                migrate(only_checks=True)
            case ["inspect"]:
                inspect()
            case _:
                sys.exit(__doc__)
    except SettingsError as error:
        _print_error(str(error))
        sys.exit(EXIT_WRONG_SETTING)


def _receive_settings() -> Settings:
    """Waits for the settings."""
    return Settings.model_validate_json(sys.stdin.buffer.read())


def _print_error(message: str) -> None:
    for line in message.splitlines():
        print(f"booking: {line}", file=sys.stderr)
