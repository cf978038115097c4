"""The operations that change something: booking, organizing, accounts."""

from booking.domain.outcomes import Status
from booking.web import request_schemas as payloads
from booking.web import response_schemas as shapes
from booking.web.endpoints.sale import SUCCESSES
from booking.web.openapi import examples
from booking.web.openapi.operation import Answer, Operation, Tag, Who
from booking.web.openapi.schemas import ref, success

BOOKING = ref(shapes.BookingData)
EVENT = ref(shapes.EventData)
WELCOME = ref(shapes.WelcomeData)
EVENT_ID = ({"type": "integer", "minimum": 1}, 1)

FROM_THE_STEP = ("event_not_found", "idempotency_key_reused", "rate_limited")
"""What the atomic step of every verb may say."""


def _message(status: Status) -> str:
    return SUCCESSES[status][1]


SELLING = (
    Operation(
        "POST",
        "/book",
        "book",
        Tag.SALE,
        Who.USER,
        "Book tickets, or a place on the waiting list",
        (
            Answer(
                201,
                "Booked; or held, where the event has `hold_seconds`, until `expires_at`.",
                success(_message(Status.BOOKED), BOOKING, examples.BOOKING),
                ("Location",),
            ),
            Answer(
                202,
                "On the waiting list. Whoever waits already keeps their place.",
                success(_message(Status.JOINED), BOOKING, examples.WAITING),
            ),
        ),
        "`quantity` is all or nothing. The waiting list is strict first come, first served: while anyone waits, nobody "
        "overtakes, even if a smaller quantity would fit. A user has at most one live booking of an event.",
        payloads.BookRequest,
        {"event_id": 1, "quantity": 2},
        ("Idempotency-Key",),
        (
            *FROM_THE_STEP,
            "already_booked",
            "sold_out",
            "waitlist_full",
            "quantity_over_limit",
            "sale_not_open",
            "sale_closed",
            "sale_paused",
        ),
    ),
    Operation(
        "POST",
        "/confirm",
        "confirm",
        Tag.SALE,
        Who.USER,
        "Confirm a hold",
        (
            Answer(
                200,
                "Confirmed; and again, if it was already.",
                success(_message(Status.CONFIRMED), BOOKING, examples.BOOKING),
            ),
        ),
        "A hold past its `expires_at` is dead the moment it is looked at.",
        payloads.ConfirmRequest,
        {"event_id": 1},
        ("Idempotency-Key",),
        (*FROM_THE_STEP, "booking_not_found", "hold_expired", "still_waiting"),
    ),
    Operation(
        "POST",
        "/cancel",
        "cancel",
        Tag.SALE,
        Who.USER,
        "Cancel a booking, or leave the waiting list",
        (
            Answer(
                200,
                "Cancelled. What it frees goes to the head of the waiting list in the same atomic step.",
                success(_message(Status.CANCELLED), BOOKING, examples.CANCELLED),
            ),
        ),
        "One's own; organizers may name a `user_id`.",
        payloads.CancelRequest,
        {"event_id": 1},
        ("Idempotency-Key",),
        (*FROM_THE_STEP, "booking_not_found", "forbidden"),
    ),
    Operation(
        "POST",
        "/initialize",
        "initialize",
        Tag.ORGANIZING,
        Who.ORGANIZER,
        "Make an event and open its sale",
        (
            Answer(
                201,
                "Made.",
                success("Event created successfully", EVENT, examples.EVENT, event_id=EVENT_ID, eventd=EVENT_ID),
                ("Location",),
            ),
        ),
        "`eventd` is `event_id` once more, for clients of the system that this one replaces.",
        payloads.InitializeRequest,
        {"event_name": "One night only", "available_tickets": 100, "max_per_user": 4, "hold_seconds": 300},
    ),
    Operation(
        "PATCH",
        "/events/{event_id}",
        "change_event",
        Tag.ORGANIZING,
        Who.ORGANIZER,
        "Change an event",
        (Answer(200, "Changed.", success("Event updated successfully", EVENT, examples.EVENT)),),
        "What is named changes; the rest stays. A larger capacity goes to the waiting list at once. Pausing stops "
        "`/book` alone: confirming, cancelling, expiry and promotion go on.",
        payloads.ChangeRequest,
        {"capacity": 120, "paused": False},
        refusals=("capacity_below_sold",),
    ),
    Operation(
        "POST",
        "/auth/register",
        "register",
        Tag.ACCOUNTS,
        Who.ANYONE,
        "Register an account",
        (
            Answer(
                201, "Registered, and signed in.", success("Account created successfully", WELCOME, examples.WELCOME)
            ),
        ),
        "Accounts become organizers by `booking user add EMAIL --organizer`. The user id of account 3 is `account:3`. "
        "`not_found` if the service has no accounts of its own (`BOOKING_ACCOUNTS`).",
        payloads.RegisterRequest,
        {"email": "ada@example.com", "password": "correct horse battery staple"},
        refusals=("email_taken", "rate_limited", "overloaded", "not_found"),
        reads_database=True,
    ),
    Operation(
        "POST",
        "/auth/login",
        "login",
        Tag.ACCOUNTS,
        Who.ANYONE,
        "Log in for a token",
        (
            Answer(
                200,
                "Signed in; the token is good for an hour.",
                success("Logged in successfully", WELCOME, examples.WELCOME),
            ),
        ),
        "Takes the same time whether or not the email exists. `not_found` if the service has no accounts of its own.",
        payloads.LoginRequest,
        {"email": "ada@example.com", "password": "correct horse battery staple"},
        refusals=("invalid_credentials", "rate_limited", "overloaded", "not_found"),
        reads_database=True,
    ),
)
