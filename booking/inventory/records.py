"""The records in Redis: their format, and how bookings, events and changes are parsed from them.

A booking's record is "1 status quantity number created source expires". It begins with the version of its format. That
of a booking with a payment is "2 status quantity number created source expires payment": only these have version 2, so
that code which does not know it reads all others.
Status and source are letters, and times are milliseconds. `number` is the event's `seq` at the change that created the
booking. `expires` is 0 unless the booking is held. A record that begins with a letter is older than versions; it has
the same format without the version. Readers have to know both. A record of any other version is an error, never a
missing booking. So a later version may have any format, for example several items in place of one quantity.

Records are the values of an event's `bookings`, the middle of a stream's entries, and part of the answers stored under
idempotency keys. `lua/shared/record.lua` reads and writes them, too.

A stream's entry has the field `c`, whose format every version can read, and may have others:

- `o`, the user id that creates an event, and `d`, its details after the change (`domain/details.py`);
- `a`, the actor of a change if that is not the booking's own user, followed by a NUL and the reason, if one was given:
  no user id holds a NUL;
- `p`, the id of the booking's payment, and `q`, the number of tickets that were given back of it.

A version that does not know a field ignores it. One from before `a` cannot read an entry of three fields.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange
from booking.domain.details import Details, Visibility, details_from_text, details_to_text
from booking.domain.epochs import history_of
from booking.domain.model import Booking, BookingStatus, Event, Payment, PaymentOutcome, Rules, Source
from booking.domain.outcomes import Outcome, Status

RECORD_VERSION = "1"
"""What a record begins with."""

PAYMENT_VERSION = "2"
"""What the record of a booking with a payment begins with."""

STATUS_LETTERS = {
    BookingStatus.CONFIRMED: "c",
    BookingStatus.HELD: "h",
    BookingStatus.WAITING: "w",
    BookingStatus.EXPIRED: "x",
    BookingStatus.CANCELLED: "k",
}
SOURCE_LETTERS = {Source.SALE: "s", Source.WAITLIST: "w"}
STATUSES = {letter.encode(): status for status, letter in STATUS_LETTERS.items()}
SOURCES = {letter.encode(): source for source, letter in SOURCE_LETTERS.items()}
OUTCOMES = {int(status): status for status in Status}
OTHER_ROWS = frozenset(map(int, (Status.SALE_NOT_OPEN, Status.RATE_LIMITED, Status.CHECKED_OUT)))
"""Statuses whose rows do not have a booking's position and record."""
CHANGE_KINDS = {kind.value.encode(): kind for kind in ChangeKind}
PAYMENT_LETTERS = {"OPEN": "o", "RELEASED": "k", "PAID": "b", "REFUND": "r"}
"""The states of a payment in the hash `payments`: open; open, and its hold was cancelled; a booking; a refund."""
_VERSION = f"{RECORD_VERSION} ".encode()
_PAYMENT_VERSION = f"{PAYMENT_VERSION} ".encode()
NO_FIELDS: Mapping[bytes, bytes] = {}
EVENT_KINDS = frozenset({ChangeKind.CREATED, ChangeKind.CHANGED})


def stored_epoch(epoch: str) -> str:
    """The value of a shard's key `epoch`: "version epoch".

    Code of an older version cannot read the records of this one and would take each for a missing booking. It finds
    another epoch than it expects, and sells nothing. If the key holds the epoch alone, the shard's records have no
    version, and older and newer code can both read and write them. The code that starts an epoch writes its version.
    """
    return f"{RECORD_VERSION} {epoch}"


def read_epoch(stored: bytes) -> str:
    """The epoch in the value of a shard's key, for any version of the shard's records."""
    return stored.rpartition(b" ")[2].decode(errors="replace")


def read_lost(stored: bytes) -> str:
    """What `lua/verify_or_fence.lua` has written into a shard's key `epoch` about lost changes: "after upto", or ""."""
    return stored.removeprefix(b"lost ").decode() if stored.startswith(b"lost ") else ""


def is_confirmed(record: bytes) -> bool:
    """Whether a record of either form is a confirmed booking's. Reads no more of it than that."""
    return record.removeprefix(_VERSION).removeprefix(_PAYMENT_VERSION).startswith(b"c")


def write_record(booking: Booking) -> str:
    """A booking's record in the first of this version's formats that can hold it."""
    status, source = STATUS_LETTERS[booking.status], SOURCE_LETTERS[booking.source]
    expires = booking.expires_at_ms if booking.status is BookingStatus.HELD else 0
    fields = (status, booking.quantity, booking.number, booking.created_at_ms, source, expires or 0)
    if booking.payment_id is not None:
        return f"{PAYMENT_VERSION} {' '.join(map(str, fields))} {booking.payment_id}"
    return f"{RECORD_VERSION} {' '.join(map(str, fields))}"


def read_record(event_id: int, user_id: str, text: bytes, position: int | None = None) -> Booking:
    """Parses a record of any format. Raises ValueError or KeyError for a record of a later version."""
    payment_id = None
    if text.startswith(_PAYMENT_VERSION):
        _, *fields, payment = text.split(b" ")
        payment_id = payment.decode()
    else:
        fields = text.removeprefix(_VERSION).split(b" ")
    status, quantity, number, created, source, expires = fields
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
        payment_id,
    )


def write_payments(payments: Sequence[Payment]) -> str:
    """A user's payments as one text, as `lua/shared/payments.lua` describes it."""
    return "\n".join(
        f"{one.id} {_payment_letter(one)} {one.number} {one.quantity} {one.created_at_ms} {SOURCE_LETTERS[one.source]}"
        for one in payments
    )


def read_payments(user_id: str, text: bytes) -> list[Payment]:
    """Parses the text of `write_payments`. Raises ValueError or KeyError."""
    payments = []
    for line in text.decode().split("\n"):
        payment_id, letter, number, quantity, created, source = line.split(" ")
        outcome, was_cancelled = _PAYMENT_STATES[letter]
        of_hold = int(number), int(quantity), int(created), SOURCES[source.encode()]
        payments.append(Payment(payment_id, user_id, *of_hold, outcome, was_cancelled))
    return payments


_PAYMENT_STATES = {
    PAYMENT_LETTERS["OPEN"]: (None, False),
    PAYMENT_LETTERS["RELEASED"]: (None, True),
    PAYMENT_LETTERS["PAID"]: (PaymentOutcome.BOOKING, False),
    PAYMENT_LETTERS["REFUND"]: (PaymentOutcome.REFUND_DUE, False),
}


def _payment_letter(payment: Payment) -> str:
    state = payment.outcome, payment.outcome is None and payment.was_cancelled
    return next(letter for letter, meaning in _PAYMENT_STATES.items() if meaning == state)


def read_outcome(event_id: int, user_id: str, row: Sequence[Any]) -> Outcome:
    """Parses a row: status, number, text and first request id. The status decides what number and text mean."""
    code, number, text, first = row
    status, first_request_id = OUTCOMES[code], first.decode() if first else None
    if code not in OTHER_ROWS:
        booking = read_record(event_id, user_id, text, position=number or None) if text else None
        return Outcome(status, booking, first_request_id=first_request_id)
    if status is Status.SALE_NOT_OPEN:
        return Outcome(status, opens_at_ms=number, now_ms=int(text), first_request_id=first_request_id)
    if status is Status.RATE_LIMITED:
        return Outcome(status, wait_ms=number)
    text, _, template = text.partition(b"\t")
    booking = read_record(event_id, user_id, text)
    return Outcome(status, booking, payment_url=template.decode() or None, first_request_id=first_request_id)


def read_event(event_id: int, row: Sequence[bytes | int]) -> Event:
    """Parses an event's row, as `lua/shared/view.lua` returns it."""
    name, capacity, max_per_user, hold_ms, waitlist_limit, opens_at, closes_at, paused, *rest = row[1:]
    *numbers, epoch, version, organizer_id, details, backlog = rest
    available, held, sold, bookings, holding, waiting, seq, created_at, now = map(int, numbers)
    rules = Rules(
        name=bytes(name).decode(),
        capacity=int(capacity),
        max_per_user=int(max_per_user),
        hold_seconds=int(hold_ms) // 1000,
        waitlist_limit=_optional(waitlist_limit),
        opens_at_ms=_optional(opens_at),
        closes_at_ms=_optional(closes_at),
        paused=bool(paused),
        details=details_from_text(bytes(details)),
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
        waiting_tickets=int(backlog),
        seq=seq,
        created_at_ms=created_at,
        now_ms=now,
        epoch=history_of(bytes(epoch).decode()),
        rules_version=bytes(version).decode(),
        organizer_id=bytes(organizer_id).decode() or None,
    )


def detail_fields(details: Details) -> dict[str, int | str]:
    """The fields of an event's hash for its details, as `lua/shared/details.lua` writes them; none for the defaults."""
    members = details.members()
    if not members:
        return {}
    return {
        "details": details_to_text(details),
        "archived": int(details.visibility is Visibility.ARCHIVED),
        "offer_ms": members["offer_seconds"] * 1000 if "offer_seconds" in members else "",
        "payment_ms": members["payment_seconds"] * 1000 if "payment_seconds" in members else "",
    }


def read_entry(fields: Sequence[bytes]) -> Change:
    """Parses a stream entry: its fields' names and values in turn. Raises KeyError, ValueError or IndexError."""
    if len(fields) == 2:  # a plain booking's entry has no other field
        return read_change(fields[1])
    more = dict(zip(fields[::2], fields[1::2], strict=True))
    return read_change(more[b"c"], more)


def read_change(text: bytes, more: Mapping[bytes, bytes] = NO_FIELDS) -> Change:
    """Parses the field `c`: "event seq kind at", followed by a record and its user, or by an event's rules and name.

    `more` are the entry's other fields. Raises KeyError, ValueError or IndexError.
    """
    actor = reason = None
    if b"a" in more:
        actor, has_reason, reason_text = more[b"a"].decode().partition("\0")
        reason = reason_text if has_reason else None
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
            details_from_text(more.get(b"d", b"")),
        )
        organizer_id = more.get(b"o", b"").decode() or None
        return EventChange(int(event_id), int(seq), kind, int(at_ms), rules, organizer_id, actor, b"d" in more)
    status, quantity, number, created, source, expires, user_id = rest.removeprefix(_VERSION).split(b" ", 6)
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
        actor,
        reason,
        more[b"p"].decode() if b"p" in more else None,
        int(more[b"q"]) if b"q" in more else 0,
    )


def _optional(value: bytes | int) -> int | None:
    return None if value in (b"", b"-") else int(value)
