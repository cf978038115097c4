"""Compares Redis's counters of an event with the sums of SQL's bookings, and its rules with SQL's."""

from collections.abc import Mapping

from booking.domain.details import Details, details_from_text, details_to_text
from booking.domain.model import BookingStatus, Rules
from booking.inventory.reader import StoredEvent
from booking.inventory.records import detail_fields
from booking.ledger.records import Count
from booking.operations.audit.findings import EventAudit

COUNTERS = {
    "available_tickets": "available",
    "tickets_held": "held",
    "tickets_sold": "sold",
    "bookings_count": "bookings",
    "held_count": "holding",
    "waiting_tickets": "backlog",
}
"""An event's counters: names in the API, and names in Redis."""


def compare_rules(audit: EventAudit, stored: Mapping[str, int], rules: Rules) -> None:
    """Notes every numeric rule that differs in `audit`. The capacity is compared as a counter."""
    known: dict[str, int | None] = {
        "max_per_user": rules.max_per_user,
        "hold_ms": rules.hold_seconds * 1000,
        "waitlist_limit": rules.waitlist_limit,
        "opens_at": rules.opens_at_ms,
        "closes_at": rules.closes_at_ms,
        "paused": int(rules.paused),
    }
    for name, value in known.items():
        if stored.get(name) != value:
            audit.find("rule", redis={name: stored.get(name)}, database={name: value})


def compare_details(audit: EventAudit, found: StoredEvent, details: Details) -> None:
    """Notes details that differ in `audit`, and those that Redis stores for the scripts in another form."""
    try:
        told = details_from_text(found.details)
    except (KeyError, TypeError, ValueError):
        told = None
    if told != details:
        audit.find("rule", redis={"details": found.details}, database={"details": details_to_text(details)})
        return
    expected = detail_fields(details)
    for name, missing in (("archived", 0), ("offer_ms", ""), ("payment_ms", "")):
        stored, value = found.numbers.get(name, missing), expected.get(name, missing)
        if stored != value:
            audit.find("rule", redis={name: stored}, database={name: value})


def compare_counters(
    audit: EventAudit, stored: Mapping[str, int], counts: Mapping[BookingStatus, Count], rules: Rules
) -> None:
    """Notes both sides' counters, and their differences, in `audit`. Both sides have to be as of the same `seq`."""
    confirmed, held, waiting = (
        counts[status] for status in (BookingStatus.CONFIRMED, BookingStatus.HELD, BookingStatus.WAITING)
    )
    audit.redis = {"capacity": stored["capacity"]} | {name: stored[key] for name, key in COUNTERS.items()}
    audit.database = {
        "capacity": rules.capacity,
        "available_tickets": rules.capacity - held.tickets - confirmed.tickets,
        "tickets_held": held.tickets,
        "tickets_sold": confirmed.tickets,
        "bookings_count": confirmed.bookings,
        "held_count": held.bookings,
        "waiting_tickets": waiting.tickets,
    }
    parts = sum(audit.redis[name] for name in ("available_tickets", "tickets_held", "tickets_sold"))
    if parts != audit.redis["capacity"] or audit.redis["available_tickets"] < 0:
        audit.find("capacity", redis=audit.redis)
    if audit.database["available_tickets"] < 0:
        audit.find("capacity", database=audit.database)
    for name, value in audit.redis.items():
        if value != audit.database[name]:
            audit.find("counter", redis={name: value}, database={name: audit.database[name]})
