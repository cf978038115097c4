"""The operations that only read."""

from collections.abc import Mapping
from typing import Any

from booking.web import response_schemas
from booking.web.endpoints import health
from booking.web.endpoints.calendar import MEDIA_TYPE
from booking.web.endpoints.exports import FORMATS
from booking.web.endpoints.live_of_user import FIND_SECONDS, UNNAMED_MAX
from booking.web.openapi import examples
from booking.web.openapi.operation import JSON, Audience, Content, Operation, ResponseDoc, Tag
from booking.web.openapi.schemas import HAS_MORE, UNAVAILABLE, UP_TO_DATE, list_of, ref, success

BOOKING = ref(response_schemas.BookingData)
EVENT = ref(response_schemas.EventData)
DETAILS = ref(response_schemas.DetailsData)

EVENTS_OF_BOOKINGS = (
    {
        **list_of(response_schemas.EventData),
        "description": "With `with_events`, the events of these bookings as they are now, each once. An event whose "
        "Redis server is away is left out.",
    },
    list[Any](),
)
TEXT = {"type": "string"}
EVENT_CONTENT = success("Fetched event", EVENT, examples.EVENT)
SEQ = ({"type": "integer", "description": "The event's seq whose state the list shows."}, 5)


def text(media_type: bytes, example: str | bytes) -> dict[str, Content]:
    """The content of a response that is not JSON."""
    shown = example if isinstance(example, str) else example.decode()
    return {media_type.decode().partition(";")[0]: {"schema": TEXT, "example": shown}}


def _event(  # the names are the document's own words
    id: str,  # noqa: A002
    path: str,
    summary: str,
    content: Mapping[str, Content] = EVENT_CONTENT,
    description: str = "",
    refusals: tuple[str, ...] = ("rate_limited",),
) -> Operation:
    return Operation(
        "GET",
        path,
        id,
        Tag.READING,
        Audience.ANYONE,
        summary,
        (
            ResponseDoc(200, "The event as it is now.", content, ("ETag",)),
            ResponseDoc(304, "It is still the version of If-None-Match.", {}, ("ETag",)),
        ),
        description,
        parameters=("If-None-Match",),
        refusals=refusals,
    )


READING = (
    Operation(
        "GET",
        "/events",
        "list_events",
        Tag.READING,
        Audience.ANYONE_OR_ORGANIZER,
        "List the events, newest first",
        (
            ResponseDoc(
                200,
                "A page.",
                success(
                    "Fetched events",
                    list_of(response_schemas.EventData),
                    [examples.EVENT],
                    has_more=HAS_MORE,
                    unavailable=UNAVAILABLE,
                ),
            ),
        ),
        "Without `unlisted` and `archived` events, which only `mine` has.",
        parameters=("limit", "events.starting_after", "mine"),
    ),
    _event("read_event", "/events/{event_id}", "Read an event"),
    _event("status", "/status/{event_id}", "Read an event, by its older address", refusals=()),
    _event(
        "read_details",
        "/events/{event_id}/details",
        "Read what the organizer has set",
        success("Fetched details", DETAILS, examples.DETAILS),
        "Its ETag changes only if an organizer changes the event; PATCH takes it as If-Match.",
    ),
    Operation(
        "GET",
        "/events/{event_id}/live",
        "listen",
        Tag.READING,
        Audience.ANYONE_OR_USER,
        "Listen to an event as it changes (Server-Sent Events)",
        (
            ResponseDoc(
                200,
                "A stream that lasts until the client or the server ends it.",
                text(b"text/event-stream", examples.LIVE),
            ),
        ),
        "`event: availability` with the event, at once and then on change, at most 4 a second; for a signed-in user "
        "also `event: booking` with their booking or `null`. `id:` is opaque. A comment every 15 s keeps it "
        "open. A client that reconnects with Last-Event-ID has missed nothing.",
        parameters=("Last-Event-ID",),
    ),
    Operation(
        "GET",
        "/live",
        "listen_to_several",
        Tag.READING,
        Audience.ANYONE_OR_USER,
        "Listen to several events and to all of one's own bookings (Server-Sent Events)",
        (
            ResponseDoc(
                200,
                "A stream that lasts until the client, the token's `exp` or the server ends it.",
                text(b"text/event-stream", examples.LIVE_OF_USER),
            ),
        ),
        "`event: availability` with each event that `events` names, at once and then on change, at most 4 a second. "
        'For a signed-in user also `event: booking` with `{"event_id": …, "booking": … | null}`: for each named event '
        "at once and on change; for any other event while the user has a live booking of it. Such a booking is told "
        f"within {FIND_SECONDS:.0f} s of being in the database; of more than {UNNAMED_MAX} the events with the highest "
        'ids count. `event: gone` with `{"event_id": …}`: there is no such event. `id:` is opaque; a client that '
        "reconnects with Last-Event-ID and names the same events has missed nothing. A comment every 15 s keeps the "
        "stream open. Each event after the first takes a token of the bucket for reads.",
        parameters=("events", "Last-Event-ID"),
        refusals=("invalid_request", "rate_limited"),
        reads_database=False,
    ),
    Operation(
        "GET",
        "/events/{event_id}/booking",
        "read_own_booking",
        Tag.READING,
        Audience.USER,
        "Read one's own live booking, with its position while it waits",
        (ResponseDoc(200, "The booking.", success("Fetched booking", BOOKING, examples.HELD)),),
        refusals=("booking_not_found",),
    ),
    Operation(
        "GET",
        "/events/{event_id}/calendar.ics",
        "calendar_entry",
        Tag.READING,
        Audience.ANYONE,
        "Read an event as an entry for a calendar",
        (
            ResponseDoc(
                200,
                "An iCalendar file; its times are in UTC.",
                text(MEDIA_TYPE, examples.CALENDAR),
                ("Content-Disposition",),
            ),
        ),
        "`not_found` if the organizer has not told when the event begins.",
        refusals=("not_found", "rate_limited"),
    ),
    Operation(
        "GET",
        "/bookings",
        "list_own_bookings",
        Tag.READING,
        Audience.USER,
        "List one's own bookings of all events, in every state, newest first",
        (
            ResponseDoc(
                200,
                "A page.",
                success(
                    "Fetched bookings",
                    list_of(response_schemas.BookingData),
                    [examples.BOOKING],
                    ("events",),
                    has_more=HAS_MORE,
                    up_to_date=UP_TO_DATE,
                    events=EVENTS_OF_BOOKINGS,
                ),
            ),
        ),
        parameters=("limit", "bookings.starting_after", "with_events"),
        reads_database=True,
    ),
    Operation(
        "GET",
        "/events/{event_id}/bookings",
        "list_bookings",
        Tag.ORGANIZING,
        Audience.ORGANIZER,
        "List an event's bookings, or download all of them",
        (
            ResponseDoc(
                200,
                "A page; with `format` csv or ndjson a whole file, which ignores `limit` and `starting_after`.",
                {
                    **success(
                        "Fetched bookings",
                        list_of(response_schemas.BookingData),
                        examples.LISTED,
                        has_more=HAS_MORE,
                        seq=SEQ,
                        up_to_date=UP_TO_DATE,
                    ),
                    **text(FORMATS["csv"][0], examples.CSV),
                    **text(FORMATS["ndjson"][0], examples.NDJSON),
                },
                ("X-Event-Seq", "Content-Disposition"),
            ),
        ),
        "Users who have an account here are listed with their `email`. If a spreadsheet would read a csv cell as a "
        "formula, an apostrophe is put in front of it. A file is ordered from the oldest booking to the newest.",
        parameters=("limit", "bookings.starting_after", "status", "q", "order", "format"),
        reads_database=True,
    ),
    Operation(
        "GET",
        "/events/{event_id}/changes",
        "list_changes",
        Tag.ORGANIZING,
        Audience.ORGANIZER,
        "Follow an event's changes, oldest first",
        (
            ResponseDoc(
                200,
                "The changes after `after`; after a wait without any, an empty list.",
                success("Fetched changes", list_of(response_schemas.ChangeData), examples.CHANGES, has_more=HAS_MORE),
            ),
        ),
        "What it tells is in the database, so it is never taken back. A client that passes the last `seq` that it has "
        "as `after` misses nothing.",
        parameters=("after", "changes.limit", "wait"),
        reads_database=True,
    ),
    Operation(
        "GET",
        "/events/{event_id}/report",
        "report",
        Tag.ORGANIZING,
        Audience.ORGANIZER,
        "Report how a sale went",
        (
            ResponseDoc(
                200,
                "The report.",
                success("Fetched report", ref(response_schemas.ReportData), examples.REPORT, up_to_date=UP_TO_DATE),
            ),
        ),
        reads_database=True,
    ),
    Operation(
        "GET",
        "/events/{event_id}/audit",
        "audit",
        Tag.ORGANIZING,
        Audience.ORGANIZER,
        "Compare Redis with the database, booking by booking",
        (
            ResponseDoc(
                200,
                "The result of the comparison.",
                success("Redis and the database agree.", ref(response_schemas.AuditData), examples.AUDIT),
            ),
        ),
        "Capacity = available + held + sold on both sides, and Redis = database once the stream has drained.",
        reads_database=True,
    ),
    Operation(
        "GET",
        "/events/{event_id}/refunds",
        "list_refunds",
        Tag.ORGANIZING,
        Audience.ORGANIZER,
        "List an event's refunds, newest first",
        (
            ResponseDoc(
                200,
                "A page.",
                success(
                    "Fetched refunds",
                    list_of(response_schemas.RefundData),
                    [examples.REFUND],
                    has_more=HAS_MORE,
                    up_to_date=UP_TO_DATE,
                ),
            ),
        ),
        "Each is a payment that came too late for its tickets. The service gives no money back: the organizer does, "
        "and marks the refund as done.",
        parameters=("limit", "refunds.starting_after", "refunds.status"),
        reads_database=True,
    ),
    Operation(
        "GET",
        "/events/{event_id}/payment-secret",
        "read_payment_secret",
        Tag.ORGANIZING,
        Audience.ORGANIZER,
        "Read the secret with which the links behind which buyers pay are signed",
        (
            ResponseDoc(
                200,
                "The secret.",
                success("Fetched payment secret", ref(response_schemas.PaymentSecretData), examples.PAYMENT_SECRET),
            ),
        ),
        "A link's `signature` is HMAC-SHA256 in lower-case hexadecimal digits. Its key is the secret, as the text it "
        "is; its message is `event_id`, a line feed, `user_id`, a line feed, `payment_id`, in UTF-8. A shop checks it "
        "before it takes a payment. The secret is derived from the one that signs the service's tokens, and is another "
        "one as soon as that is replaced; keys of an identity provider have no part in it.",
    ),
)

PAGE = text(b"text/html", "<!doctype html>")
NOT_MODIFIED = ResponseDoc(304, "It is still the version of If-None-Match.", {})


def _page(path: str, id: str, summary: str, *more: ResponseDoc, refusals: tuple[str, ...] = ()) -> Operation:  # noqa: A002  # the document's own word
    return Operation(
        "GET",
        path,
        id,
        Tag.SERVICE,
        Audience.ANYONE,
        summary,
        (ResponseDoc(200, "The page.", PAGE), NOT_MODIFIED, *more),
        parameters=("If-None-Match",),
        refusals=refusals,
        reads_redis=False,
    )


SERVICE = (
    Operation(
        "GET",
        "/healthz",
        "healthz",
        Tag.SERVICE,
        Audience.ANYONE,
        "Whether the process answers",
        (
            ResponseDoc(200, "It does.", {JSON: {"schema": ref(health.AliveData), "example": {"status": "alive"}}}),
            ResponseDoc(
                503,
                "It is about to stop, and wants no new requests.",
                {JSON: {"schema": ref(health.AliveData), "example": {"status": "stopping"}}},
                ("Retry-After",),
            ),
        ),
        reads_redis=False,
    ),
    Operation(
        "GET",
        "/readyz",
        "readyz",
        Tag.SERVICE,
        Audience.ANYONE,
        "Whether the service can serve, part by part",
        (
            ResponseDoc(200, "It can.", {JSON: {"schema": ref(health.ReadyData), "example": examples.READY}}),
            ResponseDoc(
                503,
                "It cannot, and why.",
                {JSON: {"schema": ref(health.ReadyData), "example": examples.UNAVAILABLE}},
                ("Retry-After",),
            ),
        ),
        reads_redis=False,
    ),
    Operation(
        "GET",
        "/metrics",
        "metrics",
        Tag.SERVICE,
        Audience.ANYONE,
        "Metrics, in Prometheus's text format",
        (ResponseDoc(200, "All processes' counters.", text(b"text/plain", examples.METRICS)),),
        reads_redis=False,
    ),
    Operation(
        "GET",
        "/openapi.json",
        "openapi",
        Tag.SERVICE,
        Audience.ANYONE,
        "This document",
        (
            ResponseDoc(200, "OpenAPI 3.1.", {JSON: {"schema": {"type": "object"}}}, ("ETag",)),
            ResponseDoc(304, "It is still the version of If-None-Match.", {}, ("ETag",)),
        ),
        parameters=("If-None-Match",),
        reads_redis=False,
    ),
    _page("/", "sales_page", "The list of sales, as a page"),
    _page(
        "/sale/{event_id}",
        "sale_page",
        "A sale's page for buyers",
        ResponseDoc(404, "A page that says that there is no such sale.", PAGE),
    ),
    _page("/me", "own_tickets_page", "One's own tickets, as a page"),
    _page("/console", "console_page", "The organizer's console, as a page"),
    _page("/account", "account_page", "The user's own account, as a page"),
    _page("/reset", "reset_page", "The page behind the link in a mail, where a new password is chosen"),
    _page("/console/webhooks", "webhooks_page", "The organizer's webhooks, as a page"),
    _page("/docs", "docs", "This document as a page"),
    _page("/problems", "list_problems", "Every problem's code, as a page"),
    _page("/problems/{code}", "explain_problem", "A problem's code explained to a person", refusals=("not_found",)),
)
