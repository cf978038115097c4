"""The document's schemas: request schemas are made from the validating models, response schemas from their types."""

import re
from functools import cache
from typing import Any

import orjson
from pydantic import TypeAdapter

from booking.web import request_schemas, response_schemas
from booking.web.endpoints import health
from booking.web.openapi.operation import JSON, Content
from booking.web.problems import KINDS, Kind

Schema = dict[str, Any]

SCHEMAS = "#/components/schemas/"

REQUESTS = (
    request_schemas.BookRequest,
    request_schemas.CancelRequest,
    request_schemas.ConfirmRequest,
    request_schemas.InitializeRequest,
    request_schemas.ChangeRequest,
    request_schemas.RegisterRequest,
    request_schemas.LoginRequest,
    request_schemas.PasswordRequest,
)
RESPONSES = (
    response_schemas.EventData,
    response_schemas.BookingData,
    response_schemas.WelcomeData,
    response_schemas.ReportData,
    response_schemas.AuditData,
    health.AliveData,
    health.ReadyData,
    response_schemas.ProblemData,
)
SUFFIX = "Data"
"""Suffix of the response types' names, which their schemas' names do not have."""

INSTANT: Schema = {"type": "string", "format": "date-time"}


@cache
def schemas() -> dict[str, Schema]:
    """Every schema by its name."""
    _, made = TypeAdapter.json_schemas(
        [
            *((body, "validation", TypeAdapter(body)) for body in REQUESTS),
            *((body, "serialization", TypeAdapter(body)) for body in RESPONSES),
        ],
        ref_template=SCHEMAS + "{model}",
    )
    text = re.sub(rf'("{SCHEMAS}\w+?){SUFFIX}"', r'\1"', orjson.dumps(made["$defs"]).decode())
    named = {name.removesuffix(SUFFIX): schema for name, schema in orjson.loads(text).items()}
    return {name: _without_titles(schema) for name, schema in sorted(named.items())} | {
        code: _problem(code, kind) for code, kind in KINDS.items()
    }


def ref(body: type) -> Schema:
    """A reference to the schema of a request or response type."""
    return {"$ref": SCHEMAS + body.__name__.removesuffix(SUFFIX)}


def success(message: str, data: Schema, example: Any, **more_fields: tuple[Schema, Any]) -> dict[str, Content]:
    """The content of a successful response: `data` and `more_fields` in the envelope, each with its example."""
    properties: Schema = {
        "error": {"const": False},
        "message": {"type": "string"},
        **{name: schema for name, (schema, _) in more_fields.items()},
        "data": data,
    }
    shown = {
        "error": False,
        "message": message,
        **{name: one for name, (_, one) in more_fields.items()},
        "data": example,
    }
    return {
        JSON: {
            "schema": {"type": "object", "required": list(properties), "properties": properties},
            "example": shown,
        }
    }


def list_of(body: type) -> Schema:
    """The schema of a list of these."""
    return {"type": "array", "items": ref(body)}


BOOLEAN: Schema = {"type": "boolean"}
HAS_MORE = ({"type": "boolean", "description": "Whether the list goes on after this page."}, False)
UP_TO_DATE = (
    {"type": "boolean", "description": "False if the database had not caught up with Redis in time."},
    True,
)

PROBLEMS_DATA: dict[str, Schema] = {
    "already_booked": {
        "required": ["booking"],
        "properties": {
            "booking": {**ref(response_schemas.BookingData), "description": "The booking that the user has."}
        },
    },
    "sale_not_open": {
        "required": ["opens_at", "server_time"],
        "properties": {"opens_at": INSTANT, "server_time": INSTANT},
    },
    "capacity_below_sold": {
        "required": ["floor"],
        "properties": {"floor": {"type": "integer", "description": "The smallest capacity that is possible now."}},
    },
}
"""The schema of a failure's `data`, for the codes that have it."""


def _problem(code: str, kind: Kind) -> Schema:
    properties: Schema = {
        "type": {"const": f"/problems/{code}"},
        "status": {"const": kind.status},
        "code": {"const": code},
    }
    required = []
    if code == "invalid_request":
        required.append("errors")
        properties["errors"] = {"minItems": 1}
    if code in PROBLEMS_DATA:
        required.append("data")
        properties["data"] = PROBLEMS_DATA[code]
    described = {"title": kind.title, "description": f"{kind.detail} {kind.advice}"}
    own: Schema = {"properties": properties, **({"required": required} if required else {})}
    return {**described, "allOf": [ref(response_schemas.ProblemData), own]}


def _without_titles(schema: Any) -> Any:
    """The schema without the titles that pydantic adds, which repeat the names of the fields."""
    if isinstance(schema, dict):
        return {
            name: {field: _without_titles(one) for field, one in value.items()}
            if name == "properties"
            else _without_titles(value)
            for name, value in schema.items()
            if not (name == "title" and isinstance(value, str))
        }
    if isinstance(schema, list):
        return [_without_titles(one) for one in schema]
    return schema
