"""The caller of a request, after the credentials have been checked."""

import math
from dataclasses import dataclass, field

from booking.settings import ACCOUNT_PREFIX

USER_ID_CHARACTERS_MAX = 128
"""The longest user id (contract)."""

ACCOUNT_ID_DIGITS_MAX = 18
"""An integer of this length fits into eight bytes, as in the database."""


# Not frozen, although it is never changed: each request creates one, and a frozen one takes four times as long.
@dataclass(slots=True, unsafe_hash=True)
class Caller:
    """A user, and what they may do. Two callers are equal if they are the same user with the same rights.

    `user_id` has 1 to 128 characters and no NUL, and can be encoded as UTF-8.
    """

    user_id: str
    organizer: bool
    """Whether they may use the organizer's endpoints, for the events that they created."""
    admin: bool = False
    """Whether they may do that for all events. An administrator is an organizer, too."""
    issued_at: int = field(default=0, compare=False)
    """When the credentials were issued or checked, in seconds since 1970; 0 if a token does not say when."""
    expires_at: float = field(default=math.inf, compare=False)
    """When a token is refused from, in seconds since 1970, with the configured leeway. A password does not expire."""
    service: bool = False
    """Whether they act for users in the commands of every event, and may do nothing else. Only a token says so."""

    def owns(self, organizer_id: str | None) -> bool:
        """Whether they may see and change the event that `organizer_id` created; None: it has no organizer."""
        return self.admin or (self.organizer and organizer_id == self.user_id)


def account_user_id(account_id: int) -> str:
    """The user id of an account of the service."""
    return f"{ACCOUNT_PREFIX}{account_id}"


def account_id_of(user_id: str) -> int | None:
    """The account's id in the user id of an account; None for any other user id."""
    digits = user_id.removeprefix(ACCOUNT_PREFIX)
    if digits == user_id or not (digits.isascii() and digits.isdigit()) or len(digits) > ACCOUNT_ID_DIGITS_MAX:
        return None
    return int(digits) if digits[0] != "0" else None


def user_id_fault(user_id: str) -> str | None:
    """Why `user_id` is not a valid user id, as the end of a sentence; None if it is valid."""
    if not user_id:
        return "is empty"
    if len(user_id) > USER_ID_CHARACTERS_MAX:
        return f"has more than {USER_ID_CHARACTERS_MAX} characters"
    # PostgreSQL stores no NUL, and UTF-8 cannot encode half of a surrogate pair.
    if "\0" in user_id:
        return "contains a NUL character"
    try:
        user_id.encode()
    except UnicodeEncodeError:
        return "contains a character that cannot be encoded as UTF-8"
    return None
