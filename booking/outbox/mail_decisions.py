"""Which mails a change calls for. Only users with an account of the service have an address."""

from collections.abc import Iterator

from booking.domain.callers import account_id_of
from booking.domain.changes import STRIPE, BookingChange, ChangeKind
from booking.domain.details import Visibility
from booking.domain.mails import Facts, Mail, MailKind
from booking.domain.model import Booking, Rules
from booking.ledger.mail_changes import Round

REMINDED_MS_MIN = 10 * 60_000
"""A hold that is longer than this is reminded of (contract)."""

REMINDER_MS = 5 * 60_000
"""How long before its end (contract)."""

_TAKING = (ChangeKind.CANCELLED, ChangeKind.LEFT, ChangeKind.REDUCED)

USEFUL_MS = 3 * 86_400_000
"""How long a mail without a deadline of its own is of use, from its change on."""


def of_booking(change: BookingChange) -> Iterator[Mail]:
    """The mails to the user of a booking that has changed. There is none if the user has no account here."""
    account_id = account_id_of(change.user_id)
    if account_id is None:
        return
    until_ms, place = change.expires_at_ms, f"{change.event_id}-{change.number}"
    if change.kind is ChangeKind.PROMOTED:
        expires_at_ms = change.at_ms + USEFUL_MS if until_ms is None else until_ms
        facts = {"number": change.number, "expires_at_ms": until_ms}
        name = f"{MailKind.PROMOTED}-{place}"
        yield Mail(
            name, MailKind.PROMOTED, account_id, change.event_id, facts, change.at_ms, change.at_ms, expires_at_ms
        )
    if until_ms is not None and until_ms - change.at_ms > REMINDED_MS_MIN:
        facts = {"number": change.number, "expires_at_ms": until_ms}
        name, due_at_ms = f"{MailKind.ENDING}-{place}-{until_ms}", until_ms - REMINDER_MS
        yield Mail(name, MailKind.ENDING, account_id, change.event_id, facts, change.at_ms, due_at_ms, until_ms)
    if change.kind in _TAKING and _is_organizers(change):
        told = {"number": change.number, "reason": change.reason, "change": change.kind.value}
        name, expires_at_ms = f"{MailKind.CANCELLED}-{place}-{change.seq}", change.at_ms + USEFUL_MS
        yield Mail(
            name, MailKind.CANCELLED, account_id, change.event_id, told, change.at_ms, change.at_ms, expires_at_ms
        )


def _is_organizers(change: BookingChange) -> bool:
    """Whether an organizer has made a change of a booking, or a shop. What Stripe causes, its user has seen there."""
    return bool(change.actor) and change.actor not in (change.user_id, STRIPE)


def changed_for_buyers(before: Rules, after: Rules) -> list[str]:
    """What those who have a booking are told of a change of the event; empty: they are told nothing."""
    old, new = before.details, after.details
    differences = {
        "new_name": before.name != after.name,
        "new_venue": old.venue != new.venue,
        "new_starts": (old.starts_at_ms, old.time_zone) != (new.starts_at_ms, new.time_zone)
        and _has(old, new, "starts_at_ms"),
        "new_ends": (old.ends_at_ms, old.time_zone) != (new.ends_at_ms, new.time_zone) and _has(old, new, "ends_at_ms"),
        "archived": old.visibility is not new.visibility is Visibility.ARCHIVED,
    }
    return [name for name, differs in differences.items() if differs]


def of_event(change: Round, booking: Booking) -> Mail | None:
    """The mail about a changed event to the user of a live booking; None if the user has no account here."""
    account_id = account_id_of(booking.user_id)
    if account_id is None:
        return None
    name = f"{MailKind.CHANGED}-{change.event_id}-{change.seq}-{booking.number}"
    facts: Facts = {"number": booking.number, "changed": list(change.changed)}
    expires_at_ms = change.at_ms + USEFUL_MS
    return Mail(name, MailKind.CHANGED, account_id, change.event_id, facts, change.at_ms, change.at_ms, expires_at_ms)


def _has(old: object, new: object, name: str) -> bool:
    """Whether one of the two has a time that a change of the zone shows differently."""
    return getattr(old, name) is not None or getattr(new, name) is not None
