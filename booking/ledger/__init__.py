"""SQL: the durable record of every sale, for queries."""

from booking.ledger.errors import CursorMoved, EmailTaken, LedgerConflict, LedgerError, LedgerUnavailable
from booking.ledger.ledger import Ledger
from booking.ledger.migrate import migrate
from booking.ledger.records import Count, EventRecord, SeqGap, ShardRecord

__all__ = [
    "Count",
    "CursorMoved",
    "EmailTaken",
    "EventRecord",
    "Ledger",
    "LedgerConflict",
    "LedgerError",
    "LedgerUnavailable",
    "SeqGap",
    "ShardRecord",
    "migrate",
]
