"""Compares ETags with the versions that a request names (RFC 9110, section 13.1)."""

import re

from starlette.types import Scope

from booking.web.headers import fields_of

OWN_TAG = re.compile(rb',\s*"([0-9a-f]+-[0-9-]+)"')
"""A strong tag of an event's rules in a list of tags."""


def has_version(scope: Scope, etag: bytes) -> bool:
    """Whether the request's If-None-Match names this version: RFC 9110's weak comparison."""
    tags = fields_of(scope).get(b"if-none-match")
    if tags is None:
        return False
    wanted = [tag.strip().removeprefix(b"W/") for tag in tags.split(b",")]
    return etag.removeprefix(b"W/") in wanted or wanted == [b"*"]


def read_if_match(scope: Scope) -> str | None:
    """The tags in If-Match, without their quotes and separated by spaces, or `*`; None if there is no such header.

    The comparison is strong, so weak tags are left out. So is what is no tag of ours: it matches nothing.
    """
    tags = fields_of(scope).get(b"if-match")
    if tags is None:
        return None
    if tags.strip() == b"*":
        return "*"
    return " ".join(tag.decode() for tag in OWN_TAG.findall(b"," + tags))
