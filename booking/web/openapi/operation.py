"""The description of one operation. Its problem codes follow from its callers and from what it reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from booking.web.request_schemas import Payload

Content = Mapping[str, Any]
"""A media type object: the schema of a body, and an example of it."""

JSON = "application/json"


class Audience(StrEnum):
    """Who may call an operation."""

    ANYONE = "anyone"
    ANYONE_OR_USER = "anyone; signed-in users also get their own booking"
    ANYONE_OR_ORGANIZER = "anyone; `mine` is for organizers"
    USER = "signed-in users"
    ORGANIZER = "organizers"


class Tag(StrEnum):
    """The tags of the document, in their order."""

    SALE = "Sale"
    ORGANIZING = "Organizing"
    READING = "Reading"
    ACCOUNTS = "Accounts"
    SERVICE = "Service"


TAG_DESCRIPTIONS: Mapping[Tag, str] = {
    Tag.SALE: "What buyers do. Each call is one atomic step in Redis, which is on disk before the response.",
    Tag.ORGANIZING: "What organizers do: create sales, change them, and read reports. An event belongs to the "
    "organizer who created it, and is `forbidden` to all others except administrators.",
    Tag.READING: "Reads of events and of the caller's bookings. A response shows all changes acknowledged before it.",
    Tag.ACCOUNTS: "The service's own accounts. A token from an outside identity provider works, too.",
    Tag.SERVICE: "Health, metrics and pages.",
}


@dataclass(frozen=True, slots=True)
class ResponseDoc:
    """One successful response of an operation: its status, what that means, and its body by media type."""

    status: int
    description: str
    content: Mapping[str, Content]
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    id: str
    tag: Tag
    audience: Audience
    summary: str
    responses: tuple[ResponseDoc, ...]
    description: str = ""
    body: type[Payload] | None = None
    body_example: Mapping[str, Any] | None = None
    parameters: tuple[str, ...] = ()
    """Names in PARAMETERS, besides those of the path and X-Request-ID."""
    refusals: tuple[str, ...] = ()
    """The operation's own codes, besides those that follow from the other fields."""
    reads_redis: bool = True
    reads_database: bool = False

    @property
    def codes(self) -> set[str]:
        """All problem codes of the operation."""
        codes = {"internal_error", *self.refusals}
        if self.audience is not Audience.ANYONE:
            # A password in the Authorization header is checked and rate-limited, as at a login.
            codes |= {"unauthenticated", "identity_unavailable", "overloaded", "database_unavailable", "rate_limited"}
            codes |= {"inventory_unavailable", "outcome_unknown"}
            codes.add("forbidden")  # to a user on an organizer's endpoint, and to a service on most others
        if self.body is not None:
            codes |= {"malformed_json", "unsupported_media_type", "invalid_request"}
        if self.method != "GET":
            codes.add("body_too_large")
        if self.reads_redis:
            codes |= {"inventory_unavailable", "outcome_unknown", "overloaded"}
        if self.reads_database:
            codes.add("database_unavailable")
        if "{event_id}" in self.path and self.reads_redis:
            codes.add("event_not_found")
        if not {"limit", "changes.limit"}.isdisjoint(self.parameters):
            codes.add("invalid_request")
        return codes

    @property
    def is_replayed(self) -> bool:
        """Whether it takes an Idempotency-Key."""
        return "Idempotency-Key" in self.parameters
