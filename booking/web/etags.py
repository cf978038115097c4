"""Whether a client already has the version of something that it asks for."""

from starlette.types import Scope


def has_version(scope: Scope, etag: bytes) -> bool:
    """Whether the request's If-None-Match names this version: RFC 9110's weak comparison."""
    lists = [value for name, value in scope["headers"] if name == b"if-none-match"]
    wanted = [tag.strip().removeprefix(b"W/") for tag in b",".join(lists).split(b",")] if lists else []
    return etag.removeprefix(b"W/") in wanted or wanted == [b"*"]
