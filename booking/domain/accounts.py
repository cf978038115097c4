"""The service's own accounts, as every layer speaks of them."""

from dataclasses import dataclass, field

PASSWORD_CHARACTERS_MIN = 8
PASSWORD_CHARACTERS_MAX = 256
"""The bounds of a new password (contract)."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who registered here. `id` is never given to another account, not even after a deletion."""

    id: int
    email: str = field(repr=False)
    """As it was given. It and the hash stay out of the repr, so that neither reaches a log by accident."""
    password_hash: str = field(repr=False)
    organizer: bool
