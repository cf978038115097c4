"""The service's own accounts; every layer uses this type."""

from dataclasses import dataclass, field

PASSWORD_CHARACTERS_MIN = 8
PASSWORD_CHARACTERS_MAX = 256
"""The bounds of a new password (contract)."""


@dataclass(frozen=True, slots=True)
class Account:
    """A registered user. An `id` is never reused, not even after a deletion."""

    id: int
    email: str = field(repr=False)
    """As the user entered it. The email and the hash are not in the repr, so that they get into no log by accident."""
    password_hash: str = field(repr=False)
    organizer: bool
