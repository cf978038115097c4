"""Checks the webhooks: whether one is disabled, and whether they are told in time."""

import time

from booking.domain.diagnosis import Finding, ok, warning
from booking.ledger.errors import LedgerError
from booking.ledger.inspection import Database
from booking.ledger.ledger import Ledger
from booking.ledger.migrate import newest_migration
from booking.ledger.webhooks import WebhookLedger
from booking.settings import Settings

NAME = "webhooks"

LATE_SECONDS = 300.0
"""How long a change may wait before it is worth a warning. A webhook that fails is tried after 5, 30 and 120 s."""


async def check_outbox(settings: Settings, database: Database | None) -> list[Finding]:
    """The findings; none if the tables are not there yet."""
    if database is None or database.migration != newest_migration():
        return []
    ledger = Ledger.open(settings.database_address, 1)
    try:
        webhooks = WebhookLedger(ledger)
        disabled, waiting = await webhooks.disabled(), await webhooks.waiting()
    except LedgerError as error:
        return [warning(NAME, str(error), "see database above")]
    finally:
        await ledger.close()
    findings = []
    if disabled:
        found = "; ".join(f"{webhook_id} is disabled ({reason.rstrip('.')})" for webhook_id, reason in disabled.items())
        advice = "have its owner repair it, and then enable it with PATCH /webhooks/{id}, or remove it"
        findings.append(warning(NAME, found, advice))
    now_ms = time.time() * 1000
    late = {
        webhook_id: (now_ms - one.oldest_ms) / 1000
        for webhook_id, one in waiting.items()
        if one.oldest_ms is not None and now_ms - one.oldest_ms > LATE_SECONDS * 1000
    }
    if late:
        found = "; ".join(f"{webhook_id} is behind by {seconds:,.0f} s" for webhook_id, seconds in late.items())
        advice = "GET /webhooks/{id}/deliveries says why; if it has none, check that booking notify or serve runs"
        findings.append(warning(NAME, found, advice))
    return findings or [ok(NAME, f"{len(waiting)}, told of every change")]
