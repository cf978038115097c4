"""What the document says of one operation, and what follows from who may call it and what it touches."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from booking.web.request_schemas import Payload

Content = Mapping[str, Any]
"""A media type object: the schema of a body, and an example of it."""

JSON = "application/json"


class Who(StrEnum):
    """Who may call an operation."""

    ANYONE = "anyone"
    ANYONE_OR_USER = "anyone; whoever signs in is told more"
    USER = "signed-in users"
    ORGANIZER = "organizers"


class Tag(StrEnum):
    """The chapters of the document, in their order."""

    SALE = "Sale"
    ORGANIZING = "Organizing"
    READING = "Reading"
    ACCOUNTS = "Accounts"
    SERVICE = "Service"


CHAPTERS: Mapping[Tag, str] = {
    Tag.SALE: "What buyers do. Each call is one atomic step in Redis, on disk before it is answered.",
    Tag.ORGANIZING: "What organizers do: make sales, change them, look at how they went.",
    Tag.READING: "Reads of events and of one's own bookings. What was acknowledged before a call is in its answer.",
    Tag.ACCOUNTS: "The service's own accounts. A token from an outside identity provider does as well.",
    Tag.SERVICE: "Health, metrics and pages.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One way an operation succeeds: its status, what that means, and the body by media type."""

    status: int
    meaning: str
    content: Mapping[str, Content]
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    id: str
    tag: Tag
    who: Who
    summary: str
    answers: tuple[Answer, ...]
    description: str = ""
    body: type[Payload] | None = None
    body_example: Mapping[str, Any] | None = None
    parameters: tuple[str, ...] = ()
    """Names in PARAMETERS, besides those of the path and X-Request-ID."""
    refusals: tuple[str, ...] = ()
    """Codes of its own, besides those that follow from the rest."""
    reads_redis: bool = True
    reads_database: bool = False

    @property
    def codes(self) -> set[str]:
        """The codes of all the ways in which it can fail."""
        codes = {"internal_error", *self.refusals}
        if self.who is not Who.ANYONE:
            # A password that comes with any call is checked, and limited, like one that logs in.
            codes |= {"unauthenticated", "identity_unavailable", "overloaded", "database_unavailable", "rate_limited"}
            codes |= {"inventory_unavailable", "outcome_unknown"}
        if self.who is Who.ORGANIZER:
            codes.add("forbidden")
        if self.body is not None:
            codes |= {"malformed_json", "unsupported_media_type", "body_too_large", "invalid_request"}
        if self.reads_redis:
            codes |= {"inventory_unavailable", "outcome_unknown", "overloaded"}
        if self.reads_database:
            codes.add("database_unavailable")
        if "{event_id}" in self.path and self.reads_redis:
            codes.add("event_not_found")
        if "limit" in self.parameters:
            codes.add("invalid_request")
        return codes

    @property
    def is_replayed(self) -> bool:
        """Whether it takes an Idempotency-Key."""
        return "Idempotency-Key" in self.parameters
