"""The ledger's errors. Their messages hold no query, no parameter and no password."""

from booking.ledger.records import ShardRecord


class LedgerError(Exception):
    """The database refused a statement. An error of exactly this class is a bug in this service; no caller can help."""


class LedgerUnavailable(LedgerError):
    """The database can't be used now: unreachable, locked, full or not migrated. The same call may work later.

    A write that raises this may have been committed all the same. For `apply` the cursors show whether it was.
    """


class NotMigrated(LedgerUnavailable):
    """The tables are missing, or older than this version of the service; `booking migrate` brings them up to date."""


class DatabaseUnfit(LedgerError):
    """The service cannot work with this database, and only its operator can change that."""


class LedgerConflict(LedgerError):
    """A change does not follow the event's last one: it was already applied, or changes before it are missing."""

    def __init__(self, event_id: int, seq: int, expected: int) -> None:
        super().__init__(f"event {event_id}: a change has seq {seq}, but {expected} was expected")
        self.event_id = event_id
        self.seq = seq
        self.expected = expected


class CursorMoved(LedgerError):
    """The shard's cursor or epoch is not the batch's: another process applied the batch, or the batch is old."""

    def __init__(self, shard: int, after: str, found: ShardRecord | None) -> None:
        state = "there is no such shard" if found is None else f"the cursor is {found.cursor} in epoch {found.epoch}"
        super().__init__(f"shard {shard}: a batch starts after {after}, but {state}")
        self.shard = shard
        self.after = after
        self.found = found


class EmailTaken(LedgerError):
    """Another account has this email."""
