"""Folds consecutive changes into rows: the changes to insert, and the last state of each event and booking."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

from booking.domain.changes import BookingChange, Change, EventChange
from booking.domain.details import Details
from booking.domain.model import Rules
from booking.ledger.errors import LedgerConflict
from booking.ledger.payments import PaymentSteps, fold_payment

ChangeRow = tuple[
    int, int, str, int, int | None, str | None, int | None, str | None, str | None, int | None, int | None,
    str | None, str | None, str | None, str | None, int | None,
]  # fmt: skip
"""The columns of the table `changes`, in its order."""

BookingRow = tuple[int, int, str, int, str, str, int, int, int, int | None, str | None]
"""The columns of the table `bookings`, those that may be NULL last."""


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
    payments: PaymentSteps = field(default_factory=dict)


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
                event_id, number, user_id, quantity, status, source, created_at_ms, at_ms, seq, expires_at_ms,
                change.payment_id,
            )  # fmt: skip
            if change.payment_id is not None:
                fold_payment(folded.payments, change, change.payment_id)
        else:
            if seq == 1:
                step.created = change
            if not change.has_details and step.changed is not None:
                kept = replace(change.rules, details=step.changed.rules.details)
                step.changed = replace(change, rules=kept, has_details=step.changed.has_details)
            else:
                step.changed = change
            rows.append(
                (event_id, seq, change.kind.value, change.at_ms, None, change.organizer_id, None, None, None, None,
                 None, rules_to_text(change.rules, has_details=change.has_details), change.actor, None, None, None)
            )  # fmt: skip
    return folded


RULE_COLUMNS = tuple(rule.name for rule in fields(Rules) if rule.name != "details")
"""The columns of the table `events` that hold one rule each."""


def rules_to_text(rules: Rules, *, has_details: bool = True) -> str:
    """The rules as JSON, as the table `changes` keeps them. Without `has_details` it tells no details."""
    members = {name: getattr(rules, name) for name in RULE_COLUMNS}
    if has_details:
        members["details"] = rules.details.members()
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))


def rules_from_text(text: str) -> tuple[Rules, bool]:
    """Parses the JSON of `rules_to_text`: the rules, and whether it tells details."""
    members = json.loads(text)
    details = members.get("details")
    rules = Rules(**{name: members[name] for name in RULE_COLUMNS}, details=Details.of(details or {}))
    return rules, details is not None
