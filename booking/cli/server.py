"""The commands that run the service or a part of it: `serve`, `migrate`, `persist`, `notify`."""

import asyncio
import gc
import sys
from functools import partial
from typing import Annotated

import typer

from booking.cli.invocation import (
    EXIT_FAILED,
    DataDir,
    check_database_address,
    check_redis_address,
    fail,
    make_data_folder,
    read_settings,
)
from booking.settings import SettingsError


def serve(
    host: Annotated[
        str | None, typer.Option(help="Addresses to listen on, comma-separated (BOOKING_HOST; 127.0.0.1).")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0: any free port (PORT or BOOKING_PORT; 8000).")] = None,
    workers: Annotated[int | None, typer.Option(help="Web processes (BOOKING_WORKERS; 1).")] = None,
    data_dir: DataDir = None,
    without_persister: Annotated[
        bool, typer.Option("--without-persister", help="Do not write to SQL: a separate `booking persist` does.")
    ] = False,
    without_outbox: Annotated[
        bool, typer.Option("--without-outbox", help="Do not call webhooks: a separate `booking notify` does.")
    ] = False,
    no_migrate: Annotated[
        bool,
        typer.Option("--no-migrate", help="Do not change tables: exit with code 2 if they are of another version."),
    ] = False,
) -> None:
    """Serve: web workers, the persister, the outbox, and an embedded Redis unless BOOKING_REDIS_URL names one.

    A process that dies is started again. Ctrl-C or SIGTERM finishes the running requests and ends with exit code 0. A
    Redis that would evict bookings when its memory is full is refused (exit code 2).

        booking serve --port 8080 --workers 2
        BOOKING_REDIS_URL=redis://cache:6379 BOOKING_DATABASE_URL=postgresql://shop@db/shop booking serve
    """
    settings = read_settings(host=host, port=port, workers=workers, data_dir=data_dir)
    gc.disable()  # the imports of all child processes leave no garbage; collections took a quarter of their time
    from booking.logs import never_wait
    from booking.processes.supervisor import StartFailed, Supervisor

    gc.freeze()  # a collection in a child would copy the memory that it shares with the supervisor
    gc.enable()
    never_wait()
    try:
        supervisor = Supervisor(
            settings, with_persister=not without_persister, with_outbox=not without_outbox, migrates=not no_migrate
        )
        code = asyncio.run(supervisor.run())
    except StartFailed as error:
        fail(str(error), error.exit_code)
    sys.exit(code)


def migrate(
    data_dir: DataDir = None,
    records: Annotated[
        bool, typer.Option("--records", help="Also write Redis's records in this version's format from now on.")
    ] = False,
) -> None:
    """Bring the database's tables up to date; `booking serve` does so by itself.

    Run it once before you start several `booking serve` with one database. It may be run again at any time. Run it with
    `--records` once every node and persister has this version: older ones sell nothing afterwards.

        BOOKING_DATABASE_URL=postgresql://shop@db/shop booking migrate
    """
    from booking.inventory.errors import InventoryUnavailable
    from booking.ledger.engine import location_of
    from booking.ledger.errors import DatabaseUnfit, LedgerError
    from booking.ledger.migrate import migrate as migrate_ledger
    from booking.operations.record_format import version_records

    settings = read_settings(data_dir=data_dir)
    make_data_folder(settings)
    try:
        asyncio.run(migrate_ledger(settings.database_address))
        print(f"The database {location_of(settings.database_address)} is up to date.")
        if records:
            print(asyncio.run(version_records(settings)))
    except (ValueError, DatabaseUnfit) as error:
        fail(f"BOOKING_DATABASE_URL: {error}")
    except LedgerError as error:
        fail(f"database: {error}", EXIT_FAILED)
    except InventoryUnavailable as error:
        fail(str(error), EXIT_FAILED)


def persist(data_dir: DataDir = None) -> None:
    """Write changes from Redis into SQL until Ctrl-C or SIGTERM, for `booking serve --without-persister`.

    One is enough for any number of nodes. Several share the shards, and each change is applied once. It waits for the
    tables of its version (`booking migrate`), and exits with code 2 if a newer version has migrated them. With
    BOOKING_PERSIST_PORT it answers /healthz and /metrics on that port.

        BOOKING_REDIS_URL=redis://cache:6379 BOOKING_DATABASE_URL=postgresql://shop@db/shop booking persist
    """
    import uvloop

    from booking.logs import never_wait
    from booking.operations.restore.automatic import restore_behind
    from booking.persister.persister import Health, run_when_migrated
    from booking.processes.entry_point import until_signalled
    from booking.processes.health import PERSISTER, serving_health

    settings = read_settings(data_dir=data_dir)
    check_database_address(settings)
    check_redis_address(settings)
    never_wait()
    try:
        health = Health()
        with serving_health(settings, health, PERSISTER):
            uvloop.run(until_signalled(settings, partial(run_when_migrated, health=health, restore=restore_behind)))
    except SettingsError as error:
        fail(str(error))


def notify(data_dir: DataDir = None) -> None:
    """Call the webhooks of organizers until Ctrl-C or SIGTERM, for `booking serve --without-outbox`.

    One of any number does it at a time, and another one goes on if that is killed. It needs the database alone. It
    waits for the tables of its version (`booking migrate`), and exits with code 2 if a newer version has migrated them.
    With BOOKING_NOTIFY_PORT it answers /healthz and /metrics on that port.

        BOOKING_DATABASE_URL=postgresql://shop@db/shop booking notify
    """
    import uvloop

    from booking.logs import never_wait
    from booking.outbox.process import Health, run_when_migrated
    from booking.processes.entry_point import until_signalled
    from booking.processes.health import OUTBOX, serving_health
    from booking.web.responses import change_data

    settings = read_settings(data_dir=data_dir)
    check_database_address(settings)
    never_wait()
    try:
        health = Health()
        with serving_health(settings, health, OUTBOX):
            uvloop.run(until_signalled(settings, partial(run_when_migrated, health=health, render=change_data)))
    except SettingsError as error:
        fail(str(error))
