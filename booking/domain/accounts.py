"""The service's own accounts; every layer uses this type."""

from dataclasses import dataclass, field
from enum import StrEnum

PASSWORD_CHARACTERS_MIN = 8
PASSWORD_CHARACTERS_MAX = 256
"""The bounds of a new password (contract)."""


class Role(StrEnum):
    """What an account may do, from little to much."""

    USER = "user"
    ORGANIZER = "organizer"
    """Creates events, and sees and changes its own."""
    ADMIN = "admin"
    """Sees and changes all events."""


@dataclass(frozen=True, slots=True)
class Account:
    """A registered user. An `id` is never reused, not even after a deletion."""

    id: int
    email: str = field(repr=False)
    """As the user entered it. The email and the hash are not in the repr, so that they get into no log by accident."""
    password_hash: str = field(repr=False)
    organizer: bool
    admin: bool = False
    """An administrator is an organizer, too."""
    tokens_from: int = 0
    """Tokens with an earlier `iat` (seconds since 1970) are not valid."""

    @property
    def role(self) -> "Role":
        """What the account may do."""
        return Role.ADMIN if self.admin else Role.ORGANIZER if self.organizer else Role.USER
