"""The commands for operators: `doctor`, `audit`, `restore`, `rotate-secret`."""

import asyncio
import os
import sys
from typing import Annotated

import typer

from booking.cli.invocation import (
    EXIT_FAILED,
    DataDir,
    check_database_address,
    check_redis_address,
    fail,
    read_settings,
)
from booking.settings import SettingsError

EVENT_ID_MAX = 10**15 - 1
"""The largest event id that a path can hold (contract)."""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings and the settings as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Check everything that the service needs, and report what is wrong and what to do. Changes nothing.

    Settings, data folder and disk; Redis: version, persistence, eviction, memory; database, migrations; shards and the
    persister's lag; secrets and keys; clocks; open files. The service may run or not: checks that need a running part
    are left out if it does not run. Secrets are never shown. Exit code 0: no fault, though there may be warnings.
    1: a fault. 2: a setting is wrong, so that nothing could be checked.

        booking doctor
        booking doctor | grep -v ^ok
        booking doctor --json | jq '.findings[] | select(.verdict == "fault")'
    """
    from booking.operations.doctor.command import diagnose
    from booking.processes.data_folder import running_service

    settings = read_settings(data_dir=data_dir)
    check_database_address(settings)
    sys.exit(diagnose(settings, os.environ, running_service(settings.data_dir), as_json=as_json))


def audit(
    event_ids: Annotated[
        list[int] | None, typer.Argument(help="Events; all of them if none is given.", min=1, max=EVENT_ID_MAX)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Compare Redis with the database, booking by booking, while the service runs. Repairs nothing.

    Exit code 0: they agree. 1: there are differences; each is listed with its meaning. 2: there is no such event.
    3: Redis or the database cannot be read.

        booking audit
        booking audit 17 --json
    """
    from booking.operations.audit.command import audit as run_audit

    settings = read_settings(data_dir=data_dir)
    check_database_address(settings)
    check_redis_address(settings)
    sys.exit(run_audit(settings, event_ids or [], as_json=as_json))


def restore(
    shard: Annotated[list[int] | None, typer.Option(help="This shard; all lost ones if none is given.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also rewrite shards that Redis has not lost.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Restore from the database what Redis has lost (it is empty, or an old copy). Other shards go on selling.

    A lost shard sells nothing (503) until this has run. If it is stopped half-way, run it again. It ends with an audit.
    Exit code 0: restored, or nothing was lost. 1: the audit found differences. 2: not done. 3: Redis or the database
    cannot be read.

        booking restore --yes
    """
    from booking.operations.restore.command import restore as run_restore

    settings = read_settings(data_dir=data_dir)
    check_database_address(settings)
    check_redis_address(settings)
    sys.exit(run_restore(settings, shard or [], yes=yes, force=force))


def rotate_secret(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, data_dir: DataDir = None
) -> None:
    """Make the secret that is set here the one that signs tokens, in place of the one that all nodes had.

    The database has the secret's fingerprint, and a node with another secret does not start. Stop all nodes, run this
    with the new BOOKING_JWT_SECRET, and start them with it. All tokens that the old one has signed end.

        BOOKING_JWT_SECRET="$(cat new-secret)" booking rotate-secret --yes
    """
    from booking.ledger.errors import LedgerError
    from booking.operations.signing_secret import replace_signing_secret

    settings = read_settings(data_dir=data_dir)
    check_database_address(settings)
    if not yes and not sys.stdin.isatty():
        fail("standard input is no terminal to ask on; say --yes")
    if not yes and not typer.confirm("End all tokens that were signed with another secret?"):
        fail("nothing was changed", EXIT_FAILED)
    try:
        print(asyncio.run(replace_signing_secret(settings)))
    except SettingsError as error:
        fail(str(error))
    except LedgerError as error:
        fail(f"database: {error}", EXIT_FAILED)
