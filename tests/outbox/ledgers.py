"""A ledger with events and bookings, written without Redis, and a process of the outbox beside it."""

from dataclasses import dataclass, field

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange, ShardBatch
from booking.domain.model import BookingStatus, Rules, Source
from booking.ledger.ledger import Ledger
from booking.ledger.webhooks import Webhook, WebhookLedger, new_secret

ORGANIZER = "the-organizer"
AT_MS = 1_800_000_000_000


@dataclass
class Books:
    """Writes changes of events of one organizer, in one shard."""

    ledger: Ledger
    seqs: dict[int, int] = field(default_factory=dict)
    entries: int = 0

    @property
    def places(self) -> set[tuple[int, int]]:
        """The event and `seq` of every booking."""
        return {(event_id, seq) for event_id, last in self.seqs.items() for seq in range(2, last + 1)}

    async def book(self, events: range, times: int = 1, organizer: str = ORGANIZER) -> None:
        """Makes `times` bookings of each of these events, which are created if necessary, in one transaction."""
        changes: list[Change] = []
        for event_id in events:
            if event_id not in self.seqs:
                self.seqs[event_id] = 1
                rules = Rules("An event", 1_000_000)
                changes.append(EventChange(event_id, 1, ChangeKind.CREATED, AT_MS, rules, organizer))
            for _ in range(times):
                seq = self.seqs[event_id] = self.seqs[event_id] + 1
                changes.append(booked(event_id, seq))
        after, self.entries = self.entries, self.entries + len(changes)
        await self.ledger.apply([ShardBatch(0, "first", f"0-{after}", f"0-{self.entries}", tuple(changes))])

    async def webhook(self, url: str, *, owner: str = ORGANIZER, **values: object) -> Webhook:
        """A webhook of the organizer, which is told of bookings."""
        given = {
            "id": 0, "owner_id": owner, "url": url, "kinds": frozenset({ChangeKind.BOOKED}), "event_id": None,
            "description": "", "secret": new_secret(), "old_secret": None, "old_secret_until_ms": None,
            "disabled_reason": None, "created_at_ms": AT_MS, **values,
        }  # fmt: skip
        return await WebhookLedger(self.ledger).add(Webhook(**given))  # type: ignore[arg-type]  # as above


def booked(event_id: int, seq: int) -> BookingChange:
    return BookingChange(
        event_id, seq, ChangeKind.BOOKED, AT_MS + seq, seq, f"user-{seq}", 1, BookingStatus.CONFIRMED, Source.SALE,
        AT_MS + seq, None,
    )  # fmt: skip
