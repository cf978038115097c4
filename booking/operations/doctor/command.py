"""`booking doctor`: runs all checks at the same time, and shows their findings."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from booking.domain.diagnosis import Finding, Verdict
from booking.operations.doctor.configuration import check_settings, shown
from booking.operations.doctor.credentials import check_credentials
from booking.operations.doctor.database import check_ledger, check_shards
from booking.operations.doctor.folder import check_folder, check_service
from booking.operations.doctor.machine import check_clock, check_open_files
from booking.operations.doctor.mail import check_mail
from booking.operations.doctor.outbox import check_outbox
from booking.operations.doctor.refunds import check_refunds
from booking.operations.doctor.stock import check_redis
from booking.operations.signing_secret import compare_signing_secret
from booking.settings import Settings

HEALTHY, FAULTY = 0, 1
"""Exit codes: no fault, though there may be warnings; at least one fault."""

STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAULT: "bold red"}


Service = Mapping[str, object]
"""The content of service.json of the service that runs on the data folder."""


def diagnose(settings: Settings, environment: Mapping[str, str], service: Service | None, *, as_json: bool) -> int:
    """Runs all checks, prints the findings to standard output and returns the exit code.

    `service` is the service that runs on the data folder; None if there is none.
    """
    findings = asyncio.run(examine(settings, environment, service))
    if as_json:
        print(json.dumps(_document(settings, findings), indent=2))
    elif sys.stdout.isatty():
        show(findings, Console())
    else:
        print("\n".join(plain_lines(findings)))
    return FAULTY if any(finding.verdict is Verdict.FAULT for finding in findings) else HEALTHY


async def examine(settings: Settings, environment: Mapping[str, str], service: Service | None) -> list[Finding]:
    """All findings, in an order for people. Nothing is changed."""
    serving = service is not None
    readiness, (stock, servers), (ledger, database), credentials, mail = await asyncio.gather(
        check_service(service),
        check_redis(settings, serving=serving),
        check_ledger(settings),
        check_credentials(settings),
        check_mail(settings),
    )
    reachable = bool(servers)
    shards = await check_shards(settings, database, reachable=reachable, serving=serving) if database else []
    skews = {
        "Redis": max((server.clock_skew_seconds for server in servers), key=abs, default=None),
        "the database": database.clock_skew_seconds if database is not None else None,
    }
    return [
        *check_settings(settings, environment),
        *check_folder(settings.data_dir),
        readiness,
        *stock,
        *ledger,
        *shards,
        *await check_outbox(settings, database),
        *await check_refunds(settings, database),
        *credentials,
        *mail,
        *compare_signing_secret(settings, database.signing_secret if database else None),
        check_clock(skews),
        check_open_files(settings),
    ]


def show(findings: Sequence[Finding], console: Console) -> None:
    """Prints the findings to a terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        style = STYLES[finding.verdict]
        text = Text(finding.found)
        if finding.advice:
            text.append(f"\n→ {finding.advice}", style)
        table.add_row(Text(finding.verdict, style), Text(finding.name), text)
    console.print(table)
    console.print(Text(_summary(findings), "bold"))


def plain_lines(findings: Sequence[Finding]) -> list[str]:
    """The findings for a pipe: one line for each, so that they can be searched."""
    lines = []
    for finding in findings:
        advice = f" -> {finding.advice}" if finding.advice else ""
        lines.append(f"{finding.verdict:<7}  {finding.name:<17}  {finding.found}{advice}")
    return [*lines, _summary(findings)]


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.verdict for finding in findings)
    text = [
        f"{number} {word}{'' if number == 1 else 's'}"
        for word, number in (("fault", counts[Verdict.FAULT]), ("warning", counts[Verdict.WARNING]))
        if number
    ]
    return f"{len(findings)} checks: {', '.join(text) or 'no problems'}."


def _document(settings: Settings, findings: Sequence[Finding]) -> dict[str, object]:
    return {
        "ok": all(finding.verdict is not Verdict.FAULT for finding in findings),
        "findings": [asdict(finding) for finding in findings],
        "settings": {
            name: {"value": shown(settings, name), "set": name in settings.model_fields_set}
            for name in type(settings).model_fields
        },
    }
