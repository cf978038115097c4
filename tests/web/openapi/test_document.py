"""The document is OpenAPI 3.1, covers what is served and nothing else, and says of each call how it can fail."""

import inspect
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import openapi_spec_validator
import pytest
from starlette.routing import Route

from booking.web.openapi.document import document, document_bytes
from booking.web.problems import KINDS
from booking.web.routes import routes
from tests.fixtures.documented import documented

DOCUMENT = document()
METHODS = {"get", "post", "patch", "put", "delete"}

SIGNED_IN = {"unauthenticated"}
TOO_LARGE = {"body_too_large"}
BODY = TOO_LARGE | {"malformed_json", "unsupported_media_type", "invalid_request"}
STEP = {
    "event_not_found",
    "idempotency_key_reused",
    "rate_limited",
    "inventory_unavailable",
    "outcome_unknown",
    "overloaded",
}
ORGANIZING = SIGNED_IN | {"forbidden", "event_not_found"}
WEBHOOK = SIGNED_IN | {"forbidden", "webhook_not_found"}
EXPECTED = {
    ("post", "/auth/register"): BODY | {"email_taken", "rate_limited"},
    ("post", "/auth/login"): BODY | {"invalid_credentials", "rate_limited"},
    ("post", "/auth/renew"): TOO_LARGE | SIGNED_IN | {"rate_limited", "not_found"},
    ("post", "/auth/password"): BODY | SIGNED_IN | {"invalid_credentials", "forbidden", "rate_limited"},
    ("post", "/auth/forgot"): BODY | {"rate_limited", "not_found"},
    ("post", "/auth/reset"): BODY | {"invalid_credentials", "rate_limited", "not_found"},
    ("delete", "/auth/account"): BODY | SIGNED_IN | {"invalid_credentials", "has_live_bookings", "rate_limited"},
    ("post", "/initialize"): BODY | SIGNED_IN | {"forbidden"},
    ("post", "/book"): BODY
    | SIGNED_IN
    | STEP
    | {"already_booked", "sold_out", "waitlist_full", "quantity_over_limit"}
    | {"sale_not_open", "sale_closed", "sale_paused"},
    ("post", "/cancel"): BODY | SIGNED_IN | STEP | {"booking_not_found", "forbidden"},
    ("post", "/checkout"): BODY
    | SIGNED_IN
    | STEP
    | {"booking_not_found", "hold_expired", "still_waiting", "forbidden"},
    ("post", "/confirm"): BODY
    | SIGNED_IN
    | STEP
    | {"booking_not_found", "hold_expired", "still_waiting", "refund_due"},
    ("post", "/payments/stripe"): {"invalid_signature", "malformed_json", "body_too_large", "not_found"},
    ("patch", "/events/{event_id}"): BODY | ORGANIZING | {"capacity_below_sold", "precondition_failed"},
    ("get", "/status/{event_id}"): {"event_not_found"},
    ("get", "/events/{event_id}"): {"event_not_found", "rate_limited"},
    ("get", "/events"): {"invalid_request", "rate_limited"},
    ("get", "/events/{event_id}/booking"): SIGNED_IN | {"event_not_found", "booking_not_found", "rate_limited"},
    ("get", "/bookings"): SIGNED_IN | {"invalid_request", "rate_limited"},
    ("get", "/events/{event_id}/bookings"): ORGANIZING | {"invalid_request"},
    ("get", "/events/{event_id}/report"): ORGANIZING,
    ("get", "/events/{event_id}/audit"): ORGANIZING,
    ("get", "/events/{event_id}/refunds"): ORGANIZING | {"invalid_request", "rate_limited"},
    ("patch", "/events/{event_id}/refunds/{payment_id}"): BODY | ORGANIZING | {"refund_not_found", "rate_limited"},
    ("get", "/events/{event_id}/payment-secret"): ORGANIZING | {"rate_limited"},
    ("get", "/events/{event_id}/live"): SIGNED_IN | {"event_not_found", "overloaded"},
    ("get", "/live"): SIGNED_IN | {"invalid_request", "overloaded", "rate_limited"},
    ("get", "/events/{event_id}/changes"): ORGANIZING | {"invalid_request", "rate_limited"},
    ("get", "/webhooks"): SIGNED_IN | {"forbidden", "invalid_request"},
    ("post", "/webhooks"): BODY | ORGANIZING | {"too_many_webhooks"},
    ("get", "/webhooks/{webhook_id}"): WEBHOOK,
    ("patch", "/webhooks/{webhook_id}"): BODY | WEBHOOK,
    ("delete", "/webhooks/{webhook_id}"): TOO_LARGE | WEBHOOK,
    ("post", "/webhooks/{webhook_id}/rotate"): TOO_LARGE | WEBHOOK,
    ("post", "/webhooks/{webhook_id}/test"): TOO_LARGE | WEBHOOK | {"invalid_request"},
    ("post", "/webhooks/{webhook_id}/replay"): BODY | WEBHOOK | {"event_not_found"},
    ("get", "/webhooks/{webhook_id}/deliveries"): WEBHOOK | {"invalid_request"},
    ("get", "/problems/{code}"): {"not_found"},
}
"""What the contract says of each call's failures, at least."""


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def codes(operation: dict[str, Any]) -> set[str]:
    return {
        code
        for response in operation["responses"].values()
        for content in response.get("content", {}).values()
        for code in content.get("examples", ())
    }


def valid(schema: Any, value: object) -> bool:
    return not list(documented().differences(schema, value))


def component(reference: dict[str, str]) -> Any:
    _, _, kind, name = reference["$ref"].split("/")
    return DOCUMENT["components"][kind][name]


def test_it_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    openapi_spec_validator.validate(DOCUMENT)


def test_the_document_has_exactly_the_served_operations() -> None:
    endpoints = [MagicMock() for _ in inspect.signature(routes).parameters]
    served = {
        (method.lower(), route.path)
        for route in routes(*endpoints)
        # Files of the pages are not for programs, and generators of clients do not know their types.
        if isinstance(route, Route) and not route.path.startswith("/static") and not route.path.endswith(".svg")
        for method in route.methods or ()
    }
    written = {(method, path) for method, path, _ in operations()}
    assert {one for one in served if one[0] != "head"} == written
    assert {path for method, path in served if method == "head"} == {
        path for method, path in written if method == "get"
    }


def test_an_operation_has_a_name_of_its_own_and_says_what_it_does() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    for _, path, operation in operations():
        assert operation["summary"], path
        assert operation["tags"], path
        assert "security" in operation, path


@pytest.mark.parametrize("call", sorted(EXPECTED))
def test_a_call_lists_the_codes_that_it_can_fail_with(call: tuple[str, str]) -> None:
    method, path = call
    assert EXPECTED[call] <= codes(DOCUMENT["paths"][path][method])


def test_a_code_stands_under_its_status_and_only_there() -> None:
    for _, path, operation in operations():
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values():
                assert {KINDS[code].status for code in content.get("examples", ())} <= {int(status)}, path


def test_every_code_is_somewhere() -> None:
    listed = set().union(*(codes(operation) for _, _, operation in operations()))
    of_no_operation = {"malformed_request", "method_not_allowed", "transfer_encoding_unsupported"}
    assert listed | of_no_operation == KINDS.keys()
    assert of_no_operation <= DOCUMENT["components"]["responses"].keys()


def test_organizers_calls_ask_for_the_role_and_open_ones_for_nothing() -> None:
    paths = DOCUMENT["paths"]
    assert paths["/initialize"]["post"]["security"] == [{"bearer": ["organizer"]}, {"basic": ["organizer"]}]
    assert paths["/book"]["post"]["security"] == [{"bearer": []}, {"basic": []}]
    assert paths["/events/{event_id}"]["get"]["security"] == []
    assert paths["/events"]["get"]["security"] == [{}, {"bearer": ["organizer"]}, {"basic": ["organizer"]}]
    assert {} in paths["/events/{event_id}/live"]["get"]["security"]
    assert {} in paths["/live"]["get"]["security"]


def test_every_answer_has_a_request_id_and_retryable_ones_a_retry_after() -> None:
    for _, path, operation in operations():
        for status, response in operation["responses"].items():
            assert component(response["headers"]["X-Request-ID"])["required"], path
            if status in ("429", "503"):
                assert component(response["headers"]["Retry-After"])["required"], path
            if status == "429":
                assert {"RateLimit", "RateLimit-Policy"} <= response["headers"].keys()


def contents() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every body of the document with the place where it stands."""
    for method, path, operation in operations():
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{method} {path}", media, content
        for status, response in operation["responses"].items():
            for media, content in response.get("content", {}).items():
                yield f"{method} {path} {status}", media, content


def test_every_example_is_valid_by_its_own_schema() -> None:
    seen = 0
    for place, media, content in contents():
        shown = [component(one)["value"] for one in content.get("examples", {}).values()]
        if "example" in content:
            shown.append(content["example"])
        assert shown or place == "get /openapi.json 200", (place, media)
        for one in shown:
            assert valid(content["schema"], one), (place, media, one)
            seen += 1
    assert seen > 100


def test_the_examples_of_parameters_and_headers_are_valid() -> None:
    for kind in ("parameters", "headers"):
        for name, part in DOCUMENT["components"][kind].items():
            if "example" in part:
                assert valid(part["schema"], part["example"]), name


def test_a_problem_is_valid_by_its_own_schema_and_no_others() -> None:
    schemas = {code: {"$ref": f"#/components/schemas/{code}"} for code in KINDS}
    for code, example in DOCUMENT["components"]["examples"].items():
        assert [other for other, schema in schemas.items() if valid(schema, example["value"])] == [code]


def test_every_component_is_used() -> None:
    text = document_bytes().decode()
    for kind in ("schemas", "parameters", "headers", "examples"):
        for name in DOCUMENT["components"][kind]:
            assert f'"#/components/{kind}/{name}"' in text, f"{kind}/{name}"
