"""Checks of the form of every answer: the envelopes of success and failure, events and bookings."""

import json
import re
from typing import Any

import httpx

STATUS_OF_CODE = {
    "invalid_signature": 400,
    "malformed_json": 400,
    "invalid_credentials": 401,
    "unauthenticated": 401,
    "forbidden": 403,
    "sale_closed": 403,
    "sale_not_open": 403,
    "sale_paused": 403,
    "booking_not_found": 404,
    "event_not_found": 404,
    "not_found": 404,
    "malformed_request": 400,
    "method_not_allowed": 405,
    "already_booked": 409,
    "capacity_below_sold": 409,
    "too_many_webhooks": 409,
    "webhook_not_found": 404,
    "email_taken": 409,
    "has_live_bookings": 409,
    "payment_required": 402,
    "payment_mismatch": 409,
    "refund_due": 409,
    "refund_not_found": 404,
    "sold_out": 409,
    "still_waiting": 409,
    "waitlist_full": 409,
    "hold_expired": 410,
    "precondition_failed": 412,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "idempotency_key_reused": 422,
    "invalid_request": 422,
    "quantity_over_limit": 422,
    "rate_limited": 429,
    "inventory_unavailable": 503,
    "outcome_unknown": 503,
    "overloaded": 503,
}
"""Every code of the contract with its status."""

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
"""RFC 3339 in UTC with milliseconds."""

VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,128}")
TELLTALES = ("Traceback", 'File "', ".py", "site-packages", "SELECT ", "INSERT ", "EVALSHA", "sqlalchemy", "redis.")
"""Fragments of stack traces, queries and module paths, which no answer may contain."""

EVENT_COUNTS = (
    "capacity",
    "available_tickets",
    "bookings_count",
    "held_count",
    "tickets_sold",
    "tickets_held",
    "waiting_list_count",
    "waiting_tickets",
    "hold_seconds",
    "offer_seconds",
    "payment_seconds",
    "seq",
)
VISIBILITIES = {"listed", "unlisted", "archived"}
STATES = {"scheduled", "open", "paused", "closed"}
STATUSES = {"confirmed", "held", "waiting", "cancelled", "expired"}


def parse(content: bytes) -> Any:
    """The JSON value of `content`; NaN, infinities, a name given twice and anything but UTF-8 fail the test."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), f"a name given twice in {content!r}"
        return dict(pairs)

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} in {content!r}")

    return json.loads(content.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)


def check_success(headers: httpx.Headers, body: Any) -> None:
    """`{"error": false, "message", "data"}`, and `has_more` at the top of a list; its events and bookings whole."""
    assert headers["content-type"].split(";")[0].strip() == "application/json"
    assert isinstance(body, dict), body
    assert body["error"] is False
    assert isinstance(body["message"], str)
    data = body["data"]
    if isinstance(data, list):
        assert type(body["has_more"]) is bool
    else:
        assert isinstance(data, dict), data
        assert not {"data", "event", "booking"} & data.keys(), f"wrapped once more: {data}"
    for item in data if isinstance(data, list) else [data]:
        if "available_tickets" in item and "differences" not in item:
            check_event(item)
        elif "due_at" in item:
            check_refund(item)
        elif "quantity" in item:
            check_booking(item)


def check_problem(status: int, headers: httpx.Headers, body: Any) -> None:
    """RFC 9457 and the original error form together, with the headers of the status."""
    assert headers["content-type"].split(";")[0].strip() == "application/problem+json"
    assert isinstance(body, dict), body
    assert body["error"] is True
    assert body["status"] == status
    assert STATUS_OF_CODE[body["code"]] == status, body
    assert body["type"] == f"/problems/{body['code']}"
    for field in ("title", "detail", "message", "request_id"):
        assert isinstance(body[field], str), body
        assert body[field], body
    assert body["message"] == body["detail"]
    if body["code"] == "invalid_request":
        assert body["errors"], body
    for fault in body.get("errors", []):
        assert fault.keys() >= {"pointer", "detail"}, fault
        assert isinstance(fault["pointer"], str)
        assert isinstance(fault["detail"], str)
        assert fault["detail"]
    check_headers_of_problem(body["code"], headers)
    text = json.dumps(body)
    assert not [telltale for telltale in TELLTALES if telltale in text], text


def check_headers_of_problem(code: str, headers: httpx.Headers) -> None:
    """The headers of a code: WWW-Authenticate, Allow, Retry-After."""
    if code == "unauthenticated":
        assert headers["www-authenticate"]
    if code == "method_not_allowed":
        assert headers["allow"]
    if code in ("rate_limited", "sale_not_open", "inventory_unavailable", "outcome_unknown", "overloaded"):
        assert int(headers["retry-after"]) >= 0


def check_event(event: Any) -> None:
    """Every field of an event with its type, and capacity = available + held + sold."""
    assert type(event["id"]) is int
    for field in EVENT_COUNTS:
        assert type(event[field]) is int, (field, event)
        assert event[field] >= 0, (field, event)
    assert isinstance(event["name"], str)
    assert 1 <= len(event["name"]) <= 200
    assert type(event["max_per_user"]) is int
    assert 1 <= event["max_per_user"] <= 100
    assert event["waitlist_limit"] is None or type(event["waitlist_limit"]) is int
    assert type(event["paused"]) is bool
    assert type(event["takes_payment"]) is bool
    assert event["state"] in STATES
    assert INSTANT.fullmatch(event["created_at"])
    assert event["organizer_id"] is None or isinstance(event["organizer_id"], str)
    for field in ("venue", "time_zone"):
        assert event[field] is None or isinstance(event[field], str), (field, event)
    assert event["visibility"] in VISIBILITIES
    for field in ("opens_at", "closes_at", "starts_at"):
        assert event[field] is None or INSTANT.fullmatch(event[field]), (field, event)
    assert event["capacity"] == event["available_tickets"] + event["tickets_held"] + event["tickets_sold"], event
    assert event["tickets_sold"] >= event["bookings_count"]
    assert event["tickets_held"] >= event["held_count"]


def check_booking(booking: Any) -> None:
    """Every field of a booking with its type. Only holds have `expires_at`, only waiting bookings have `position`."""
    assert isinstance(booking["id"], str)
    assert booking["id"]
    assert type(booking["event_id"]) is int
    assert isinstance(booking["user_id"], str)
    assert "email" not in booking or booking["user_id"].startswith("account:")
    assert type(booking["quantity"]) is int
    assert 1 <= booking["quantity"] <= 100
    assert booking["status"] in STATUSES
    assert booking["source"] in {"sale", "waitlist"}
    assert INSTANT.fullmatch(booking["created_at"])
    if booking["status"] == "held":
        assert INSTANT.fullmatch(booking["expires_at"])
        assert booking["expires_at"] > booking["created_at"]
    else:
        assert booking.get("expires_at") is None, booking
    if booking["status"] == "waiting":
        assert type(booking["position"]) is int
        assert booking["position"] >= 1
    else:
        assert booking.get("position") is None, booking
    assert isinstance(booking.get("payment_id", ""), str)
    assert booking["status"] != "waiting" or "payment_id" not in booking
    assert booking.get("refund", "due") in {"due", "done"}


def check_refund(refund: Any) -> None:
    """Every field of a refund with its type; `done_at` and `done_by` are there together, or neither is."""
    for field in ("payment_id", "booking_id", "user_id"):
        assert isinstance(refund[field], str)
        assert refund[field]
    assert type(refund["quantity"]) is int
    assert INSTANT.fullmatch(refund["due_at"])
    assert (refund["done_at"] is None) == (refund["done_by"] is None), refund
    assert refund["done_at"] is None or INSTANT.fullmatch(refund["done_at"])
    assert "email" not in refund or refund["user_id"].startswith("account:")
