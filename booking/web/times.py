"""Converts times between milliseconds since 1970 and RFC 3339 text."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:[0-5]\d)", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
FIRST = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // MILLISECOND
LAST = (datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC) - EPOCH) // MILLISECOND


@lru_cache(maxsize=4096)
def to_text(milliseconds: int) -> str:
    """Milliseconds since 1970 as `2026-11-22T21:30:00.125Z`. Cached, because the bookings of a batch share a time."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{rest:03}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    """The same without parts of a second. Cached, because it takes twenty times as long as the rest."""
    return (EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()


def from_text(text: str) -> int:
    """An RFC 3339 time in any offset as milliseconds since 1970; smaller fractions are cut off.

    Raises ValueError with a message for the user.
    """
    if not RFC_3339.fullmatch(text):
        raise ValueError("has to be an RFC 3339 time with an offset, such as 2026-11-22T21:30:00Z")
    try:
        # The standard library reads at most six digits of a second's fraction.
        milliseconds = (datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.upper())) - EPOCH) // MILLISECOND
    except ValueError:
        raise ValueError("is not a time that exists") from None
    if not FIRST <= milliseconds <= LAST:
        raise ValueError("has to be in the years 1 to 9999 of UTC")
    return milliseconds
