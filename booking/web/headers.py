"""A request's header fields, found by their names."""

from collections.abc import Sequence

from starlette.types import Scope

Headers = Sequence[tuple[bytes, bytes]]
"""Fields as they came, their names in lower case."""

FIELDS = "booking.fields"
"""Where a request's scope keeps them once somebody has asked."""


def by_name(headers: Headers) -> dict[bytes, bytes]:
    """The values by their names; those of a name that is there twice with a comma between them, as RFC 9110, section
    5.3, has it.
    """
    fields = dict(headers)
    if len(fields) < len(headers):
        values: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            values.setdefault(name, []).append(value)
        fields = {name: b", ".join(several) for name, several in values.items()}
    return fields


def fields_of(scope: Scope) -> dict[bytes, bytes]:
    """The same of a request, worked out once."""
    fields: dict[bytes, bytes] | None = scope.get(FIELDS)
    if fields is None:
        fields = scope[FIELDS] = by_name(scope["headers"])
    return fields
