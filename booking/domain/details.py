"""What an organizer tells people about an event, and the rules that only some commands read: its details.

They are one JSON object wherever they are stored: in an event's hash in Redis, in the field `d` of a stream's entry,
and in SQL. So an older version ignores them, and a later one may add members. A member with its default is left out.
The object has one member a line, so that `lua/shared/details.lua` can read and change it without a JSON library.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import lru_cache
from typing import Any

DESCRIPTION_CHARACTERS_MAX = 5_000
VENUE_CHARACTERS_MAX = 200
OFFER_SECONDS_MAX = 604_800
PAYMENT_SECONDS_MIN, PAYMENT_SECONDS_MAX = 60, 3_600
PAYMENT_SECONDS_DEFAULT = 900
"""All from the contract."""


class Visibility(StrEnum):
    """Who finds an event."""

    LISTED = "listed"
    UNLISTED = "unlisted"
    """It is in no list. Everyone who knows its id can read and book it."""
    ARCHIVED = "archived"
    """It is in no list, and nothing can be booked. Everyone who knows its id can read it."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a ticket costs. The service tells it and does not charge it."""

    amount: int
    """In the currency's smallest unit, such as cents."""
    currency: str
    """Three capital letters (ISO 4217)."""


@dataclass(frozen=True, slots=True)
class Details:
    """The details of an event. Times are milliseconds since 1970 in UTC."""

    description: str | None = None
    venue: str | None = None
    starts_at_ms: int | None = None
    ends_at_ms: int | None = None
    time_zone: str | None = None
    """The name in the IANA database of the zone in which people are told the event's times."""
    price: Price | None = None
    visibility: Visibility = Visibility.LISTED
    offer_seconds: int | None = None
    """How long the hold of a user is who was promoted from the waiting list; None: as long as every hold."""
    payment_seconds: int = PAYMENT_SECONDS_DEFAULT
    """How long a hold is once its user has begun to pay."""
    payment_url: str | None = None
    """The template of the link behind which its user pays (payment_links.py); None: a hold is confirmed without it."""

    def members(self) -> dict[str, Any]:
        """The members of the JSON object."""
        return {
            field.name: asdict(value) if isinstance(value, Price) else value
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> "Details":
        """The details with these members. A member of a later version is ignored."""
        known = {field.name: members[field.name] for field in fields(cls) if field.name in members}
        if "price" in known:
            known["price"] = Price(**known["price"])
        if "visibility" in known:
            known["visibility"] = Visibility(known["visibility"])
        return cls(**known)


NO_DETAILS = Details()
"""The defaults."""

DETAILS = tuple(field.name for field in fields(Details))

Detail = str | int | Price | None
"""The value of one member; None: its default."""


def detail_to_text(value: Detail) -> str:
    """The JSON of a member's value, on one line; "" for None."""
    plain = asdict(value) if isinstance(value, Price) else value
    return "" if plain is None else json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def details_to_text(details: Details) -> str:
    """The JSON object, with one member a line."""
    lines = [f'"{name}":{detail_to_text(getattr(details, name))}' for name in details.members()]
    return "{\n" + ",\n".join(lines) + "\n}" if lines else "{}"


@lru_cache(maxsize=1_024)
def details_from_text(text: bytes | str) -> Details:
    """Parses the JSON object; an empty text has no members. Cached, since each reading of an event comes here.

    Raises ValueError.
    """
    return Details.of(json.loads(text)) if text else NO_DETAILS
