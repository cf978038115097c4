"""The document's schemas: of the bodies, from the models that validate them; of the answers, from their types."""

import re
from functools import cache
from typing import Any

import orjson
from pydantic import TypeAdapter

from booking.web import request_schemas as payloads
from booking.web import response_schemas as shapes
from booking.web.endpoints import health
from booking.web.openapi.operation import JSON, Content
from booking.web.problems import KINDS, Kind

Schema = dict[str, Any]

PLACE = "#/components/schemas/"

BODIES = (
    payloads.BookRequest,
    payloads.CancelRequest,
    payloads.ConfirmRequest,
    payloads.InitializeRequest,
    payloads.ChangeRequest,
    payloads.RegisterRequest,
    payloads.LoginRequest,
)
ANSWERS = (
    shapes.EventData,
    shapes.BookingData,
    shapes.WelcomeData,
    shapes.ReportData,
    shapes.AuditData,
    health.AliveData,
    health.ReadyData,
    shapes.ProblemData,
)
SUFFIX = "Data"
"""What the types of answers have at the end of their names, and the schemas not."""

INSTANT: Schema = {"type": "string", "format": "date-time"}


@cache
def schemas() -> dict[str, Schema]:
    """Every schema by its name."""
    _, made = TypeAdapter.json_schemas(
        [
            *((body, "validation", TypeAdapter(body)) for body in BODIES),
            *((answer, "serialization", TypeAdapter(answer)) for answer in ANSWERS),
        ],
        ref_template=PLACE + "{model}",
    )
    text = re.sub(rf'("{PLACE}\w+?){SUFFIX}"', r'\1"', orjson.dumps(made["$defs"]).decode())
    named = {name.removesuffix(SUFFIX): schema for name, schema in orjson.loads(text).items()}
    return {name: _without_titles(schema) for name, schema in sorted(named.items())} | {
        code: _problem(code, kind) for code, kind in KINDS.items()
    }


def ref(shape: type) -> Schema:
    """A reference to the schema of a body or an answer."""
    return {"$ref": PLACE + shape.__name__.removesuffix(SUFFIX)}


def success(message: str, data: Schema, example: Any, **beside: tuple[Schema, Any]) -> dict[str, Content]:
    """The content of a success: the envelope with this `data`, and what stands beside it, each with its example."""
    properties: Schema = {
        "error": {"const": False},
        "message": {"type": "string"},
        **{name: schema for name, (schema, _) in beside.items()},
        "data": data,
    }
    shown = {"error": False, "message": message, **{name: one for name, (_, one) in beside.items()}, "data": example}
    return {
        JSON: {
            "schema": {"type": "object", "required": list(properties), "properties": properties},
            "example": shown,
        }
    }


def some(shape: type) -> Schema:
    """A list of these."""
    return {"type": "array", "items": ref(shape)}


BOOLEAN: Schema = {"type": "boolean"}
HAS_MORE = ({"type": "boolean", "description": "Whether the list goes on after this page."}, False)
UP_TO_DATE = (
    {"type": "boolean", "description": "False where the database had not caught up with Redis in time."},
    True,
)

PROBLEMS_DATA: dict[str, Schema] = {
    "already_booked": {
        "required": ["booking"],
        "properties": {"booking": {**ref(shapes.BookingData), "description": "The booking they have."}},
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
"""What the `data` of a failure holds, where its code has any."""


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
    return {**described, "allOf": [ref(shapes.ProblemData), own]}


def _without_titles(schema: Any) -> Any:
    """Pydantic gives each field its name once more as a title."""
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
