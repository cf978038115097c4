"""Tells how many refunds wait for an organizer."""

from booking.domain.diagnosis import Finding, ok, warning
from booking.ledger import refunds
from booking.ledger.errors import LedgerError
from booking.ledger.inspection import Database
from booking.ledger.ledger import Ledger
from booking.ledger.migrate import newest_migration
from booking.settings import Settings

NAME = "refunds"


async def check_refunds(settings: Settings, database: Database | None) -> list[Finding]:
    """The finding; none if the table is not there yet."""
    if database is None or database.migration != newest_migration():
        return []
    ledger = Ledger.open(settings.database_address, 1)
    try:
        due, events = await refunds.count_due(ledger)
    except LedgerError as error:
        return [warning(NAME, str(error), "see database above")]
    finally:
        await ledger.close()
    if not due:
        return [ok(NAME, "none is due")]
    at = f"{events:,} event{'' if events == 1 else 's'}"
    return [ok(NAME, f"{due:,} due, at {at}: organizers mark them as done in the console, under Records")]
