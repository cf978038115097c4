"""The texts that `lua/shared/` writes, turned back into bookings, events and changes."""

from collections.abc import Sequence
from typing import Any

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange
from booking.domain.model import Booking, BookingStatus, Event, Rules, Source
from booking.domain.outcomes import Outcome, Status

STATUSES = {
    b"c": BookingStatus.CONFIRMED,
    b"h": BookingStatus.HELD,
    b"w": BookingStatus.WAITING,
    b"x": BookingStatus.EXPIRED,
    b"k": BookingStatus.CANCELLED,
}
OUTCOMES = {int(status): status for status in Status}
SOURCES = {b"s": Source.SALE, b"w": Source.WAITLIST}
CHANGE_KINDS = {kind.value.encode(): kind for kind in ChangeKind}
EVENT_KINDS = frozenset({ChangeKind.CREATED, ChangeKind.CHANGED})


def read_record(event_id: int, user_id: str, text: bytes, position: int | None = None) -> Booking:
    """Reads "status quantity number created source expires"."""
    status, quantity, number, created, source, expires = text.split(b" ")
    return Booking(
        event_id,
        int(number),
        user_id,
        int(quantity),
        STATUSES[status],
        SOURCES[source],
        int(created),
        int(expires) if status == b"h" else None,
        position,
    )


def read_outcome(event_id: int, user_id: str, row: Sequence[Any]) -> Outcome:
    """Reads a row: status, number, text and first request id; the status tells what number and text are."""
    status, number, text, first = OUTCOMES[row[0]], row[1], row[2], row[3]
    first_request_id = first.decode() if first else None
    if status is Status.SALE_NOT_OPEN:
        return Outcome(status, opens_at_ms=number, now_ms=int(text), first_request_id=first_request_id)
    if status is Status.RATE_LIMITED:
        return Outcome(status, wait_ms=number)
    if not text:
        return Outcome(status, first_request_id=first_request_id)
    booking = read_record(event_id, user_id, text, position=number or None)
    return Outcome(status, booking, first_request_id=first_request_id)


def read_event(event_id: int, row: Sequence[bytes | int]) -> Event:
    """Reads the row that `lua/shared/view.lua` makes."""
    name, capacity, max_per_user, hold_ms, waitlist_limit, opens_at, closes_at, paused, *rest = row[1:]
    available, held, sold, bookings, holding, waiting, seq, created_at, now = map(int, rest)
    rules = Rules(
        name=bytes(name).decode(),
        capacity=int(capacity),
        max_per_user=int(max_per_user),
        hold_seconds=int(hold_ms) // 1000,
        waitlist_limit=_optional(waitlist_limit),
        opens_at_ms=_optional(opens_at),
        closes_at_ms=_optional(closes_at),
        paused=bool(paused),
    )
    return Event(
        id=event_id,
        rules=rules,
        available=available,
        tickets_sold=sold,
        tickets_held=held,
        bookings_count=bookings,
        held_count=holding,
        waiting_count=waiting,
        seq=seq,
        created_at_ms=created_at,
        now_ms=now,
    )


def read_change(text: bytes) -> Change:
    """Reads "event seq kind at …", and then a record and its user, or an event's rules and its name."""
    event_id, seq, kind_text, at_ms, rest = text.split(b" ", 4)
    kind = CHANGE_KINDS[kind_text]
    if kind in EVENT_KINDS:
        capacity, max_per_user, hold_ms, waitlist_limit, opens_at, closes_at, paused, name = rest.split(b" ", 7)
        rules = Rules(
            name.decode(),
            int(capacity),
            int(max_per_user),
            int(hold_ms) // 1000,
            _optional(waitlist_limit),
            _optional(opens_at),
            _optional(closes_at),
            paused == b"1",
        )
        return EventChange(int(event_id), int(seq), kind, int(at_ms), rules)
    status, quantity, number, created, source, expires, user_id = rest.split(b" ", 6)
    return BookingChange(
        int(event_id),
        int(seq),
        kind,
        int(at_ms),
        int(number),
        user_id.decode(),
        int(quantity),
        STATUSES[status],
        SOURCES[source],
        int(created),
        int(expires) if status == b"h" else None,
    )


def _optional(value: bytes | int) -> int | None:
    return None if value in (b"", b"-") else int(value)
