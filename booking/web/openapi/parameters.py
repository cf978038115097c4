"""What requests bring besides a body, and the headers of answers, with the limits that the code goes by."""

from typing import Any

from booking.domain.model import BookingStatus
from booking.web.endpoints.exports import FORMATS
from booking.web.problems import KINDS
from booking.web.request_ids import REQUEST_ID_BYTES_MAX
from booking.web.requests import EVENT_ID_DIGITS_MAX, KEY_BYTES_MAX, LIMIT_DEFAULT, LIMIT_MAX

Part = dict[str, Any]

EVENT_ID: Part = {"type": "integer", "minimum": 1, "maximum": 10**EVENT_ID_DIGITS_MAX - 1}
_DIGITS = rf"[1-9]\d{{0,{EVENT_ID_DIGITS_MAX - 1}}}"
BOOKING_ID: Part = {"type": "string", "pattern": f"^{_DIGITS}-{_DIGITS}$"}

QUOTES_BYTES = 2


def _parameter(name: str, place: str, description: str, schema: Part, **more: Any) -> Part:
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, **required, "description": description, "schema": schema, **more}


PARAMETERS: dict[str, Part] = {
    "event_id": _parameter("event_id", "path", "The event's id.", EVENT_ID, example=1),
    "code": _parameter("code", "path", "A problem's code.", {"type": "string", "enum": sorted(KINDS)}),
    "X-Request-ID": _parameter(
        "X-Request-ID",
        "header",
        f"The request's id in the answer and in the log: up to {REQUEST_ID_BYTES_MAX} visible ASCII characters. "
        "Any other is replaced.",
        {"type": "string"},
    ),
    "Idempotency-Key": _parameter(
        "Idempotency-Key",
        "header",
        f"1 to {KEY_BYTES_MAX} visible ASCII characters, quoted or bare. For 24 h the same user and key on the same "
        "event get the first answer again, byte for byte, with `Idempotent-Replayed: true`.",
        {
            "type": "string",
            "maxLength": KEY_BYTES_MAX + QUOTES_BYTES,
            "pattern": rf'^([!#-~][!-~]{{0,{KEY_BYTES_MAX - 1}}}|"[!-~]{{1,{KEY_BYTES_MAX}}}")$',
        },
        example="7f3c41d0-order-17",
    ),
    "If-None-Match": _parameter(
        "If-None-Match", "header", "The ETag of the version at hand; 304 while it is the newest.", {"type": "string"}
    ),
    "Last-Event-ID": _parameter(
        "Last-Event-ID",
        "header",
        "The id of the last event that was heard; the first event is left out when nothing has changed since.",
        {"type": "string"},
    ),
    "limit": _parameter(
        "limit",
        "query",
        "Things in the page.",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    ),
    "events.starting_after": _parameter(
        "starting_after", "query", "The page after this event of the list; its id.", EVENT_ID
    ),
    "bookings.starting_after": _parameter(
        "starting_after", "query", "The page after this booking of the list; its id.", BOOKING_ID
    ),
    "status": _parameter(
        "status",
        "query",
        "Only bookings in this state.",
        {"type": "string", "enum": [str(one) for one in BookingStatus]},
    ),
    "format": _parameter(
        "format",
        "query",
        "A page as JSON, or all of them as a file, streamed.",
        {"type": "string", "enum": ["json", *FORMATS], "default": "json"},
    ),
}
"""Every parameter by the name that operations know it by."""


def _header(description: str, schema: Part | None = None, *, always: bool = True, example: Any = None) -> Part:
    shown = {} if example is None else {"example": example}
    return {"description": description, "required": always, "schema": schema or {"type": "string"}, **shown}


SECONDS: Part = {"type": "integer", "minimum": 0}

HEADERS: dict[str, Part] = {
    "X-Request-ID": _header(
        "The request's id: the one that was sent, or a new one.",
        {"type": "string", "minLength": 1, "maxLength": REQUEST_ID_BYTES_MAX, "pattern": "^[!-~]+$"},
        example="5b1f0c9a2e7d4c11-2a",
    ),
    "Location": _header("Where what was made can be read.", {"type": "string", "format": "uri-reference"}),
    "ETag": _header("The version that this is.", example='"17-open"'),
    "Idempotent-Replayed": _header(
        "`true` where this is the first answer to the Idempotency-Key again.",
        {"type": "string", "const": "true"},
        always=False,
    ),
    "Retry-After": _header("Seconds after which to come again.", SECONDS, example=1),
    "Retry-After.sale_not_open": _header("With `sale_not_open`: seconds until it opens.", SECONDS, always=False),
    "RateLimit-Policy": _header(
        "The bucket: its size and the seconds in which it fills.", example='"booking";q=20;w=2'
    ),
    "RateLimit": _header("What is left in it, and the seconds until there is more.", example='"booking";r=0;t=1'),
    "WWW-Authenticate": _header("How to sign in.", always=False),
    "Allow": _header("The methods that this address takes.", example="GET, HEAD"),
    "X-Event-Seq": _header("The event's `seq` as of which the file is.", {"type": "integer"}, always=False),
    "Content-Disposition": _header(
        "The file's name.", always=False, example='attachment; filename="event-1-seq-7.csv"'
    ),
}
"""Every header of an answer. What stands after a dot tells two uses of one header apart."""
