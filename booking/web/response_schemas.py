"""The types of response bodies. The schemas of the OpenAPI document are made from them."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic takes it from here before Python 3.12

from booking.domain.changes import ChangeKind
from booking.domain.details import OFFER_SECONDS_MAX, PAYMENT_SECONDS_MAX, PAYMENT_SECONDS_MIN, Visibility
from booking.domain.model import CAPACITY_MAX, HOLD_SECONDS_MAX, MAX_PER_USER_MAX, BookingStatus, EventState, Source

CURRENCY = "^[A-Z]{3}$"
"""A currency in the form of ISO 4217."""

documented = with_config(ConfigDict(use_attribute_docstrings=True))
"""The docstring below a field becomes its description in the schema."""

Id = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-22T21:30:00.125Z"])]


def described(text: str) -> Any:
    """The description of a field that several types inherit: pydantic finds no docstring of an inherited one."""
    return Field(description=text)


OrganizerId = Annotated[
    str | None, described("The user id that created the event. null: it belongs to the administrators.")
]


class RulesData(TypedDict):
    """What an event, its details and its changes have in common."""

    id: Id
    name: str
    venue: str | None
    starts_at: Annotated[Instant | None, described("When the event itself begins.")]
    time_zone: Annotated[str | None, described("The IANA name of the zone in which people are told the event's times.")]
    visibility: Annotated[
        Visibility,
        described("`unlisted` and `archived` events are in no list; nothing can be booked of an `archived` one."),
    ]
    capacity: Annotated[int, Field(ge=1, le=CAPACITY_MAX)]
    max_per_user: Annotated[int, Field(ge=1, le=MAX_PER_USER_MAX)]
    hold_seconds: Annotated[int, Field(ge=0, le=HOLD_SECONDS_MAX), described("0: bookings are confirmed at once.")]
    offer_seconds: Annotated[
        int,
        Field(ge=0, le=OFFER_SECONDS_MAX),
        described("How long tickets are held for a user from the waiting list. 0: they are confirmed at once."),
    ]
    payment_seconds: Annotated[
        int,
        Field(ge=PAYMENT_SECONDS_MIN, le=PAYMENT_SECONDS_MAX),
        described("How long a hold is once its user has begun to pay."),
    ]
    takes_payment: Annotated[
        bool, described("Whether `POST /checkout` gives a link behind which a hold is paid for (`payment_url`).")
    ]
    waitlist_limit: Annotated[
        Count | None, described("The most tickets that waiting users may want together; null: unbounded.")
    ]
    opens_at: Instant | None
    closes_at: Instant | None
    paused: bool


@documented
class EventData(RulesData):
    """An event. Always `capacity = available_tickets + tickets_held + tickets_sold`."""

    created_at: Instant
    organizer_id: OrganizerId
    available_tickets: Count
    bookings_count: Count
    """Live confirmed bookings."""
    held_count: Count
    """Live held bookings."""
    tickets_sold: Count
    tickets_held: Count
    waiting_list_count: Count
    """Entries on the waiting list."""
    waiting_tickets: Count
    """The tickets of these entries."""
    state: EventState
    seq: Id
    """Grows by exactly one with each change of the event or its bookings."""


@documented
class PriceData(TypedDict):
    """What a ticket costs. It is told to buyers; the service does not charge it."""

    amount: Count
    """In the currency's smallest unit, such as cents."""
    currency: Annotated[str, Field(pattern=CURRENCY)]
    """In the form of ISO 4217."""


@documented
class ToldRulesData(RulesData):
    """All that an organizer sets, as a change of the event left it."""

    description: str | None
    """Plain text, which may have several lines."""
    ends_at: Instant | None
    price: PriceData | None
    payment_url: str | None
    """The template of the link behind which a buyer pays."""


@documented
class DetailsData(ToldRulesData):
    """What the organizer has set. It has no counters, so it changes only if an organizer changes the event."""

    created_at: Instant
    organizer_id: OrganizerId


@documented
class BookingData(TypedDict):
    """A booking."""

    id: Annotated[str, Field(examples=["1-2"])]
    event_id: Id
    user_id: str
    quantity: Annotated[int, Field(ge=1, le=MAX_PER_USER_MAX)]
    status: BookingStatus
    source: Source
    """`waitlist` if the booking was on the waiting list first."""
    created_at: Instant
    """When the booking was requested; a promotion does not change it."""
    expires_at: NotRequired[Instant]
    """The end of the hold; only while the booking is held."""
    position: NotRequired[Id]
    """The position on the waiting list; only while the booking is waiting. 1 is next."""
    payment_id: NotRequired[str]
    """The payment that was begun for the booking, or that it was booked for; only if there is one."""
    payment_url: NotRequired[str | None]
    """Only in the answer of `POST /checkout`: the link behind which the hold is paid for. null: the event has none, or
    the booking is confirmed."""
    refund: NotRequired[Literal["due", "done"]]
    """Whether the money was given back; only in the list of one's own bookings, if the payment came too late."""
    ended_at: NotRequired[Instant]
    """When the booking was cancelled, or its hold expired; only in the list of one's own bookings."""
    email: NotRequired[str]
    """The email of the user's account, in lists for the event's organizer."""


@documented
class ChangeData(TypedDict):
    """A change of an event, or of one of its bookings, which is what the change left."""

    event_id: Id
    seq: Id
    """Later changes have larger numbers. After a restoration of Redis, numbers may have been skipped."""
    kind: ChangeKind
    at: Instant
    actor: str | None
    """The user id whose call caused it. null: the end of a hold did. A promotion has the one who freed the tickets."""
    reason: NotRequired[str]
    """What an organizer who cancelled the booking has said."""
    booking: NotRequired[BookingData]
    """In all kinds but `created` and `changed`."""
    event: NotRequired[ToldRulesData]
    """In `created` and `changed`."""


@documented
class RefundData(TypedDict):
    """A payment that came too late for its tickets, so that its money has to be given back."""

    payment_id: str
    booking_id: str
    """The hold that it was begun for."""
    user_id: str
    email: NotRequired[str]
    """The email of the user's account, if it has one."""
    quantity: Annotated[int, Field(ge=1, le=MAX_PER_USER_MAX)]
    due_at: Instant
    done_at: Instant | None
    """When the refund was marked as done; null: it is due."""
    done_by: str | None
    """The user id that marked it."""


@documented
class PaymentSecretData(TypedDict):
    """The secret with which the links behind which buyers pay are signed."""

    event_id: Id
    secret: str
    """64 hexadecimal digits. As this text it is the key of HMAC-SHA256; see the operation."""


@documented
class WebhookData(TypedDict):
    """A webhook."""

    id: Id
    owner_id: str
    """The user id of the organizer who registered it."""
    url: str
    kinds: list[ChangeKind]
    event_id: Id | None
    """null: it is told of all events that its owner has created."""
    description: str
    status: Literal["enabled", "disabled"]
    disabled_reason: str | None
    """Why nothing is sent; null if it is enabled."""
    created_at: Instant
    secret: NotRequired[str]
    """With it its messages are signed (Standard Webhooks). Only in the answer that makes it."""


@documented
class DeliveryData(TypedDict):
    """One attempt to deliver a message."""

    id: str
    message_id: str
    """The header `webhook-id`, the same in all attempts."""
    type: str
    event_id: Id | None
    seq: Id | None
    at: Instant
    attempt: Id
    delivered: bool
    status: int | None
    """The HTTP status of the answer; null: there was none."""
    error: str | None
    """Why it failed."""
    answer: str | None
    """How the answer's body begins."""
    duration_ms: Count


@documented
class TestData(TypedDict):
    """What became of a test message."""

    message_id: str
    delivered: bool
    status: int | None
    error: str | None
    answer: str | None
    duration_ms: Count


@documented
class UserData(TypedDict):
    """An account."""

    id: Id
    """The number of the account. Its bookings have the user id `account:` and this number."""
    email: str


@documented
class WelcomeData(TypedDict):
    """The result of a successful registration or login."""

    token: str
    """A bearer token, valid for an hour. `POST /auth/renew` makes another of it, up to 24 hours after the login."""
    user: UserData


@documented
class TotalsData(TypedDict):
    """The totals of a sale."""

    bookings: Count
    """Live confirmed bookings."""
    tickets: Count
    """Tickets of live confirmed bookings."""
    held: Count
    cancelled: Count
    expired: Count
    promoted: Count
    """How many waiting bookings were given their tickets."""
    waiting: Count
    refunds_due: Count
    """Payments that came too late for their tickets, in all."""
    refunds_done: Count
    """Those of them whose money was given back."""


@documented
class MinuteData(TypedDict):
    """What happened in one minute."""

    minute: Instant
    booked: Count
    joined: Count
    promoted: Count
    cancelled: Count
    """Includes users who left the waiting list."""
    expired: Count


@documented
class ReportData(TypedDict):
    """A sale's report."""

    event_id: Id
    totals: TotalsData
    per_minute: list[MinuteData]
    sold_out_at: Instant | None
    seconds_to_sell_out: Annotated[float, Field(ge=0)] | None
    """Counted from the opening of the sale, or from the creation of the event if that was later."""
    refusals: dict[str, Count]
    """How many calls were refused, by code."""


@documented
class CountersData(TypedDict, total=False):
    """An event's counters on one side, Redis or the database. Empty if that side does not have the event."""

    capacity: int
    available_tickets: int
    tickets_held: int
    tickets_sold: int
    bookings_count: int
    held_count: int
    waiting_tickets: int
    """The number of tickets that waiting users want."""


@documented
class SidesData(TypedDict):
    """An event's counters on both sides, as of `seq_redis`."""

    redis: CountersData
    database: CountersData


@documented
class DifferenceData(TypedDict):
    """One difference between the sides, or one impossible value."""

    kind: str
    user_id: str | None
    redis: Any
    database: Any
    meaning: str
    """An explanation for the operator."""


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
    """Users whose booking changed each time it was read; they are not compared."""
    differences: list[DifferenceData]
    more_differences: Count
    """The number of differences that are not listed."""


@documented
class FaultData(TypedDict):
    """One thing that is wrong with a request."""

    pointer: Annotated[str, Field(examples=["/quantity", "?limit", "Idempotency-Key"])]
    """A JSON pointer into the body (RFC 6901), `?name` of a query parameter, or a header's name."""
    detail: str


@documented
class ProblemData(TypedDict):
    """A failure: a problem document (RFC 9457), with the `error` and `message` fields that older clients read."""

    type: Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]
    """The address of the page that explains the problem."""
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    code: str
    """The code that programs check; its meaning never changes."""
    request_id: str
    """With it, the request's lines in the log are found. A replayed response has the id of the first call."""
    error: Literal[True]
    message: str
    """The same as `detail`."""
    errors: NotRequired[list[FaultData]]
    """Every fault of the request, not just the first."""
    data: NotRequired[dict[str, Any]]
