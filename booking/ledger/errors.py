"""What can go wrong in the ledger, told without a query, a parameter or a password."""

from booking.ledger.records import ShardRecord


class LedgerError(Exception):
    """The database refused something. Raised itself only for what no caller can mend: a fault in this service."""


class LedgerUnavailable(LedgerError):
    """The database can't be used now: unreachable, locked, full, not migrated. The same call may work later.

    A write that raises this may have been committed all the same; for `apply` the cursor tells.
    """


class LedgerConflict(LedgerError):
    """A change does not follow the event's last one: it was applied before, or changes before it are missing."""

    def __init__(self, event_id: int, seq: int, expected: int) -> None:
        super().__init__(f"event {event_id}: a change came with seq {seq} where {expected} was due")
        self.event_id = event_id
        self.seq = seq
        self.expected = expected


class CursorMoved(LedgerError):
    """The shard's cursor or epoch is not what the batch builds on: somebody else applied it, or it is an old one."""

    def __init__(self, shard: int, after: str, found: ShardRecord | None) -> None:
        stands = "there is no such shard" if found is None else f"it stands at {found.cursor} of epoch {found.epoch}"
        super().__init__(f"shard {shard}: a batch builds on {after}, but {stands}")
        self.shard = shard
        self.after = after
        self.found = found


class EmailTaken(LedgerError):
    """Another account has this email."""
