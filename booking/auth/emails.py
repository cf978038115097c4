"""Email addresses: validation, and comparison of different spellings."""

import unicodedata

from email_validator import EmailNotValidError, validate_email

EMAIL_CHARACTERS_MAX = 1000
"""Longer text is rejected unread, because its validation could take 50 ms. A normalised address has at most 254."""


def normalise_email(text: str) -> str:
    """`text` as a normalised address, to store and to show. It does not look up the domain.

    Raises ValueError with a message for the user if it is not an address.
    """
    if len(text) > EMAIL_CHARACTERS_MAX:
        raise ValueError("The email address is too long.")
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None


def email_key(text: str) -> str:
    """The key of an account: equal for all spellings of one address.

    Raises ValueError if `text` is not an address.
    """
    return comparable(normalise_email(text))


def comparable(text: str) -> str:
    """An address, or its beginning, in the form in which addresses are compared."""
    return unicodedata.normalize("NFC", text.casefold())
