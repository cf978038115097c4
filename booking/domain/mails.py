"""Mails to accounts, between the change that they tell of and the mail server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class MailKind(StrEnum):
    """What a mail tells its reader."""

    RESET = "reset"
    """The link with which they set a new password."""
    PROMOTED = "promoted"
    """Their place on the waiting list has become tickets."""
    ENDING = "ending"
    """Their hold ends soon."""
    CANCELLED = "cancelled"
    """The organizer has cancelled their booking, or their place on the waiting list."""
    CHANGED = "changed"
    """The event has another name, venue or time, or is archived."""


class Lane(IntEnum):
    """A queue with mail connections of its own, so that many mails of one lane hold up none of another."""

    ACCOUNTS = 0
    OFFERS = 1
    CANCELLATIONS = 2
    EVENTS = 3


LANES = {
    MailKind.RESET: Lane.ACCOUNTS,
    MailKind.PROMOTED: Lane.OFFERS,
    MailKind.ENDING: Lane.OFFERS,
    MailKind.CANCELLED: Lane.CANCELLATIONS,
    MailKind.CHANGED: Lane.EVENTS,
}

Facts = Mapping[str, str | int | list[str] | None]
"""What a mail's text is made of, and what decides whether it is still of use; it can be written as JSON."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail in the queue. Times are milliseconds since 1970."""

    name: str
    """What it tells, and to whom. A second mail of the same name is not queued."""
    kind: MailKind
    account_id: int | None
    """Its reader; None for a reset, whose reader is looked up by an email."""
    event_id: int | None
    facts: Facts = field(repr=False)
    created_at_ms: int
    due_at_ms: int
    expires_at_ms: int
    """From then on it is of no use."""
    attempts: int = 0
    """How often its sending has begun."""
    id: int = 0
    """Its number in the queue; 0 before it is there."""
