"""The examples of the document, made by the code that makes real responses."""

from dataclasses import replace
from typing import Any

import orjson

from booking.domain.changes import BookingChange, ChangeKind, EventChange
from booking.domain.model import Booking, BookingStatus, Event, Rules, Source
from booking.domain.payment_links import PaymentLinks
from booking.ledger.records import AccountEmail
from booking.ledger.refunds import Refund
from booking.ledger.webhooks import OF_OWNER_MAX, Delivery, Webhook
from booking.web.endpoints.exports import COLUMNS, csv_lines, ndjson_lines
from booking.web.endpoints.refunds import refund_data
from booking.web.endpoints.webhooks import delivery_data, webhook_data
from booking.web.problems import KINDS, Fault, Problem, invalid
from booking.web.request_schemas import DEFAULT_KINDS
from booking.web.responses import booking_data, change_data, details_data, event_data
from booking.web.times import from_text, to_text

NOON_MS = from_text("2026-11-22T12:00:00.125Z")
SECOND_MS = 1_000
REQUEST_ID = "5b1f0c9a2e7d4c11-2a"

_EVENT = Event(
    id=1,
    rules=Rules("One night only", capacity=100, max_per_user=4, hold_seconds=300),
    available=93,
    tickets_sold=5,
    tickets_held=2,
    bookings_count=3,
    held_count=1,
    waiting_count=0,
    seq=5,
    created_at_ms=NOON_MS,
    now_ms=NOON_MS,
    epoch="9c2f1e07d3b4a865",
    rules_version=f"1-{NOON_MS}",
    organizer_id="account:17",
)
_BOOKING = Booking(1, 2, "ada", 2, BookingStatus.CONFIRMED, Source.SALE, NOON_MS)
_HELD = replace(_BOOKING, status=BookingStatus.HELD, expires_at_ms=NOON_MS + 300 * SECOND_MS)
_WAITING = replace(_BOOKING, number=9, user_id="grace", status=BookingStatus.WAITING, position=1)

EVENT = event_data(_EVENT)
DETAILS = details_data(_EVENT)
BOOKING = booking_data(_BOOKING)
HELD = booking_data(_HELD)
PAYMENT_ID = "7vV1rS0cQm6gZ3xk9yTq2A"
_LINKS = PaymentLinks(b"the secret that signs the tokens of this example")
_TEMPLATE = "https://shop.example/pay?event={event_id}&user={user_id}&payment={payment_id}&signature={signature}"
CHECKED_OUT = booking_data(replace(_HELD, payment_id=PAYMENT_ID))
CHECKED_OUT["payment_url"] = _LINKS.link(_TEMPLATE, 1, "ada", PAYMENT_ID)
PAYMENT_SECRET = {"event_id": 1, "secret": _LINKS.secret_of(1)}
_REFUND = Refund(1, PAYMENT_ID, "account:3", 2, 2, NOON_MS, None, None)
_EMAILS = {"account:3": AccountEmail("ada@example.com", "ada@example.com")}
REFUND = refund_data(_REFUND, _EMAILS)
DONE_REFUND = refund_data(replace(_REFUND, done_at_ms=NOON_MS + SECOND_MS, done_by="account:17"), _EMAILS)
WAITING = booking_data(_WAITING)
CANCELLED = booking_data(replace(_BOOKING, status=BookingStatus.CANCELLED))
LISTED = [WAITING, booking_data(replace(_BOOKING, user_id="account:3")) | {"email": "ada@example.com"}]

CHANGES = [
    change_data(change)
    for change in (
        EventChange(1, 1, ChangeKind.CREATED, NOON_MS, _EVENT.rules, "account:17"),
        BookingChange(
            1, 11, ChangeKind.CANCELLED, NOON_MS, 2, "ada", 2, BookingStatus.CANCELLED, Source.SALE, NOON_MS, None,
            "account:17", "The second show is cancelled.",
        ),
        BookingChange(
            1, 12, ChangeKind.PROMOTED, NOON_MS, 9, "grace", 2, BookingStatus.HELD, Source.WAITLIST, NOON_MS,
            NOON_MS + 300 * SECOND_MS, "account:17",
        ),
    )
]  # fmt: skip

_WEBHOOK = Webhook(
    3, "account:17", "https://shop.example.com/hooks", frozenset(DEFAULT_KINDS), None, "The shop",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None, None, None, NOON_MS,
)  # fmt: skip
WEBHOOK = webhook_data(_WEBHOOK)
NEW_WEBHOOK = webhook_data(_WEBHOOK, with_secret=True)
DELIVERY = delivery_data(
    Delivery(3, "3-1-12", 1, 12, "booking.promoted", NOON_MS, 2, 41, 500, "It has answered 500.", "Oops")
)
TEST = {
    "message_id": "3-test-5b1f0c9a2e7d4c11",
    "delivered": True,
    "status": 204,
    "error": None,
    "answer": None,
    "duration_ms": 41,
}

CSV = (",".join(COLUMNS) + "\r\n").encode() + csv_lines(LISTED)
NDJSON = ndjson_lines(LISTED)
LIVE = f"retry: 1000\n\nid: {_EVENT.epoch}-5\nevent: availability\ndata: {orjson.dumps(EVENT).decode()}\n\n"
CALENDAR = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n…END:VCALENDAR\r\n"
LIVE_OF_USER = (
    f"retry: 1000\n\nid: Kx3fT0aQ\nevent: availability\ndata: {orjson.dumps(EVENT).decode()}\n\n"
    f'id: Kx3fT0aQ\nevent: booking\ndata: {{"event_id":1,"booking":null}}\n\n'
)
METRICS = (
    "# HELP booking_requests_total Requests answered.\n# TYPE booking_requests_total counter\n"
    'booking_requests_total{method="POST",route="/book",status="201"} 10000\n'
)

TOTALS = {
    "bookings": 3,
    "tickets": 5,
    "held": 1,
    "cancelled": 2,
    "expired": 1,
    "promoted": 1,
    "waiting": 0,
    "refunds_due": 0,
    "refunds_done": 0,
}
REPORT = {
    "event_id": 1,
    "totals": TOTALS,
    "per_minute": [{"minute": to_text(NOON_MS), "booked": 5, "joined": 1, "promoted": 1, "cancelled": 2, "expired": 1}],
    "sold_out_at": None,
    "seconds_to_sell_out": None,
    "refusals": {"already_booked": 7},
}
COUNTERS = {
    "capacity": 100,
    "available_tickets": 93,
    "tickets_held": 2,
    "tickets_sold": 5,
    "bookings_count": 3,
    "held_count": 1,
    "waiting_tickets": 0,
}
AUDIT = {
    "event_id": 1,
    "ok": True,
    "seq_redis": 5,
    "seq_database": 5,
    **COUNTERS,
    "counters": {"redis": COUNTERS, "database": COUNTERS},
    "bookings_compared": 4,
    "unsettled": 0,
    "differences": [],
    "more_differences": 0,
}
READY = {
    "status": "ready",
    "parts": {
        "redis": {"ok": True, "shards": 8, "acknowledged": "disk"},
        "database": {"ok": True},
        "persister": {"ok": True, "lag_entries": 0, "lag_seconds": 0.0},
    },
}
UNAVAILABLE = {
    "status": "unavailable",
    "parts": READY["parts"] | {"database": {"ok": False, "reason": "the database does not answer"}},  # type: ignore[operator]  # a dictionary
}
WELCOME = {
    "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxNyJ9.c2lnbmF0dXJl",
    "user": {"id": 17, "email": "ada@example.com"},
}

PROBLEMS_DATA: dict[str, dict[str, Any]] = {
    "already_booked": {"booking": BOOKING},
    "sale_not_open": {"opens_at": to_text(NOON_MS + 60 * SECOND_MS), "server_time": to_text(NOON_MS)},
    "capacity_below_sold": {"floor": 7},
    "too_many_webhooks": {"limit": OF_OWNER_MAX},
    "has_live_bookings": {"event_ids": [1]},
}
"""The `data` of a failure, for the codes that have it."""


def problem(code: str) -> dict[str, Any]:
    """The problem document of a failure with this code."""
    if code == "invalid_request":
        made = invalid(
            Fault("/quantity", "quantity: input should be greater than or equal to 1."),
            Fault("/event_id", "event_id: field required."),
        )
    else:
        made = Problem(code, data=PROBLEMS_DATA.get(code))
    document: dict[str, Any] = orjson.loads(made.body(REQUEST_ID))
    return document


PROBLEMS = {code: problem(code) for code in KINDS}
