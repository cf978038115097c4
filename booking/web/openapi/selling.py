"""The operations that change something: booking, organizing, accounts."""

from booking.domain.outcomes import Status
from booking.web import request_schemas, response_schemas
from booking.web.endpoints.sale import SUCCESSES
from booking.web.openapi import examples
from booking.web.openapi.operation import Audience, Operation, ResponseDoc, Tag
from booking.web.openapi.schemas import Schema, ref, success

BOOKING = ref(response_schemas.BookingData)
EVENT = ref(response_schemas.EventData)
WELCOME = ref(response_schemas.WelcomeData)
USER = ref(response_schemas.UserData)
EMPTY_OBJECT: Schema = {"type": "object", "maxProperties": 0}
EVENT_ID = ({"type": "integer", "minimum": 1}, 1)

STRIPE_OUTCOME: Schema = {
    "type": "object",
    "required": ["outcome"],
    "properties": {"outcome": {"type": "string"}},
}

COMMAND_CODES = ("event_not_found", "idempotency_key_reused", "rate_limited")
"""The problem codes that every command has."""

ACTING = (
    'The event\'s organizer, and a token with `role: "service"`, call for the buyer whom `user_id` names; a service '
    "has to name one. Rate limit and idempotency keys are the caller's; a service may call a hundred times as often as "
    "a user."
)


def _message(status: Status) -> str:
    return SUCCESSES[status][1]


SELLING = (
    Operation(
        "POST",
        "/book",
        "book",
        Tag.SALE,
        Audience.USER,
        "Book tickets, or a place on the waiting list",
        (
            ResponseDoc(
                201,
                "Booked; or, if the event has `hold_seconds`, held until `expires_at`.",
                success(_message(Status.BOOKED), BOOKING, examples.BOOKING),
                ("Location",),
            ),
            ResponseDoc(
                202,
                "On the waiting list. A user who is already waiting keeps the position.",
                success(_message(Status.JOINED), BOOKING, examples.WAITING),
            ),
        ),
        "`quantity` is all or nothing. The waiting list is strict first come, first served: while a user "
        "waits, no later user is served first, even if a smaller quantity would fit. A user "
        f"has at most one live booking of an event. {ACTING}",
        request_schemas.BookRequest,
        {"event_id": 1, "quantity": 2},
        ("Idempotency-Key",),
        (
            *COMMAND_CODES,
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
        "/checkout",
        "checkout",
        Tag.SALE,
        Audience.USER,
        "Begin to pay for a hold",
        (
            ResponseDoc(
                200,
                "The hold has a `payment_id`, and lasts for the event's `payment_seconds` from now, or as long as "
                "before if that is longer. Once it has one, and once it is confirmed, a further call changes nothing.",
                success(_message(Status.CHECKED_OUT), BOOKING, examples.CHECKED_OUT),
            ),
        ),
        "`payment_url` is the event's link for this payment, filled in and signed; a further call gives it again. The "
        "service calls no payment provider. It hears of a payment by `/confirm` or by Stripe's events, and says what "
        f"the payment came to. {ACTING}",
        request_schemas.CheckoutRequest,
        {"event_id": 1},
        ("Idempotency-Key",),
        (*COMMAND_CODES, "booking_not_found", "hold_expired", "still_waiting"),
    ),
    Operation(
        "POST",
        "/confirm",
        "confirm",
        Tag.SALE,
        Audience.USER,
        "Confirm a hold",
        (
            ResponseDoc(
                200,
                "Confirmed, now or by an earlier call.",
                success(_message(Status.CONFIRMED), BOOKING, examples.BOOKING),
            ),
        ),
        "A hold ends at its `expires_at`; it cannot be confirmed after that. Buyers cannot confirm a booking of an "
        "event with a `payment_url`: a service, the organizer or Stripe does, once it is paid. With `late`, a payment "
        "for a hold that has ended in any way comes to an outcome, once and for all: to a new booking, if its tickets "
        "are free, nobody waits who would be overtaken, and the buyer has no other booking; else to `refund_due`, "
        "which is recorded once. The last 32 payments of a user are known for as long as the event exists. Check a "
        f"refund with the provider: the buyer may have called, too. {ACTING}",
        request_schemas.ConfirmRequest,
        {"event_id": 1},
        ("Idempotency-Key",),
        (
            *COMMAND_CODES,
            "booking_not_found",
            "hold_expired",
            "still_waiting",
            "payment_required",
            "payment_mismatch",
            "refund_due",
        ),
    ),
    Operation(
        "POST",
        "/payments/stripe",
        "stripe_event",
        Tag.SALE,
        Audience.ANYONE,
        "Take an event from Stripe",
        (
            ResponseDoc(
                200,
                "`outcome` says what it came to: `confirmed`, `refund_due`, `cancelled`, `ignored`, or that there is "
                "no such booking or payment.",
                success("Event received.", STRIPE_OUTCOME, {"outcome": "confirmed"}),
            ),
        ),
        "The body is Stripe's event, up to 64 KiB, signed with `BOOKING_STRIPE_SECRET`; without that setting: "
        "`not_found`. The `metadata` of its object names `event_id`, `user_id` and `payment_id`, as text. "
        "`checkout.session.completed` that is `paid` confirms, late if need be; `checkout.session.expired` and "
        "`payment_intent.payment_failed` release the hold. All other events are ignored.",
        parameters=("Stripe-Signature",),
        refusals=("invalid_signature", "malformed_json", "not_found"),
    ),
    Operation(
        "POST",
        "/cancel",
        "cancel",
        Tag.SALE,
        Audience.USER,
        "Cancel a booking, leave the waiting list, or give back a part",
        (
            ResponseDoc(
                200,
                "Cancelled; or, if `quantity` is less than the booking has, the rest. The tickets go to the head of "
                "the waiting list in the same atomic step.",
                success(_message(Status.CANCELLED), BOOKING, examples.CANCELLED),
            ),
        ),
        "The rest of a booking, a hold or a place on the waiting list keeps id, status and place. A call for another "
        f"user may give a `reason`. {ACTING}",
        request_schemas.CancelRequest,
        {"event_id": 1},
        ("Idempotency-Key",),
        (*COMMAND_CODES, "booking_not_found"),
    ),
    Operation(
        "POST",
        "/initialize",
        "initialize",
        Tag.ORGANIZING,
        Audience.ORGANIZER,
        "Create an event and open its sale",
        (
            ResponseDoc(
                201,
                "Created.",
                success("Event created successfully", EVENT, examples.EVENT, event_id=EVENT_ID, eventd=EVENT_ID),
                ("Location",),
            ),
        ),
        "`eventd` repeats `event_id`, for clients of the system that this one replaces.",
        request_schemas.InitializeRequest,
        {"event_name": "One night only", "available_tickets": 100, "max_per_user": 4, "hold_seconds": 300},
    ),
    Operation(
        "PATCH",
        "/events/{event_id}",
        "change_event",
        Tag.ORGANIZING,
        Audience.ORGANIZER,
        "Change an event",
        (ResponseDoc(200, "Changed.", success("Event updated successfully", EVENT, examples.EVENT)),),
        "Only the given fields change. Added tickets go to the waiting list at once. Pausing stops only `/book`: "
        "confirming, cancelling, expiry and promotion go on.",
        request_schemas.ChangeRequest,
        {"capacity": 120, "paused": False},
        parameters=("If-Match",),
        refusals=("capacity_below_sold", "precondition_failed"),
    ),
    Operation(
        "PATCH",
        "/events/{event_id}/refunds/{payment_id}",
        "change_refund",
        Tag.ORGANIZING,
        Audience.ORGANIZER,
        "Mark a refund as done, or as due again",
        (
            ResponseDoc(
                200,
                "The refund.",
                success("Refund updated successfully", ref(response_schemas.RefundData), examples.DONE_REFUND),
            ),
        ),
        "A repeated call changes nothing: the time and the user of the first one stay. The buyer is told it in "
        "`GET /bookings`.",
        request_schemas.RefundRequest,
        {"done": True},
        refusals=("refund_not_found",),
        reads_database=True,
    ),
    Operation(
        "POST",
        "/auth/register",
        "register",
        Tag.ACCOUNTS,
        Audience.ANYONE,
        "Register an account",
        (
            ResponseDoc(
                201, "Registered, and signed in.", success("Account created successfully", WELCOME, examples.WELCOME)
            ),
        ),
        "Accounts become organizers by `booking user promote EMAIL`. The user id of account 3 is `account:3`. "
        "`not_found` if the service has no accounts of its own (`BOOKING_ACCOUNTS`).",
        request_schemas.RegisterRequest,
        {"email": "ada@example.com", "password": "correct horse battery staple"},
        refusals=("email_taken", "rate_limited", "overloaded", "not_found"),
        reads_database=True,
    ),
    Operation(
        "POST",
        "/auth/login",
        "login",
        Tag.ACCOUNTS,
        Audience.ANYONE,
        "Log in for a token",
        (
            ResponseDoc(
                200,
                "Signed in; the token is valid for an hour.",
                success("Logged in successfully", WELCOME, examples.WELCOME),
            ),
        ),
        "Takes the same time whether or not the email exists. `not_found` if the service has no accounts of its own.",
        request_schemas.LoginRequest,
        {"email": "ada@example.com", "password": "correct horse battery staple"},
        refusals=("invalid_credentials", "rate_limited", "overloaded", "not_found"),
        reads_database=True,
    ),
    Operation(
        "POST",
        "/auth/password",
        "changePassword",
        Tag.ACCOUNTS,
        Audience.USER,
        "Change the password of an account",
        (
            ResponseDoc(
                200,
                "Changed; the token is valid for an hour.",
                success("Password changed successfully", WELCOME, examples.WELCOME),
            ),
        ),
        "Every other token of the account ends, the one of this call, too: at once on the calls of organizers, within "
        "a minute on all others. `forbidden` with a token that belongs to no account.",
        request_schemas.PasswordRequest,
        {"password": "correct horse battery staple", "new_password": "a better horse and a better staple"},
        refusals=("invalid_credentials", "rate_limited", "overloaded", "not_found"),
        reads_database=True,
    ),
    Operation(
        "POST",
        "/auth/renew",
        "renewToken",
        Tag.ACCOUNTS,
        Audience.USER,
        "Renew an account's token",
        (
            ResponseDoc(
                200,
                "The new token is valid for an hour, but not for longer than 24 hours after the login.",
                success("Renewed successfully", WELCOME, examples.WELCOME),
            ),
        ),
        "Needs a bearer token of an account: a password, and any other token, is `unauthenticated`. The new token has "
        "the role that the account has now. The old token stays valid.",
        refusals=("rate_limited", "overloaded", "not_found"),
        reads_database=True,
    ),
    Operation(
        "POST",
        "/auth/forgot",
        "forgotPassword",
        Tag.ACCOUNTS,
        Audience.ANYONE,
        "Have a link for a new password sent",
        (
            ResponseDoc(
                202,
                "If an account has this email, the mail is on its way.",
                success("If an account has this email, a mail is on its way.", EMPTY_OBJECT, {}),
            ),
        ),
        "The response is the same, and takes the same time, whether or not an account has this email. The link works "
        "once and for 30 minutes, and until the next request for the same email; at most six requests an hour count. "
        "`not_found` if the service sends no mail (`BOOKING_SMTP_URL`).",
        request_schemas.ForgotRequest,
        {"email": "ada@example.com"},
        refusals=("rate_limited", "not_found"),
        reads_database=True,
    ),
    Operation(
        "POST",
        "/auth/reset",
        "resetPassword",
        Tag.ACCOUNTS,
        Audience.ANYONE,
        "Set a new password with the token of a mail",
        (
            ResponseDoc(
                200,
                "Changed, and signed in.",
                success("Password changed successfully", WELCOME, examples.WELCOME),
            ),
        ),
        "Every other token of the account ends, as at `POST /auth/password`. `invalid_credentials` if the reset token "
        "is unknown, used, too old, or followed by another. `not_found` if the service sends no mail.",
        request_schemas.ResetRequest,
        {
            "reset_token": "eW91ciBvd24gdG9rZW4sIGZyb20gdGhlIG1haWw",
            "new_password": "a better horse and a better staple",
        },
        refusals=("invalid_credentials", "rate_limited", "overloaded", "not_found"),
        reads_database=True,
    ),
    Operation(
        "DELETE",
        "/auth/account",
        "removeAccount",
        Tag.ACCOUNTS,
        Audience.USER,
        "Remove an account",
        (ResponseDoc(200, "Removed.", success("Account removed successfully", USER, examples.WELCOME["user"])),),
        "Its email and password are erased, and its tokens end. Its bookings stay, under the user id. `forbidden` with "
        "a token that belongs to no account.",
        request_schemas.RemoveRequest,
        {"password": "correct horse battery staple"},
        refusals=("invalid_credentials", "forbidden", "has_live_bookings", "rate_limited", "overloaded", "not_found"),
        reads_database=True,
    ),
)
