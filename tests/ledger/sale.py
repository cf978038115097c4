"""Plays an event for the tests: makes changes as the scripts would, each with the next `seq`."""

from dataclasses import dataclass, field, replace

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange, ShardBatch
from booking.domain.details import NO_DETAILS
from booking.domain.model import BookingStatus, Rules, Source

OPENING_MS = 1_800_000_000_000
_STATUS_AFTER = {
    ChangeKind.BOOKED: BookingStatus.CONFIRMED,
    ChangeKind.HELD: BookingStatus.HELD,
    ChangeKind.JOINED: BookingStatus.WAITING,
    ChangeKind.CONFIRMED: BookingStatus.CONFIRMED,
    ChangeKind.PROMOTED: BookingStatus.CONFIRMED,
    ChangeKind.CANCELLED: BookingStatus.CANCELLED,
    ChangeKind.LEFT: BookingStatus.CANCELLED,
    ChangeKind.EXPIRED: BookingStatus.EXPIRED,
}


@dataclass
class Sale:
    """One event and all that has happened to it."""

    event_id: int = 1
    rules: Rules = field(default_factory=lambda: Rules("Opening night", 100, 4, 60, None, OPENING_MS))
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.changes.append(EventChange(self.event_id, 1, ChangeKind.CREATED, OPENING_MS, self.rules, "boss"))

    @property
    def seq(self) -> int:
        return len(self.changes)

    def change_rules(self, **rules: object) -> None:
        self.rules = replace(self.rules, **rules)  # type: ignore[arg-type]  # the test names the fields
        self.changes.append(
            EventChange(self.event_id, self.seq + 1, ChangeKind.CHANGED, OPENING_MS + self.seq, self.rules)
        )

    def change_rules_as_before_details(self, **rules: object) -> None:
        """The entry of an older version tells no details, and leaves them as they are."""
        self.change_rules(**rules)
        told = self.changes.pop()
        assert isinstance(told, EventChange)
        self.changes.append(replace(told, rules=replace(told.rules, details=NO_DETAILS), has_details=False))

    def ask(self, user_id: str, kind: ChangeKind = ChangeKind.BOOKED, quantity: int = 1) -> BookingChange:
        """A new booking."""
        seq = self.seq + 1
        at_ms = OPENING_MS + seq
        change = BookingChange(
            event_id=self.event_id,
            seq=seq,
            kind=kind,
            at_ms=at_ms,
            number=seq,
            user_id=user_id,
            quantity=quantity,
            status=_STATUS_AFTER[kind],
            source=Source.SALE,
            created_at_ms=at_ms,
            expires_at_ms=at_ms + 60_000 if kind is ChangeKind.HELD else None,
        )
        self.changes.append(change)
        return change

    def move(self, booking: BookingChange, kind: ChangeKind) -> BookingChange:
        """The next change of a booking."""
        change = replace(
            booking,
            seq=self.seq + 1,
            kind=kind,
            at_ms=OPENING_MS + self.seq + 1,
            status=_STATUS_AFTER[kind],
            source=Source.WAITLIST if kind is ChangeKind.PROMOTED else booking.source,
            expires_at_ms=None,
        )
        self.changes.append(change)
        return change

    def batch(self, start: int, stop: int, shard: int = 0, epoch: str = "first") -> ShardBatch:
        """The changes with a `seq` from `start + 1` to `stop`; the id of an entry is its `seq`, but 0 for none."""
        return ShardBatch(shard, epoch, f"{start}-0", f"{stop}-0", tuple(self.changes[start:stop]))

    def all(self, shard: int = 0, epoch: str = "first") -> ShardBatch:
        """All changes so far, as one batch."""
        return self.batch(0, self.seq, shard, epoch)
