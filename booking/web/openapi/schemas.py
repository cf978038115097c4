"""The document's schemas: request schemas are made from the validating models, response schemas from their types."""

import re
from collections.abc import Collection
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
    request_schemas.CheckoutRequest,
    request_schemas.ConfirmRequest,
    request_schemas.InitializeRequest,
    request_schemas.ChangeRequest,
    request_schemas.RefundRequest,
    request_schemas.WebhookRequest,
    request_schemas.WebhookChange,
    request_schemas.ReplayRequest,
    request_schemas.RegisterRequest,
    request_schemas.LoginRequest,
    request_schemas.PasswordRequest,
    request_schemas.ForgotRequest,
    request_schemas.ResetRequest,
    request_schemas.RemoveRequest,
)
RESPONSES = (
    response_schemas.EventData,
    response_schemas.DetailsData,
    response_schemas.BookingData,
    response_schemas.ChangeData,
    response_schemas.RefundData,
    response_schemas.PaymentSecretData,
    response_schemas.WebhookData,
    response_schemas.DeliveryData,
    response_schemas.TestData,
    response_schemas.WelcomeData,
    response_schemas.UserData,
    response_schemas.ReportData,
    response_schemas.AuditData,
    health.AliveData,
    health.ReadyData,
    response_schemas.ProblemData,
)
SUFFIX = "Data"
"""Suffix of the response types' names, which their schemas' names do not have."""

PROBLEM = "Problem"
"""The schema of what all problems share; the document has one schema for each code instead."""

INSTANT: Schema = {"type": "string", "format": "date-time"}


@cache
def schemas() -> dict[str, Schema]:
    """Every schema by its name."""
    of_types = {name: schema for name, schema in schemas_of_types().items() if name != PROBLEM}
    return of_types | {code: _problem(code, kind) for code, kind in KINDS.items()}


@cache
def schemas_of_types() -> dict[str, Schema]:
    """The schemas of the request and response types, by their names."""
    _, made = TypeAdapter.json_schemas(
        [
            *((body, "validation", TypeAdapter(body)) for body in REQUESTS),
            *((body, "serialization", TypeAdapter(body)) for body in RESPONSES),
        ],
        ref_template=SCHEMAS + "{model}",
    )
    text = re.sub(rf'("{SCHEMAS}\w+?){SUFFIX}"', r'\1"', orjson.dumps(made["$defs"]).decode())
    named = {name.removesuffix(SUFFIX): schema for name, schema in orjson.loads(text).items()}
    for body in REQUESTS:
        _put_defaults_into_words(named[body.__name__])
    return {name: _without_titles(schema) for name, schema in sorted(named.items())}


def ref(body: type) -> Schema:
    """A reference to the schema of a request or response type."""
    return {"$ref": SCHEMAS + body.__name__.removesuffix(SUFFIX)}


def success(
    message: str, data: Schema, example: Any, optional: Collection[str] = (), **more_fields: tuple[Schema, Any]
) -> dict[str, Content]:
    """The content of a successful response: `data` and `more_fields` in the envelope, each with its example.

    Those that are `optional` need not be there.
    """
    properties: Schema = {
        "error": {"type": "boolean", "const": False},
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
            "schema": {
                "type": "object",
                "required": [name for name in properties if name not in optional],
                "properties": properties,
            },
            "example": shown,
        }
    }


def list_of(body: type) -> Schema:
    """The schema of a list of these."""
    return {"type": "array", "items": ref(body)}


BOOLEAN: Schema = {"type": "boolean"}
HAS_MORE = ({"type": "boolean", "description": "Whether the list goes on after this page."}, False)
UNAVAILABLE = (
    {
        "type": "array",
        "items": {"type": "integer"},
        "description": "Events that may belong to this page and cannot be read now: their Redis server is away.",
    },
    list[int](),
)
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
    "too_many_webhooks": {
        "required": ["limit"],
        "properties": {"limit": {"type": "integer", "description": "The number that is allowed."}},
    },
    "has_live_bookings": {
        "required": ["event_ids"],
        "properties": {
            "event_ids": {
                "type": "array",
                "items": {"type": "integer"},
                "description": "The events of the bookings, by id; the first 100.",
            }
        },
    },
    "capacity_below_sold": {
        "required": ["floor"],
        "properties": {"floor": {"type": "integer", "description": "The smallest capacity that is possible now."}},
    },
}
"""The schema of a failure's `data`, for the codes that have it."""


def _problem(code: str, kind: Kind) -> Schema:
    """A whole schema without `allOf`, and with `type` and `enum` in each field: generators of clients need that."""
    shared = schemas_of_types()[PROBLEM]
    properties: Schema = {
        **shared["properties"],
        "type": {**shared["properties"]["type"], "enum": [f"/problems/{code}"]},
        "status": {"type": "integer", "enum": [kind.status]},
        "code": {"type": "string", "enum": [code]},
    }
    required = list(shared["required"])
    if code == "invalid_request":
        required.append("errors")
        properties["errors"] = {**properties["errors"], "minItems": 1}
    if code in PROBLEMS_DATA:
        required.append("data")
        properties["data"] = {"type": "object", **PROBLEMS_DATA[code]}
    described = {"description": f"{kind.title}. {kind.detail} {kind.advice}"}
    return {**described, "type": "object", "required": required, "properties": properties}


def _put_defaults_into_words(schema: Schema) -> None:
    """Moves defaults into the descriptions: openapi-typescript makes a field with a default a required one."""
    for field in schema["properties"].values():
        if "default" in field:
            default = orjson.dumps(field.pop("default")).decode()
            field["description"] = f"{field.get('description', '')} Default: {default}.".strip()


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
