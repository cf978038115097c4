"""A request's header fields by name."""

from collections.abc import Sequence

from starlette.types import Scope

Headers = Sequence[tuple[bytes, bytes]]
"""Fields in the order of the request, their names in lower case."""

EXTENSION = "booking.response"
"""The ASGI extension of booking.http: it has a request's fields by name, a response may be one message, and a stream is
written without a task."""

FIELDS = "booking.fields"
"""The key of a request's scope under which `fields_of` caches its result."""


def by_name(headers: Headers) -> dict[bytes, bytes]:
    """The values by name. The values of a repeated name are joined with commas (RFC 9110, section 5.3)."""
    fields = dict(headers)
    if len(fields) < len(headers):
        values: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            values.setdefault(name, []).append(value)
        fields = {name: b", ".join(several) for name, several in values.items()}
    return fields


def fields_of(scope: Scope) -> dict[bytes, bytes]:
    """The header fields of a request by name; the result is cached in the scope."""
    fields: dict[bytes, bytes] | None = scope.get(FIELDS)
    if fields is None:
        extension = scope.get("extensions", {}).get(EXTENSION, {})
        fields = scope[FIELDS] = extension.get("fields") or by_name(scope["headers"])
    return fields
