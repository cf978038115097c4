"""What a run of changes comes to: the rows to insert, and each event and booking as its last change left it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from booking.domain.changes import BookingChange, Change, EventChange
from booking.domain.model import Rules
from booking.ledger.errors import LedgerConflict

ChangeRow = tuple[
    int, int, str, int, int | None, str | None, int | None, str | None, str | None, int | None, int | None, str | None
]
"""The columns of the table `changes`, in its order."""

BookingRow = tuple[int, int, str, int, str, str, int, int | None, int, int]
"""The columns of the table `bookings`, in its order."""


@dataclass(slots=True)
class EventStep:
    """How far a run of changes takes one event."""

    first_seq: int
    last_seq: int
    created: EventChange | None = None
    changed: EventChange | None = None
    """The last change of its rules, the making of it included."""


@dataclass(slots=True)
class Fold:
    """The outcome of a run of changes, as rows ready for the database."""

    changes: list[ChangeRow] = field(default_factory=list)
    made: dict[tuple[int, int], BookingRow] = field(default_factory=dict)
    """Bookings that these changes made, by event and number."""
    moved: dict[tuple[int, int], BookingRow] = field(default_factory=dict)
    """Bookings that were there before them."""
    events: dict[int, EventStep] = field(default_factory=dict)


def fold(changes: Iterable[Change]) -> Fold:
    """Folds changes given in the order they happened. Raises LedgerConflict where an event's `seq` skips or repeats."""
    folded = Fold()
    rows, made, moved, events = folded.changes, folded.made, folded.moved, folded.events
    for change in changes:
        event_id, seq = change.event_id, change.seq
        step = events.get(event_id)
        if step is None:
            step = events[event_id] = EventStep(seq, seq)
        elif seq != step.last_seq + 1:
            raise LedgerConflict(event_id, seq, step.last_seq + 1)
        else:
            step.last_seq = seq
        if isinstance(change, BookingChange):
            number, user_id, quantity = change.number, change.user_id, change.quantity
            status, source = change.status.value, change.source.value
            created_at_ms, expires_at_ms, at_ms = change.created_at_ms, change.expires_at_ms, change.at_ms
            rows.append(
                (event_id, seq, change.kind.value, at_ms, number, user_id, quantity, status, source,
                 created_at_ms, expires_at_ms, None)
            )  # fmt: skip
            name = (event_id, number)
            bookings = made if number == seq or name in made else moved
            bookings[name] = (
                event_id, number, user_id, quantity, status, source, created_at_ms, expires_at_ms, at_ms, seq
            )  # fmt: skip
        else:
            if seq == 1:
                step.created = change
            step.changed = change
            rows.append(
                (event_id, seq, change.kind.value, change.at_ms, None, None, None, None, None, None, None,
                 rules_to_text(change.rules))
            )  # fmt: skip
    return folded


def rules_to_text(rules: Rules) -> str:
    """The rules as JSON, as the table `changes` keeps them."""
    return json.dumps(asdict(rules), ensure_ascii=False, separators=(",", ":"))


def rules_from_text(text: str) -> Rules:
    """What `rules_to_text` wrote, read back."""
    return Rules(**json.loads(text))
