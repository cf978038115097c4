"""A request's header fields, found by their names."""

from starlette.types import Scope

FIELDS = "booking.fields"
"""Where a request's scope keeps them once somebody has asked."""


def fields_of(scope: Scope) -> dict[bytes, bytes]:
    """The values by their names in lower case; those of a name that is there twice with a comma between them, as
    RFC 9110, section 5.3, has it.
    """
    fields: dict[bytes, bytes] | None = scope.get(FIELDS)
    if fields is None:
        headers = scope["headers"]
        fields = scope[FIELDS] = dict(headers)
        if len(fields) < len(headers):
            values: dict[bytes, list[bytes]] = {}
            for name, value in headers:
                values.setdefault(name, []).append(value)
            fields = scope[FIELDS] = {name: b", ".join(several) for name, several in values.items()}
    return fields
