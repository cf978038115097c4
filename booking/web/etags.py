"""Compares a response's ETag with the version that the client already has."""

from starlette.types import Scope

from booking.web.headers import fields_of


def has_version(scope: Scope, etag: bytes) -> bool:
    """Whether the request's If-None-Match names this version: RFC 9110's weak comparison."""
    tags = fields_of(scope).get(b"if-none-match")
    if tags is None:
        return False
    wanted = [tag.strip().removeprefix(b"W/") for tag in tags.split(b",")]
    return etag.removeprefix(b"W/") in wanted or wanted == [b"*"]
