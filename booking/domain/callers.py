"""The caller of a request, after the credentials have been checked."""

from dataclasses import dataclass

from booking.settings import ACCOUNT_PREFIX

USER_ID_CHARACTERS_MAX = 128
"""The longest user id (contract)."""


# Not frozen, although it is never changed: each request creates one, and a frozen one takes four times as long.
@dataclass(slots=True, unsafe_hash=True)
class Caller:
    """A user, and whether they may use the organizer's endpoints.

    `user_id` has 1 to 128 characters and no NUL, and can be encoded as UTF-8.
    """

    user_id: str
    organizer: bool


def account_user_id(account_id: int) -> str:
    """The user id of an account of the service."""
    return f"{ACCOUNT_PREFIX}{account_id}"


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
