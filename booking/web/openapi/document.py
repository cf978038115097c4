"""Builds the whole OpenAPI 3.1 document from the operations."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from itertools import groupby
from typing import Any

import orjson

from booking.web.openapi.examples import PROBLEMS
from booking.web.openapi.operation import TAG_DESCRIPTIONS, Audience, Operation, ResponseDoc
from booking.web.openapi.parameters import HEADERS, PARAMETERS, JsonObject
from booking.web.openapi.reading import READING, SERVICE
from booking.web.openapi.schemas import SCHEMAS, schemas
from booking.web.openapi.selling import SELLING
from booking.web.openapi.webhooks import WEBHOOKS
from booking.web.problems import CONTENT_TYPE, KINDS
from booking.web.requests import BODY_BYTES_MAX

OPENAPI = "3.1.1"

OPERATIONS: tuple[Operation, ...] = (*SELLING, *READING, *WEBHOOKS, *SERVICE)

PROBLEM = CONTENT_TYPE.decode()

PROBLEM_TYPE = re.compile("/problems/[a-z_]+")

FROM_HERE = "Where this document comes from."

INTRODUCTION = f"""\
Sells tickets in a flash sale. Every change is one atomic step in Redis, on disk before the response.

- JSON in and out, UTF-8. Times are RFC 3339 in UTC with milliseconds; in a body they may have any offset.
- A success is `{{"error": false, "message": "…", "data": …}}`. Lists are newest first, with `has_more`, and go on with
  `starting_after`.
- A failure is a problem document (RFC 9457). Programs check its `code`; the page `GET /problems/{{code}}`
  explains each.
- A body is at most {BODY_BYTES_MAX // 1024} KiB of JSON without unknown or repeated fields; all faults are reported.
- Checks come in this order: credentials, rate limit, media type, size, JSON, fields, then the atomic step: event,
  replay of a key, already booked, paused, not open, closed, quantity, sold out or full.
- An unknown path, or one with an extra slash, is `not_found`; a wrong method is `method_not_allowed` with `Allow`; a
  request that is not HTTP is `malformed_request`. HEAD works for every path that has GET.
- The same call with the same `Idempotency-Key` may always be repeated: after `outcome_unknown`, a time-out, a crash.
"""

SECURITY: dict[str, JsonObject] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token from /auth/login, from `booking token`, or from the identity provider that the service "
        'trusts: `sub` is the user id, `exp` is required, `role: "organizer"` opens the organizers\' endpoints, and '
        '`role: "admin"` opens them for every event; `role: "service"` is a shop\'s backend, which books, confirms and '
        "cancels for its buyers, and may do nothing else. An account's `sub` is `account:` and its number; a "
        "provider's `sub` may not begin so. A provider's subjects get the prefix `BOOKING_JWT_SUBJECT_PREFIX`.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The email and password of one of the service's own accounts, if it has any.",
    },
}


def document() -> dict[str, Any]:
    """The document as Python dictionaries and lists."""
    plain: dict[str, Any] = orjson.loads(document_bytes())
    return plain


@cache
def document_bytes(root: str = "") -> bytes:
    """The document as JSON, of a service below `root`. It is built once, which takes some tenths of a second."""
    if not root:
        return orjson.dumps(_document())
    return orjson.dumps(_below(root, document()) | {"servers": [{"url": root, "description": FROM_HERE}]})


def _below(root: str, value: Any) -> Any:
    """The document with the types of problems below `root`. Paths stay: they are relative to the server."""
    if isinstance(value, dict):
        return {name: _below(root, one) for name, one in value.items()}
    if isinstance(value, list):
        return [_below(root, one) for one in value]
    return f"{root}{value}" if isinstance(value, str) and PROBLEM_TYPE.fullmatch(value) else value


def _document() -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": OPENAPI,
        "info": {"title": "Booking", "version": version("booking"), "description": INTRODUCTION},
        "servers": [{"url": "/", "description": FROM_HERE}],
        "tags": [{"name": tag, "description": text} for tag, text in TAG_DESCRIPTIONS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "examples": {code: {"summary": KINDS[code].title, "value": value} for code, value in PROBLEMS.items()},
            "responses": {
                "malformed_request": _failure(["malformed_request"], []),
                "transfer_encoding_unsupported": _failure(["transfer_encoding_unsupported"], []),
                "method_not_allowed": _failure(["method_not_allowed"], ["Allow"]),
                "not_found": _failure(["not_found"], []),
            },
            "securitySchemes": SECURITY,
        },
    }


def _operation(operation: Operation) -> JsonObject:
    in_path = [name for name in ("event_id", "payment_id", "webhook_id", "code") if f"{{{name}}}" in operation.path]
    names = [*in_path, *operation.parameters, "X-Request-ID"]
    described = f"{operation.description}\n\nFor {operation.audience}.".strip()
    entry: JsonObject = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": described,
        "security": _security(operation.audience),
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names],
    }
    if operation.body is not None:
        entry["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": SCHEMAS + operation.body.__name__},
                    "example": operation.body_example,
                }
            },
        }
    entry["responses"] = _responses(operation)
    return entry


def _security(audience: Audience) -> list[dict[str, list[str]]]:
    """The alternative security schemes; each names the role that it requires."""
    roles = ["organizer"] if audience in (Audience.ORGANIZER, Audience.ANYONE_OR_ORGANIZER) else []
    signed_in: list[dict[str, list[str]]] = [{"bearer": roles}, {"basic": roles}]
    if audience in (Audience.ANYONE_OR_USER, Audience.ANYONE_OR_ORGANIZER):
        return [{}, *signed_in]
    return [] if audience is Audience.ANYONE else signed_in


def _responses(operation: Operation) -> dict[str, JsonObject]:
    replayed = ["Idempotent-Replayed"] if operation.is_replayed else []
    responses = {str(doc.status): _success(doc, replayed) for doc in operation.responses}
    codes = sorted(operation.codes, key=list(KINDS).index)
    for status, some in groupby(codes, key=lambda code: KINDS[code].status):
        found = list(some)
        failure = _failure(found, _headers_of(found) + (replayed if status in range(402, 423) else []))
        responses[str(status)] = _merged(responses[str(status)], failure) if str(status) in responses else failure
    return dict(sorted(responses.items()))


def _headers_of(codes: list[str]) -> list[str]:
    """The headers of a failure with one of these codes, which share a status."""
    headers = []
    if "unauthenticated" in codes:
        headers.append("WWW-Authenticate")
    if "sale_not_open" in codes:
        headers.append("Retry-After.sale_not_open")
    if all(KINDS[code].retry_after_seconds is not None for code in codes):
        headers.append("Retry-After")
    if "rate_limited" in codes:
        headers += ["RateLimit-Policy", "RateLimit"]
    return headers


def _success(doc: ResponseDoc, more_headers: list[str]) -> JsonObject:
    content = {"content": doc.content} if doc.content else {}
    return {"description": doc.description, "headers": _headers([*doc.headers, *more_headers]), **content}


def _failure(codes: list[str], headers: list[str]) -> JsonObject:
    kinds = [{"$ref": SCHEMAS + code} for code in codes]
    schema = kinds[0] if len(kinds) == 1 else {"oneOf": kinds, "discriminator": {"propertyName": "code"}}
    return {
        "description": " ".join(f"`{code}`: {KINDS[code].detail}" for code in codes),
        "headers": _headers(headers),
        "content": {
            PROBLEM: {"schema": schema, "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes}}
        },
    }


def _merged(success: JsonObject, failure: JsonObject) -> JsonObject:
    """The response of a status that a success and a failure share."""
    return {
        "description": f"{success['description']} {failure['description']}",
        "headers": {**failure["headers"], **success["headers"]},
        "content": {**success["content"], **failure["content"]},
    }


def _headers(names: Iterable[str]) -> dict[str, JsonObject]:
    return {name.partition(".")[0]: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *names)}
