"""Folds consecutive changes into rows: the changes to insert, and the last state of each event and booking."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from booking.domain.changes import BookingChange, Change, EventChange
from booking.domain.model import Rules
from booking.ledger.errors import LedgerConflict

ChangeRow = tuple[
    int, int, str, int, int | None, str | None, int | None, str | None, str | None, int | None, int | None,
    str | None, str | None, str | None, str | None, int | None,
]  # fmt: skip
"""The columns of the table `changes`, in its order."""

BookingRow = tuple[int, int, str, int, str, str, int, int | None, int, int, str | None]
"""The columns of the table `bookings`, in its order."""


@dataclass(slots=True)
class EventStep:
    """The first and the last change of one event, and its rules after them."""

    first_seq: int
    last_seq: int
    created: EventChange | None = None
    changed: EventChange | None = None
    """The last change of its rules; its creation counts, too."""


@dataclass(slots=True)
class Fold:
    """Folded changes, as rows for the database."""

    changes: list[ChangeRow] = field(default_factory=list)
    made: dict[tuple[int, int], BookingRow] = field(default_factory=dict)
    """Bookings that these changes created, by event and number."""
    moved: dict[tuple[int, int], BookingRow] = field(default_factory=dict)
    """Bookings that existed before these changes, by event and number."""
    events: dict[int, EventStep] = field(default_factory=dict)


def fold(changes: Iterable[Change]) -> Fold:
    """Folds changes, which are in order of time. Raises LedgerConflict if an event's `seq` skips or repeats."""
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
                 created_at_ms, expires_at_ms, None, change.actor, change.reason, change.payment_id,
                 change.given_back or None)
            )  # fmt: skip
            name = (event_id, number)
            bookings = made if number == seq or name in made else moved
            bookings[name] = (
                event_id, number, user_id, quantity, status, source, created_at_ms, expires_at_ms, at_ms, seq,
                change.payment_id,
            )  # fmt: skip
        else:
            if seq == 1:
                step.created = change
            step.changed = change
            rows.append(
                (event_id, seq, change.kind.value, change.at_ms, None, change.organizer_id, None, None, None, None,
                 None, rules_to_text(change.rules), change.actor, None, None, None)
            )  # fmt: skip
    return folded


def rules_to_text(rules: Rules) -> str:
    """The rules as JSON, as the table `changes` keeps them."""
    return json.dumps(asdict(rules), ensure_ascii=False, separators=(",", ":"))


def rules_from_text(text: str) -> Rules:
    """Parses the JSON of `rules_to_text`."""
    return Rules(**json.loads(text))
