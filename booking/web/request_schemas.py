"""Schemas of request bodies. Validation reports all faults of a body at once."""

import re
from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from booking.auth.emails import normalise_email
from booking.domain.accounts import PASSWORD_CHARACTERS_MAX, PASSWORD_CHARACTERS_MIN
from booking.domain.callers import USER_ID_CHARACTERS_MAX, user_id_fault
from booking.domain.changes import ChangeKind
from booking.domain.details import (
    DESCRIPTION_CHARACTERS_MAX,
    DETAILS,
    OFFER_SECONDS_MAX,
    PAYMENT_SECONDS_MAX,
    PAYMENT_SECONDS_MIN,
    VENUE_CHARACTERS_MAX,
    Detail,
    Details,
    Price,
    Visibility,
)
from booking.domain.model import CAPACITY_MAX, HOLD_SECONDS_MAX, MAX_PER_USER_MAX, Rules
from booking.domain.payment_links import TEMPLATE_CHARACTERS_MAX, template_fault
from booking.web import times
from booking.web.problems import Fault, invalid, pointer_to
from booking.web.response_schemas import CURRENCY
from booking.web.time_zones import FORM, NAME_CHARACTERS_MAX, time_zones

INTEGER_MAX = 2**53 - 1
"""The largest integer that every JSON parser reads exactly (RFC 7493)."""

REASON_CHARACTERS_MAX = 500
"""The longest reason of a cancellation (contract)."""

NO_NUL = r"^[^\x00]*$"

PAYMENT_ID = "^[!-~]+$"
"""A payment's id: visible ASCII characters, so that it is one word in a record. The service's own have 22."""

PAYMENT_ID_CHARACTERS_MAX = 128

_FORBIDDEN = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202d\u202e"
"""Control characters, line breaks, and the two characters that override the direction of text (UAX 9, section 2.2).

An override shows later text backwards. Isolates and marks are accepted: languages that are written from right to left
need them.
"""

_INVISIBLE = (
    r"\s\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""White space, Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), annotations, and the empty Braille
pattern. The last line holds the characters themselves: JavaScript has no escape of eight digits.
"""

VISIBLE_TEXT = rf"^\s*[^{_FORBIDDEN}]*[^{_FORBIDDEN}{_INVISIBLE}][^{_FORBIDDEN}]*\s*$"
"""One line of text with at least one visible character (contract); white space around it is removed.

A regular expression of Python and of JavaScript.
"""

_FORBIDDEN_IN_LINES = r"\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e"
"""The same without line breaks."""

VISIBLE_LINES = VISIBLE_TEXT.replace(_FORBIDDEN, _FORBIDDEN_IN_LINES)
"""The same for text of several lines."""

_FORBIDDEN_CHARACTER = re.compile(f"[{_FORBIDDEN}]")
_FORBIDDEN_CHARACTER_IN_LINES = re.compile(f"[{_FORBIDDEN_IN_LINES}]")
_VISIBLE_CHARACTER = re.compile(f"[^{_FORBIDDEN}{_INVISIBLE}]")


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("cannot hold a NUL character")
    return text


def _visible(text: str) -> str:
    return _with_visible_character(_no_control(text))


def _visible_lines(text: str) -> str:
    if _FORBIDDEN_CHARACTER_IN_LINES.search(text):
        raise ValueError("cannot hold a control character or a bidirectional override")
    return _with_visible_character(text)


def _with_visible_character(text: str) -> str:
    if not _VISIBLE_CHARACTER.search(text):
        raise ValueError("needs a visible character")
    return text


def _no_control(text: str) -> str:
    if _FORBIDDEN_CHARACTER.search(text):
        raise ValueError("cannot hold a control character, a line break or a bidirectional override")
    return text


def _time_zone(text: str) -> str:
    if text not in time_zones():
        raise ValueError("has to be the name of a time zone in the IANA database, such as Europe/Berlin")
    return text


def _time(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("has to be an RFC 3339 time in a string, or null")  # noqa: TRY004  # pydantic's protocol
    return times.from_text(value)


def _user_id(text: str) -> str:
    fault = user_id_fault(text)
    if fault is not None:
        raise ValueError(fault)
    return text


def _payment_url(text: str) -> str:
    fault = template_fault(text)
    if fault is not None:
        raise ValueError(fault)
    return text


# Each type states in its JSON schema what its own validators check: the OpenAPI document is made from these types.
EventId = Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": INTEGER_MAX})]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_visible),
    Field(json_schema_extra={"pattern": VISIBLE_TEXT}),
]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=REASON_CHARACTERS_MAX),
    AfterValidator(_visible),
    Field(json_schema_extra={"pattern": VISIBLE_TEXT}),
]
Venue = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=VENUE_CHARACTERS_MAX),
    AfterValidator(_visible),
    Field(json_schema_extra={"pattern": VISIBLE_TEXT}),
]
Description = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=DESCRIPTION_CHARACTERS_MAX),
    AfterValidator(_visible_lines),
    Field(json_schema_extra={"pattern": VISIBLE_LINES}),
]
TimeZone = Annotated[
    str,
    AfterValidator(_time_zone),
    Field(json_schema_extra={"maxLength": NAME_CHARACTERS_MAX, "pattern": FORM, "examples": ["Europe/Berlin"]}),
]
PaymentUrl = Annotated[
    str,
    AfterValidator(_payment_url),
    Field(json_schema_extra={"maxLength": TEMPLATE_CHARACTERS_MAX, "format": "uri-template"}),
]
HoldSeconds = Annotated[int, Field(ge=0, le=HOLD_SECONDS_MAX)]
Capacity = Annotated[int, Field(ge=1, le=CAPACITY_MAX)]
MaxPerUser = Annotated[int, Field(ge=1, le=MAX_PER_USER_MAX)]
WaitlistLimit = Annotated[int, Field(ge=0, le=INTEGER_MAX)]
Time = Annotated[
    int | None,
    BeforeValidator(_time),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
]
Email = Annotated[str, AfterValidator(normalise_email), Field(json_schema_extra={"format": "email"})]
NewPassword = Annotated[
    str,
    StringConstraints(min_length=PASSWORD_CHARACTERS_MIN, max_length=PASSWORD_CHARACTERS_MAX),
    AfterValidator(_no_nul),
    Field(json_schema_extra={"pattern": NO_NUL}),
]
Kind = Annotated[ChangeKind, Field(strict=False)]
Kinds = Annotated[tuple[Kind, ...], Field(strict=False, min_length=1)]
DEFAULT_KINDS = (
    ChangeKind.PROMOTED,
    ChangeKind.EXPIRED,
    ChangeKind.CANCELLED,
    ChangeKind.CONFIRMED,
    ChangeKind.CHANGED,
)
"""What a webhook is told unless it says otherwise (contract)."""
WebhookNote = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=200),
    AfterValidator(_no_control),
    Field(json_schema_extra={"pattern": rf"^\s*[^{_FORBIDDEN}]*$"}),
]
UserId = Annotated[
    str,
    AfterValidator(_user_id),
    Field(json_schema_extra={"minLength": 1, "maxLength": USER_ID_CHARACTERS_MAX, "pattern": NO_NUL}),
]


_DETAIL_FIELDS = {name.removesuffix("_ms"): name for name in DETAILS}
"""The fields of a body that are details, and the names of these in `Details`."""


PaymentId = Annotated[str, Field(min_length=1, max_length=PAYMENT_ID_CHARACTERS_MAX, pattern=PAYMENT_ID)]


class Payload(BaseModel):
    """A JSON object without unknown fields. A value is not converted from another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class CommandRequest(Payload):
    """What every command of a buyer has."""

    event_id: EventId
    user_id: UserId = Field(default_factory=str)
    """The user for whom the event's organizer or a service calls; by default the caller."""


class BookRequest(CommandRequest):
    """`POST /book`."""

    quantity: Annotated[int, Field(ge=1, json_schema_extra={"maximum": MAX_PER_USER_MAX})] = 1
    """The number of tickets, all or nothing; at most the event's `max_per_user`."""


class CancelRequest(CommandRequest):
    """`POST /cancel`."""

    quantity: Annotated[int, Field(ge=1, json_schema_extra={"maximum": INTEGER_MAX})] = Field(default_factory=int)
    """The number of tickets to give back; by default, and if it is not less than the booking has, all of them."""
    reason: Reason = Field(default_factory=str)
    """What the user is told, and the feed. Ignored if the booking is the caller's own."""


class CheckoutRequest(CommandRequest):
    """`POST /checkout`."""


class ConfirmRequest(CommandRequest):
    """`POST /confirm`."""

    payment_id: PaymentId = Field(default_factory=str)
    """The payment that was made. If it is named, it has to be that of the booking."""
    late: bool = False
    """Whether a payment for a hold that has ended comes to a booking or a refund; otherwise it is `hold_expired`."""


def _two_spellings(schema: dict[str, Any]) -> None:
    """Describes `name` of `_Named` in a JSON schema; a change must also have at least one field."""
    fields = schema["properties"]
    fields["name"] = {**fields["event_name"], "description": "Another spelling of event_name: send one of them."}
    if "event_name" in schema.get("required", ()):
        schema["required"].remove("event_name")
        # Not oneOf: generators of clients would make two types without a field.
        schema["if"] = {"required": ["event_name"]}
        schema["then"], schema["else"] = {"not": {"required": ["name"]}}, {"required": ["name"]}
    else:
        schema["not"] = {"required": ["event_name", "name"]}
        schema["minProperties"] = 1
        for field in fields.values():  # a missing field is not changed, so its default here is not a value
            field.pop("default", None)


class _Named(Payload):
    model_config = ConfigDict(json_schema_extra=_two_spellings)

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, body: Any) -> Any:
        """Reads `name` as `event_name`. If both are present, `name` stays, and is an unknown field."""
        if isinstance(body, dict) and "name" in body and "event_name" not in body:
            body = {("event_name" if field == "name" else field): value for field, value in body.items()}
        return body


class PriceRequest(Payload):
    """What a ticket costs. It is told to buyers; the service does not charge it."""

    amount: Annotated[int, Field(ge=0, le=INTEGER_MAX)]
    """In the currency's smallest unit, such as cents."""
    currency: Annotated[str, StringConstraints(pattern=CURRENCY)]
    """In the form of ISO 4217."""


class _Described(_Named):
    """The details of an event, of which none is required. null sets a detail to its default."""

    description: Description | None = None
    """Plain text, which may have several lines; surrounding white space is removed."""
    venue: Venue | None = None
    starts_at: Time = None
    """When the event itself begins, in any UTC offset."""
    ends_at: Time = None
    """When the event ends; not before `starts_at`."""
    time_zone: TimeZone | None = None
    """The name in the IANA database of the zone in which people are told the event's times."""
    price: PriceRequest | None = None
    visibility: Literal["listed", "unlisted", "archived"] | None = None
    """`unlisted`: in no list, but everyone who knows the id can read and book it. `archived`: nothing can be booked."""
    offer_seconds: Annotated[int, Field(ge=0, le=OFFER_SECONDS_MAX)] | None = None
    """How long a ticket is held for a user who was promoted from the waiting list; null: `hold_seconds`."""
    payment_seconds: Annotated[int, Field(ge=PAYMENT_SECONDS_MIN, le=PAYMENT_SECONDS_MAX)] | None = None
    """How long a hold is once its user has begun to pay; null: 900."""
    payment_url: PaymentUrl | None = None
    """The template of the link behind which a buyer pays: an https URL with `{event_id}`, `{user_id}`, `{payment_id}`
    and `{signature}` after its host. `POST /checkout` fills it in. `GET /events/{event_id}/payment-secret` tells how
    the shop checks the signature. A booking without a hold, by `hold_seconds` or `offer_seconds` of 0, counts at once,
    unpaid. null: none."""

    # Two checks of fields, not one of the whole body: pydantic skips that one while a single field is wrong.

    @field_validator("closes_at", check_fields=False)
    @classmethod
    def _opens_first(cls, closes_at: int | None, info: ValidationInfo) -> int | None:
        opens_at = info.data.get("opens_at")
        if opens_at is not None and closes_at is not None and opens_at >= closes_at:
            raise PydanticCustomError("window_inverted", "")
        return closes_at

    @field_validator("ends_at")
    @classmethod
    def _starts_first(cls, ends_at: int | None, info: ValidationInfo) -> int | None:
        starts_at = info.data.get("starts_at")
        if starts_at is not None and ends_at is not None and ends_at < starts_at:
            raise PydanticCustomError("dates_inverted", "")
        return ends_at

    def told(self) -> dict[str, Detail]:
        """The given details by the names of `Details`; None for a default."""
        given = {field: getattr(self, field) for field in _DETAIL_FIELDS if field in self.model_fields_set}
        told = {name: given[field] for field, name in _DETAIL_FIELDS.items() if field in given}
        if self.price is not None:
            told["price"] = Price(self.price.amount, self.price.currency)
        if self.visibility is not None:
            told["visibility"] = Visibility(self.visibility)
        return told


class InitializeRequest(_Described):
    """`POST /initialize`."""

    event_name: Name
    """The event's name; surrounding white space is removed."""
    available_tickets: Capacity
    """The capacity of the event."""
    max_per_user: MaxPerUser = 1
    """The largest quantity that a user may book."""
    hold_seconds: HoldSeconds = 0
    """0: a booking is confirmed at once. Otherwise it is held for this time, and must be confirmed within it."""
    waitlist_limit: WaitlistLimit | None = None
    """The most tickets that waiting users may want together. 0: no waiting list; null: unbounded."""
    opens_at: Time = None
    """When the sale opens, in any UTC offset; before `closes_at`."""
    closes_at: Time = None
    """When the sale closes."""

    def rules(self) -> Rules:
        """The event's rules."""
        told: dict[str, Any] = {name: value for name, value in self.told().items() if value is not None}
        return Rules(
            name=self.event_name,
            capacity=self.available_tickets,
            max_per_user=self.max_per_user,
            hold_seconds=self.hold_seconds,
            waitlist_limit=self.waitlist_limit,
            opens_at_ms=self.opens_at,
            closes_at_ms=self.closes_at,
            details=Details(**told),
        )


class ChangeRequest(_Described):
    """`PATCH /events/{id}`: only the given fields change. null sets a field to its default, if it has one."""

    event_name: Name = ""
    capacity: Capacity = 0
    """Tickets that are added go to the waiting list at once. Not less than the tickets sold and held."""
    opens_at: Time = None
    closes_at: Time = None
    paused: bool = False
    waitlist_limit: WaitlistLimit | None = None
    max_per_user: MaxPerUser = 0
    hold_seconds: HoldSeconds = 0
    """For holds that begin from then on."""

    def changes(self) -> Mapping[str, Detail]:
        """The given fields, by the names that `BoxOffice.change` takes. Raises Problem if there are none."""
        given = self.model_fields_set
        if not given:
            raise invalid(Fault("", "The body names nothing to change."))
        plain = (field for field in type(self).model_fields if field in given and field not in _DETAIL_FIELDS)
        values = {**{field: getattr(self, field) for field in plain}, **self.told()}
        if "event_name" in values:
            values = {"name": values.pop("event_name"), **values}
        return {field: int(value) if field == "paused" else value for field, value in values.items()}


class RefundRequest(Payload):
    """`PATCH /events/{event_id}/refunds/{payment_id}`."""

    done: bool
    """Whether the money was given back."""


class WebhookRequest(Payload):
    """`POST /webhooks`."""

    url: str
    """An https:// address on a public network."""
    kinds: Kinds = DEFAULT_KINDS
    """The kinds of change that it is told."""
    event_id: EventId | None = None
    """The event that it is told of; by default all events that the caller has created, and will create."""
    description: WebhookNote = ""


class WebhookChange(Payload):
    """`PATCH /webhooks/{webhook_id}`: only the given fields change."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    url: str = ""
    kinds: Kinds = DEFAULT_KINDS
    description: WebhookNote = ""
    status: Literal["enabled", "disabled"] = "enabled"
    """`enabled` repairs a webhook: it goes on from where it stood, at once."""

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("The body names nothing to change")
        return self


class ReplayRequest(Payload):
    """`POST /webhooks/{webhook_id}/replay`."""

    event_id: EventId
    after: Annotated[int, Field(ge=0, le=INTEGER_MAX)]
    """The `seq` after which the changes are told once more; 0: all of them."""


class RegisterRequest(Payload):
    """`POST /auth/register`."""

    email: Email
    password: NewPassword


class LoginRequest(Payload):
    """`POST /auth/login`. Any text is valid here; if it is not an account's email and password, login fails."""

    email: str
    password: str


class PasswordRequest(Payload):
    """`POST /auth/password`."""

    password: str
    """The current password."""
    new_password: NewPassword


class ForgotRequest(Payload):
    """`POST /auth/forgot`."""

    email: Email


class ResetRequest(Payload):
    """`POST /auth/reset`."""

    reset_token: str
    """The token in the link of the mail."""
    new_password: NewPassword


class RemoveRequest(Payload):
    """`DELETE /auth/account`."""

    password: str
    """The account's password."""


def window_inverted(given: Container[str]) -> Fault:
    """The fault of a sale that would close before it opens, or at the same time. `given` are the body's fields."""
    return Fault("/opens_at" if "opens_at" in given else "/closes_at", "opens_at has to be before closes_at.")


def dates_inverted(given: Container[str]) -> Fault:
    """The fault of an event that would end before it starts. `given` are the body's fields."""
    return Fault("/ends_at" if "ends_at" in given else "/starts_at", "ends_at cannot be before starts_at.")


_INVERTED = {"window_inverted": window_inverted({"opens_at"}), "dates_inverted": dates_inverted({"ends_at"})}
"""The faults of two fields that a body has together, by the types of their pydantic errors."""


PayloadType = TypeVar("PayloadType", bound=Payload)


def validate(payload: type[PayloadType], body: object, more_faults: Sequence[Fault] = ()) -> PayloadType:
    """The validated body. Raises Problem with all faults of the body, and with `more_faults`."""
    try:
        # `model_validate` first handles options of its own, which takes longer than this.
        value: PayloadType = payload.__pydantic_validator__.validate_python(body)
    except ValidationError as error:
        raise invalid(
            *(_fault(payload, details, body) for details in error.errors(include_url=False)), *more_faults
        ) from None
    if more_faults:
        raise invalid(*more_faults)
    return value


def _fault(payload: type[Payload], details: Any, body: object) -> Fault:
    if details["type"] in _INVERTED:
        return _INVERTED[details["type"]]
    place = list(details["loc"])
    if issubclass(payload, _Named) and isinstance(body, dict) and "name" in body:
        if "event_name" not in body:
            place = ["name" if part == "event_name" else part for part in place]
        elif place == ["name"]:
            return Fault("/name", "event_name and name are two spellings of one field; send one of them.")
    if details["type"] == "model_type":
        return Fault(pointer_to(*place), "The body has to be a JSON object.")
    message = details["msg"].removeprefix("Value error, ").rstrip(".")
    if place:
        message = f"{place[-1]}: {message[0].lower()}{message[1:]}"
    return Fault(pointer_to(*place), f"{message}.")
