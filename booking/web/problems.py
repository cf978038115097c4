"""All problems with which a request can fail: stable code, HTTP status, and texts for people and programs."""

from dataclasses import dataclass
from typing import Any

import orjson

CONTENT_TYPE = b"application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One problem code. `detail` is the default text of a response; `advice` is shown on the code's page."""

    status: int
    title: str
    detail: str
    advice: str
    retry_after_seconds: int | None = None


KINDS: dict[str, Kind] = {
    "malformed_request": Kind(
        400, "No HTTP request", "What was sent is no HTTP request.", "Check the proxies between you and the service."
    ),
    "invalid_signature": Kind(
        400,
        "Wrong signature",
        "The Stripe-Signature is missing, wrong or too old.",
        "Check that BOOKING_STRIPE_SECRET is the signing secret of this endpoint, and that the clocks agree.",
    ),
    "malformed_json": Kind(
        400, "Malformed JSON", "The body is not JSON.", "Send one JSON object, as UTF-8 and without a byte order mark."
    ),
    "unauthenticated": Kind(
        401,
        "Not signed in",
        "This needs a bearer token, or an account's email and password.",
        "Send Authorization: Bearer with a token from POST /auth/login, or Authorization: Basic.",
    ),
    "invalid_credentials": Kind(
        401, "Wrong email or password", "The email or the password is wrong.", "Check both, or register first."
    ),
    "payment_required": Kind(
        402,
        "Payment required",
        "A buyer cannot confirm a booking of this event: its payment does.",
        "POST /checkout gives the link to the payment, data.payment_url.",
    ),
    "forbidden": Kind(403, "Not allowed", "This is for organizers.", "Ask the event's organizer, or an administrator."),
    "sale_not_open": Kind(
        403,
        "The sale has not opened",
        "The sale has not opened yet.",
        "Try again at data.opens_at, or after the seconds in Retry-After.",
    ),
    "sale_closed": Kind(403, "The sale is over", "The sale is over.", "Nothing can be booked any more."),
    "sale_paused": Kind(
        403,
        "The sale is paused",
        "The sale is paused by its organizer.",
        "Try again later; your place is not affected.",
    ),
    "not_found": Kind(404, "No such page", "There is nothing at this address.", "Check the path, slashes included."),
    "event_not_found": Kind(404, "No such event", "There is no event with this id.", "GET /events lists the events."),
    "webhook_not_found": Kind(
        404, "No such webhook", "There is no webhook with this id.", "GET /webhooks lists your webhooks."
    ),
    "refund_not_found": Kind(
        404,
        "No such refund",
        "The event has no refund of this payment.",
        "GET /events/{event_id}/refunds lists the refunds.",
    ),
    "booking_not_found": Kind(
        404,
        "No booking",
        "There is no live booking of this event.",
        "POST /book makes one; it may have been cancelled.",
    ),
    "method_not_allowed": Kind(
        405, "Wrong method", "This address does not take this method.", "The Allow header names the methods it takes."
    ),
    "already_booked": Kind(
        409,
        "Already booked",
        "User has already booked this event.",
        "Everyone has one booking of an event; data.booking is yours. Cancel it to book another quantity.",
    ),
    "sold_out": Kind(
        409,
        "Sold out",
        "The event is sold out and has no waiting list.",
        "A cancelled ticket is on sale again at once.",
    ),
    "waitlist_full": Kind(
        409, "Waiting list full", "The event is sold out and its waiting list is full.", "Try again later."
    ),
    "still_waiting": Kind(
        409, "Still waiting", "The booking is on the waiting list and cannot be confirmed yet.", "Wait for a ticket."
    ),
    "payment_mismatch": Kind(
        409,
        "Another payment",
        "This is not the payment of the booking.",
        "Name the payment_id that POST /checkout has given. Of each user and event the last 32 are known.",
    ),
    "refund_due": Kind(
        409,
        "A refund is due",
        "The payment came too late: its tickets are gone. The money has to be given back.",
        "Give it back. The refund is recorded once; the buyer may book again.",
    ),
    "email_taken": Kind(409, "Email taken", "An account with this email exists.", "Log in, or use another address."),
    "has_live_bookings": Kind(
        409,
        "Live bookings",
        "The account has live bookings.",
        "Cancel them first: data.event_ids names their events. GET /bookings lists them.",
    ),
    "capacity_below_sold": Kind(
        409,
        "Capacity below what is sold",
        "The capacity cannot be smaller than what is sold and held.",
        "data.floor is the smallest capacity that is possible now.",
    ),
    "hold_expired": Kind(410, "The hold has expired", "The hold has expired.", "Book again, if tickets are left."),
    "precondition_failed": Kind(
        412,
        "Changed meanwhile",
        "The event has been changed since the version that If-Match names.",
        "Read GET /events/{id}/details, and send its ETag as If-Match.",
    ),
    "too_many_webhooks": Kind(
        409, "Too many webhooks", "You have as many webhooks as are allowed.", "Remove one that is not needed."
    ),
    "body_too_large": Kind(413, "Body too large", "The body is larger than 16 KiB.", "No call needs more than that."),
    "unsupported_media_type": Kind(
        415, "Not JSON", "The body is not JSON by its Content-Type.", "Send Content-Type: application/json."
    ),
    "invalid_request": Kind(
        422, "Invalid request", "The request has faults.", "errors lists all faults, each with a JSON pointer."
    ),
    "quantity_over_limit": Kind(
        422,
        "Too many tickets",
        "The quantity is more than one user may book of this event.",
        "max_per_user and capacity of the event are the limits.",
    ),
    "idempotency_key_reused": Kind(
        422,
        "Idempotency key reused",
        "This Idempotency-Key was used for another request.",
        "Use a new key for each new request, and the same key only to repeat one.",
    ),
    "rate_limited": Kind(
        429, "Too many requests", "There were too many requests.", "Wait for the seconds in Retry-After.", 1
    ),
    "internal_error": Kind(
        500,
        "A fault of ours",
        "Something went wrong on our side.",
        "Report the request_id, with which the log lines can be found.",
    ),
    "inventory_unavailable": Kind(
        503, "Not available now", "The stock cannot be reached. Nothing was changed.", "Try again after Retry-After.", 1
    ),
    "outcome_unknown": Kind(
        503,
        "Outcome unknown",
        "The change was sent and its answer never came. It was made once, or not at all.",
        "Repeat the call with the same Idempotency-Key, or read GET /events/{id}/booking.",
        1,
    ),
    "overloaded": Kind(
        503, "Overloaded", "More is waiting than can be done in time.", "Try again after Retry-After.", 2
    ),
    "transfer_encoding_unsupported": Kind(
        501,
        "Transfer encoding not supported",
        "The body is sent in a transfer encoding other than chunked.",
        "Send the body as it is, with Content-Length or Transfer-Encoding: chunked.",
    ),
    "database_unavailable": Kind(
        503, "Not available now", "The database cannot be reached.", "Try again after Retry-After.", 2
    ),
    "identity_unavailable": Kind(
        503, "Not available now", "The identity provider cannot be reached.", "Try again after Retry-After.", 2
    ),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request: a JSON pointer into the body, `?name` or a header's name."""

    pointer: str
    detail: str


def pointer_to(*place: object) -> str:
    """The JSON pointer (RFC 6901) to a place in a body, given by its keys and indexes."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)


class Problem(Exception):
    """Ends a request with the response of its code. The client sees `detail` and `data`: they hold nothing internal."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        faults: list[Fault] | None = None,
        data: dict[str, Any] | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.kind = KINDS[code]
        self.detail = detail or self.kind.detail
        self.faults = faults
        self.data = data
        self.headers = list(headers or ())
        if self.kind.retry_after_seconds is not None and not any(name == b"retry-after" for name, _ in self.headers):
            self.headers.append((b"retry-after", b"%d" % self.kind.retry_after_seconds))

    def body(self, request_id: str, root: str = "") -> bytes:
        """The problem document: RFC 9457, with `error` and `message` of the system that this one replaces.

        `root` is the path under which the service is served.
        """
        document: dict[str, Any] = {
            "type": f"{root}/problems/{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            "error": True,
            "message": self.detail,
        }
        if self.faults is not None:
            document["errors"] = [{"pointer": fault.pointer, "detail": fault.detail} for fault in self.faults]
        if self.data is not None:
            document["data"] = self.data
        return orjson.dumps(document)


def invalid(*faults: Fault) -> Problem:
    """The problem for a request with these faults. If there is only one, its text is the problem's detail."""
    detail = faults[0].detail if len(faults) == 1 else f"The request has {len(faults)} faults."
    return Problem("invalid_request", detail, faults=list(faults))
