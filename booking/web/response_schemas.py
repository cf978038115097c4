"""What answers hold, field by field: the types of what endpoints send, and the schemas of the OpenAPI document."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic takes it from here before Python 3.12

from booking.domain.model import CAPACITY_MAX, HOLD_SECONDS_MAX, MAX_PER_USER_MAX, BookingStatus, EventState, Source

documented = with_config(ConfigDict(use_attribute_docstrings=True))
"""The sentence under a field is its description."""

Id = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-22T21:30:00.125Z"])]


@documented
class EventData(TypedDict):
    """An event. Always `capacity = available_tickets + tickets_held + tickets_sold`."""

    id: Id
    name: str
    capacity: Annotated[int, Field(ge=1, le=CAPACITY_MAX)]
    available_tickets: Count
    bookings_count: Count
    """Live confirmed bookings."""
    held_count: Count
    """Live held bookings."""
    tickets_sold: Count
    tickets_held: Count
    waiting_list_count: Count
    """Entries on the waiting list."""
    max_per_user: Annotated[int, Field(ge=1, le=MAX_PER_USER_MAX)]
    hold_seconds: Annotated[int, Field(ge=0, le=HOLD_SECONDS_MAX)]
    """0: bookings are confirmed at once."""
    waitlist_limit: Count | None
    """Tickets' worth of waiting allowed; null: unbounded."""
    opens_at: Instant | None
    closes_at: Instant | None
    paused: bool
    state: EventState
    seq: Id
    """Grows by exactly one with each change of the event or its bookings."""
    created_at: Instant


@documented
class BookingData(TypedDict):
    """A booking."""

    id: Annotated[str, Field(examples=["1-2"])]
    event_id: Id
    user_id: str
    quantity: Annotated[int, Field(ge=1, le=MAX_PER_USER_MAX)]
    status: BookingStatus
    source: Source
    """`waitlist` for whoever waited."""
    created_at: Instant
    """When it was asked for; promotion leaves it."""
    expires_at: NotRequired[Instant]
    """The end of the hold; only while it is held."""
    position: NotRequired[Id]
    """The place on the waiting list; only while it is waiting. 1 is next."""


@documented
class UserData(TypedDict):
    """An account."""

    id: Id
    """Its decimal text is the user id of the account's bookings."""
    email: str


@documented
class WelcomeData(TypedDict):
    """What a successful register or login gives."""

    token: str
    """A bearer token, good for an hour."""
    user: UserData


@documented
class TotalsData(TypedDict):
    """A sale in numbers."""

    bookings: Count
    """Live confirmed bookings."""
    tickets: Count
    """Their tickets."""
    held: Count
    cancelled: Count
    expired: Count
    promoted: Count
    """Times that somebody was given a ticket from the waiting list."""
    waiting: Count


@documented
class MinuteData(TypedDict):
    """What happened in one minute."""

    minute: Instant
    booked: Count
    joined: Count
    promoted: Count
    cancelled: Count
    """Those who left the waiting list included."""
    expired: Count


@documented
class ReportData(TypedDict):
    """A sale's report."""

    event_id: Id
    totals: TotalsData
    per_minute: list[MinuteData]
    sold_out_at: Instant | None
    seconds_to_sell_out: Annotated[float, Field(ge=0)] | None
    """From the opening, or from the event's making where that was later."""
    refusals: dict[str, Count]
    """How many calls were refused, by code."""


@documented
class CountersData(TypedDict, total=False):
    """An event's counters on one side. Missing where that side does not have the event."""

    capacity: int
    available_tickets: int
    tickets_held: int
    tickets_sold: int
    bookings_count: int
    held_count: int
    waiting_tickets: int
    """Tickets' worth of waiting."""


@documented
class SidesData(TypedDict):
    """An event's counters on both sides, as of `seq_redis`."""

    redis: CountersData
    database: CountersData


@documented
class DifferenceData(TypedDict):
    """One thing on which the sides differ, or which cannot be."""

    kind: str
    user_id: str | None
    redis: Any
    database: Any
    meaning: str
    """What it means to whoever has to do something about it."""


@documented
class AuditData(CountersData):
    """Redis and the database compared, booking by booking. The counters at the top are Redis's."""

    event_id: Id
    ok: bool
    seq_redis: int | None
    seq_database: int | None
    counters: SidesData
    bookings_compared: Count
    unsettled: Count
    """Users whose booking changed each time it was looked at; nothing is said of them."""
    differences: list[DifferenceData]
    more_differences: Count
    """Differences beyond those that are listed."""


@documented
class FaultData(TypedDict):
    """One thing that is wrong with a request."""

    pointer: Annotated[str, Field(examples=["/quantity", "?limit", "Idempotency-Key"])]
    """A JSON pointer into the body (RFC 6901), `?name` of a query parameter, or a header's name."""
    detail: str


@documented
class ProblemData(TypedDict):
    """A failure: a problem document (RFC 9457) that is also the error shape of older clients."""

    type: Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]
    """The page that explains it to a person."""
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    code: str
    """What programs switch on; it never changes its meaning."""
    request_id: str
    """Finds the request's lines in the log. A replayed answer has the id of the first call."""
    error: Literal[True]
    message: str
    """The same as `detail`."""
    errors: NotRequired[list[FaultData]]
    """Every fault of the request, not just the first."""
    data: NotRequired[dict[str, Any]]
