"""What a JSON schema says, in words and in rows of a table."""

from collections.abc import Iterator
from html import escape
from typing import Any

import orjson

from booking.web.openapi.markup import element, phrase

Schema = dict[str, Any]

COLUMNS = ("Field", "Type", "Meaning")

BOUNDS = (
    ("minimum", "at least {:,}"),
    ("maximum", "at most {:,}"),
    ("minLength", "{:,} characters or more"),
    ("maxLength", "at most {:,} characters"),
    ("minItems", "{:,} or more"),
    ("minProperties", "{:,} field or more"),
)


def schema_name(schema: Schema) -> str:
    """The name in a reference, or nothing."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def kind(schema: Schema) -> str:
    """What a value is, as HTML: `integer`, `string (date-time) or null`, a list of bookings."""
    name = schema_name(schema)
    if name:
        return element("a", escape(name), href=f"#schema-{name}")
    if "anyOf" in schema:
        return " or ".join(kind(one) for one in schema["anyOf"])
    if "const" in schema:
        return element("code", escape(_literal(schema["const"])))
    if "enum" in schema:
        return " | ".join(element("code", escape(str(one))) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}"
    form = f" ({schema['format']})" if "format" in schema else ""
    return escape(schema.get("type", "any value") + form)


def limits(schema: Schema) -> Iterator[str]:
    """The bounds and the default of a value, each in words."""
    for one in (schema, *schema.get("anyOf", ())):
        for name, words in BOUNDS:
            if name in one:
                yield words.format(one[name])
    if "default" in schema:
        yield f"default {_literal(schema['default'])}"


def meaning(schema: Schema, description: str = "") -> str:
    """What a value means, then its limits, as HTML."""
    told = "; ".join(limits(schema))
    said = phrase(description or schema.get("description", ""))
    return " ".join(part for part in (said, element("span", escape(told), class_="limits") if told else "") if part)


def rows(schema: Schema) -> Iterator[tuple[str, str, str]]:
    """A row for each field of an object."""
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        mark = element("span", "required", class_="required") if name in required else ""
        yield f"{element('code', escape(name))} {mark}".strip(), kind(field), meaning(field)


def _literal(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value if isinstance(value, str) else orjson.dumps(value).decode()
