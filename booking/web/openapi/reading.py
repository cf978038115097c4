"""The operations that only read."""

from booking.web import response_schemas as shapes
from booking.web.endpoints import health
from booking.web.endpoints.exports import FORMATS
from booking.web.openapi import examples
from booking.web.openapi.operation import JSON, Answer, Content, Operation, Tag, Who
from booking.web.openapi.schemas import HAS_MORE, UP_TO_DATE, ref, some, success

BOOKING = ref(shapes.BookingData)
EVENT = ref(shapes.EventData)
TEXT = {"type": "string"}
SEQ = ({"type": "integer", "description": "The event's seq as of which the list is."}, 5)


def text(media_type: bytes, example: str | bytes) -> dict[str, Content]:
    """The content of an answer that is not JSON."""
    shown = example if isinstance(example, str) else example.decode()
    return {media_type.decode().partition(";")[0]: {"schema": TEXT, "example": shown}}


def _event(id: str, path: str, summary: str) -> Operation:  # noqa: A002  # the document's own word
    return Operation(
        "GET",
        path,
        id,
        Tag.READING,
        Who.ANYONE,
        summary,
        (
            Answer(200, "The event as it is now.", success("Fetched event", EVENT, examples.EVENT), ("ETag",)),
            Answer(304, "It is still the version of If-None-Match.", {}, ("ETag",)),
        ),
        parameters=("If-None-Match",),
    )


READING = (
    Operation(
        "GET",
        "/events",
        "list_events",
        Tag.READING,
        Who.ANYONE,
        "List the events, newest first",
        (
            Answer(
                200, "A page.", success("Fetched events", some(shapes.EventData), [examples.EVENT], has_more=HAS_MORE)
            ),
        ),
        parameters=("limit", "events.starting_after"),
    ),
    _event("read_event", "/events/{event_id}", "Read an event"),
    _event("status", "/status/{event_id}", "Read an event, by its older address"),
    Operation(
        "GET",
        "/events/{event_id}/live",
        "listen",
        Tag.READING,
        Who.ANYONE_OR_USER,
        "Listen to an event as it changes (Server-Sent Events)",
        (Answer(200, "A stream that lasts as long as both sides like.", text(b"text/event-stream", examples.LIVE)),),
        "`event: availability` with the event, at once and then on change, at most 4 a second; for a signed-in user "
        "also `event: booking` with their booking or `null`. `id:` is the event's `seq`. A comment every 15 s keeps it "
        "open; whoever comes back with Last-Event-ID has missed nothing.",
        parameters=("Last-Event-ID",),
    ),
    Operation(
        "GET",
        "/events/{event_id}/booking",
        "read_own_booking",
        Tag.READING,
        Who.USER,
        "Read one's own live booking, with its place while it waits",
        (Answer(200, "The booking.", success("Fetched booking", BOOKING, examples.HELD)),),
        refusals=("booking_not_found",),
    ),
    Operation(
        "GET",
        "/bookings",
        "list_own_bookings",
        Tag.READING,
        Who.USER,
        "List one's own bookings of all events, whatever became of them, newest first",
        (
            Answer(
                200,
                "A page.",
                success(
                    "Fetched bookings",
                    some(shapes.BookingData),
                    [examples.BOOKING],
                    has_more=HAS_MORE,
                    up_to_date=UP_TO_DATE,
                ),
            ),
        ),
        parameters=("limit", "bookings.starting_after"),
        reads_database=True,
    ),
    Operation(
        "GET",
        "/events/{event_id}/bookings",
        "list_bookings",
        Tag.ORGANIZING,
        Who.ORGANIZER,
        "List an event's bookings, or download all of them",
        (
            Answer(
                200,
                "A page; with `format` csv or ndjson a file, which `limit` and `starting_after` do not touch.",
                {
                    **success(
                        "Fetched bookings",
                        some(shapes.BookingData),
                        [examples.WAITING, examples.BOOKING],
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
        "A cell of the csv that a spreadsheet would take for a formula begins with an apostrophe.",
        parameters=("limit", "bookings.starting_after", "status", "format"),
        reads_database=True,
    ),
    Operation(
        "GET",
        "/events/{event_id}/report",
        "report",
        Tag.ORGANIZING,
        Who.ORGANIZER,
        "Report how a sale went",
        (
            Answer(
                200,
                "The report.",
                success("Fetched report", ref(shapes.ReportData), examples.REPORT, up_to_date=UP_TO_DATE),
            ),
        ),
        reads_database=True,
    ),
    Operation(
        "GET",
        "/events/{event_id}/audit",
        "audit",
        Tag.ORGANIZING,
        Who.ORGANIZER,
        "Compare Redis with the database, booking by booking",
        (
            Answer(
                200, "What was found.", success("Redis and the database agree.", ref(shapes.AuditData), examples.AUDIT)
            ),
        ),
        "Capacity = available + held + sold on both sides, and Redis = database once the stream has drained.",
        reads_database=True,
    ),
)

PAGE = text(b"text/html", "<!doctype html>")
NOT_MODIFIED = Answer(304, "It is still the version of If-None-Match.", {})


def _page(path: str, id: str, summary: str, *more: Answer, refusals: tuple[str, ...] = ()) -> Operation:  # noqa: A002  # the document's own word
    return Operation(
        "GET",
        path,
        id,
        Tag.SERVICE,
        Who.ANYONE,
        summary,
        (Answer(200, "The page.", PAGE), NOT_MODIFIED, *more),
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
        Who.ANYONE,
        "Whether the process answers",
        (Answer(200, "It does.", {JSON: {"schema": ref(health.AliveData), "example": {"status": "alive"}}}),),
        reads_redis=False,
    ),
    Operation(
        "GET",
        "/readyz",
        "readyz",
        Tag.SERVICE,
        Who.ANYONE,
        "Whether the service can serve, part by part",
        (
            Answer(200, "It can.", {JSON: {"schema": ref(health.ReadyData), "example": examples.READY}}),
            Answer(
                503,
                "It cannot, and why.",
                {JSON: {"schema": ref(health.ReadyData), "example": examples.AWAY}},
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
        Who.ANYONE,
        "Metrics, in Prometheus's text format",
        (Answer(200, "All processes' counters.", text(b"text/plain", examples.METRICS)),),
        reads_redis=False,
    ),
    Operation(
        "GET",
        "/openapi.json",
        "openapi",
        Tag.SERVICE,
        Who.ANYONE,
        "This document",
        (
            Answer(200, "OpenAPI 3.1.", {JSON: {"schema": {"type": "object"}}}, ("ETag",)),
            Answer(304, "It is still the version of If-None-Match.", {}, ("ETag",)),
        ),
        parameters=("If-None-Match",),
        reads_redis=False,
    ),
    _page("/", "sales_page", "The sales there are, as a page"),
    _page(
        "/sale/{event_id}",
        "sale_page",
        "A sale's page for buyers",
        Answer(404, "A page that says there is none.", PAGE),
    ),
    _page("/console", "console_page", "The organizer's console, as a page"),
    _page("/docs", "docs", "This document as a page"),
    _page("/problems", "list_problems", "Every problem's code, as a page"),
    _page("/problems/{code}", "explain_problem", "A problem's code explained to a person", refusals=("not_found",)),
)
