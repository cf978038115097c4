"""Parameters of requests and headers of responses, with the limits that the code enforces."""

from typing import Any

from booking.web.endpoints import changes
from booking.web.endpoints.exports import FORMATS
from booking.web.endpoints.lists import ORDERS, SEARCH_CHARACTERS_MAX, STATUSES
from booking.web.endpoints.live_of_user import EVENTS_MAX
from booking.web.endpoints.refunds import DONE, OWN_PAYMENT_ID
from booking.web.problems import KINDS
from booking.web.request_ids import REQUEST_ID_BYTES_MAX
from booking.web.request_schemas import INTEGER_MAX, NO_NUL, PAYMENT_ID_CHARACTERS_MAX
from booking.web.requests import EVENT_ID_DIGITS_MAX, KEY_BYTES_MAX, LIMIT_DEFAULT, LIMIT_MAX

JsonObject = dict[str, Any]

EVENT_ID: JsonObject = {"type": "integer", "minimum": 1, "maximum": 10**EVENT_ID_DIGITS_MAX - 1}
_DIGITS = rf"[1-9]\d{{0,{EVENT_ID_DIGITS_MAX - 1}}}"
BOOKING_ID: JsonObject = {"type": "string", "pattern": f"^{_DIGITS}-{_DIGITS}$"}

PAYMENT: JsonObject = {
    "type": "string",
    "minLength": 1,
    "maxLength": PAYMENT_ID_CHARACTERS_MAX,
    "pattern": OWN_PAYMENT_ID,
}

QUOTES_BYTES = 2


def _parameter(name: str, place: str, description: str, schema: JsonObject, **more: Any) -> JsonObject:
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, **required, "description": description, "schema": schema, **more}


PARAMETERS: dict[str, JsonObject] = {
    "event_id": _parameter("event_id", "path", "The event's id.", EVENT_ID, example=1),
    "payment_id": _parameter("payment_id", "path", "The payment's id.", PAYMENT, example="7vV1rS0cQm6gZ3xk9yTq2A"),
    "webhook_id": _parameter("webhook_id", "path", "The webhook's id.", EVENT_ID, example=3),
    "code": _parameter("code", "path", "A problem's code.", {"type": "string", "enum": sorted(KINDS)}),
    "X-Request-ID": _parameter(
        "X-Request-ID",
        "header",
        f"The request's id in the response and in the log: up to {REQUEST_ID_BYTES_MAX} visible ASCII characters. "
        "Any other id is replaced.",
        {"type": "string"},
    ),
    "Idempotency-Key": _parameter(
        "Idempotency-Key",
        "header",
        f"1 to {KEY_BYTES_MAX} visible ASCII characters, quoted or bare. The same user and key on the same event get "
        "the first response again, byte for byte, with `Idempotent-Replayed: true`: for 24 h after a change, for 10 "
        "minutes after a refusal. A user's last 64 keys on an event count. `sale_not_open` and `sale_paused` are not "
        "kept: the same call is decided again.",
        {
            "type": "string",
            "maxLength": KEY_BYTES_MAX + QUOTES_BYTES,
            "pattern": rf'^([!#-~][!-~]{{0,{KEY_BYTES_MAX - 1}}}|"[!-~]{{1,{KEY_BYTES_MAX}}}")$',
        },
        example="7f3c41d0-order-17",
    ),
    "If-None-Match": _parameter(
        "If-None-Match",
        "header",
        "The ETag of the version that the client has; 304 if it is the newest.",
        {"type": "string"},
    ),
    "If-Match": _parameter(
        "If-Match",
        "header",
        "The ETag of `GET /events/{event_id}/details`. If the event has been changed since, it is not changed again.",
        {"type": "string"},
    ),
    "Stripe-Signature": _parameter(
        "Stripe-Signature",
        "header",
        "The time and the signatures of the event, as Stripe sends them.",
        {"type": "string"},
    ),
    "Last-Event-ID": _parameter(
        "Last-Event-ID",
        "header",
        "The id of the last message received. If nothing has changed since, the first message is left out.",
        {"type": "string"},
    ),
    "events": _parameter(
        "events",
        "query",
        f"Ids of events, separated by commas: at most {EVENTS_MAX}; at least one without credentials.",
        {"type": "array", "items": EVENT_ID, "maxItems": EVENTS_MAX},
        style="form",
        explode=False,
        example=[1, 2],
    ),
    "limit": _parameter(
        "limit",
        "query",
        "The number of items in the page.",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    ),
    "after": _parameter(
        "after",
        "query",
        "The `seq` of the last change that the client has.",
        {"type": "integer", "minimum": 0, "maximum": INTEGER_MAX, "default": 0},
    ),
    "changes.limit": _parameter(
        "limit",
        "query",
        "The number of changes in the page.",
        {"type": "integer", "minimum": 1, "maximum": changes.LIMIT_MAX, "default": changes.LIMIT_DEFAULT},
    ),
    "wait": _parameter(
        "wait",
        "query",
        "How long to wait for a change if there is none yet, in seconds.",
        {"type": "integer", "minimum": 0, "maximum": changes.WAIT_SECONDS_MAX, "default": 0},
    ),
    "events.starting_after": _parameter(
        "starting_after", "query", "An event's id: the page begins after that event.", EVENT_ID
    ),
    "webhooks.starting_after": _parameter(
        "starting_after", "query", "A webhook's id: the page begins after that webhook.", EVENT_ID
    ),
    "deliveries.starting_after": _parameter(
        "starting_after", "query", "A delivery's id: the page begins after that delivery.", {"type": "string"}
    ),
    "bookings.starting_after": _parameter(
        "starting_after", "query", "A booking's id: the page begins after that booking.", BOOKING_ID
    ),
    "refunds.starting_after": _parameter(
        "starting_after", "query", "A payment's id: the page begins after its refund.", PAYMENT
    ),
    "refunds.status": _parameter(
        "status",
        "query",
        "Only refunds that are still due, or only those that are done.",
        {"type": "string", "enum": list(DONE)},
    ),
    "mine": _parameter(
        "mine",
        "query",
        "The organizer's own events, whatever their visibility; an administrator's are all.",
        {"type": "boolean", "default": False},
    ),
    "with_events": _parameter(
        "with_events",
        "query",
        "Whether the answer also has `events`, those of the bookings.",
        {"type": "boolean", "default": False},
    ),
    "status": _parameter(
        "status",
        "query",
        "Only bookings in this state; `ended`: cancelled or expired.",
        {"type": "string", "enum": list(STATUSES)},
    ),
    "q": _parameter(
        "q",
        "query",
        "Only bookings of users whose user id, or whose account's email, begins like this.",
        {"type": "string", "minLength": 1, "maxLength": SEARCH_CHARACTERS_MAX, "pattern": NO_NUL},
    ),
    "order": _parameter(
        "order",
        "query",
        "`oldest` first begins at the head of the waiting list.",
        {"type": "string", "enum": list(ORDERS), "default": "newest"},
    ),
    "format": _parameter(
        "format",
        "query",
        "A page as JSON, or all of them as a file, streamed.",
        {"type": "string", "enum": ["json", *FORMATS], "default": "json"},
    ),
}
"""All parameters, by the names that operations use."""


def _header(
    description: str, schema: JsonObject | None = None, *, always: bool = True, example: Any = None
) -> JsonObject:
    shown = {} if example is None else {"example": example}
    return {"description": description, "required": always, "schema": schema or {"type": "string"}, **shown}


SECONDS: JsonObject = {"type": "integer", "minimum": 0}

HEADERS: dict[str, JsonObject] = {
    "X-Request-ID": _header(
        "The request's id: the one that was sent, or a new one.",
        {"type": "string", "minLength": 1, "maxLength": REQUEST_ID_BYTES_MAX, "pattern": "^[!-~]+$"},
        example="5b1f0c9a2e7d4c11-2a",
    ),
    "Location": _header("The address of the created object.", {"type": "string", "format": "uri-reference"}),
    "ETag": _header("The version of this response.", example='"9c2f1e07d3b4a865-17-5f1c2d3e"'),
    "Idempotent-Replayed": _header(
        "`true` if this repeats the first response to the Idempotency-Key.",
        {"type": "string", "const": "true"},
        always=False,
    ),
    "Retry-After": _header("Seconds to wait before another call.", SECONDS, example=1),
    "Retry-After.sale_not_open": _header("With `sale_not_open`: seconds until it opens.", SECONDS, always=False),
    "RateLimit-Policy": _header(
        "The bucket: its size and the seconds in which it fills.", example='"booking";q=20;w=2'
    ),
    "RateLimit": _header(
        "The calls left in the bucket, and the seconds until there are more.", example='"booking";r=0;t=1'
    ),
    "WWW-Authenticate": _header("How to sign in.", always=False),
    "Allow": _header("The methods that this address takes.", example="GET, HEAD"),
    "X-Event-Seq": _header("The event's `seq` whose state the file shows.", {"type": "integer"}, always=False),
    "Content-Disposition": _header(
        "The file's name.", always=False, example='attachment; filename="event-1-seq-7.csv"'
    ),
}
"""All headers of responses. A suffix after a dot distinguishes two uses of one header."""
