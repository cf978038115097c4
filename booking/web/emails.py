"""Email addresses: which texts are one, how one is kept and shown, and by what accounts are found."""

import unicodedata

from email_validator import EmailNotValidError, validate_email

EMAIL_CHARACTERS_MAX = 1000
"""No address is longer, however it is spelled: kept, it has 254 at most. What is longer could take 50 ms to refuse."""


def normalise_email(text: str) -> str:
    """`text` as an address to keep and to show, without asking the network.

    Raises ValueError, with a sentence for people, if it is not an address.
    """
    if len(text) > EMAIL_CHARACTERS_MAX:
        raise ValueError("The email address is too long.")
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None


def email_key(text: str) -> str:
    """What two spellings of one address have in common: accounts are kept and found by it.

    Raises ValueError if `text` is not an address.
    """
    return unicodedata.normalize("NFC", normalise_email(text).casefold())
