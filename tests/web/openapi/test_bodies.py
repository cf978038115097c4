"""The schemas of bodies and what validates them agree, value by value: a body is refused by both or by neither."""

from typing import Any

import jsonschema_rs
import pytest

from booking.domain.callers import USER_ID_CHARACTERS_MAX
from booking.domain.model import CAPACITY_MAX, HOLD_SECONDS_MAX, MAX_PER_USER_MAX
from booking.web.openapi.document import document
from booking.web.openapi.schemas import REQUESTS
from booking.web.problems import Problem
from booking.web.request_schemas import INTEGER_MAX, Payload, validate

DOCUMENT = document()

NUMBERS = [
    bound + beside
    for bound in (0, 1, MAX_PER_USER_MAX, HOLD_SECONDS_MAX, CAPACITY_MAX, INTEGER_MAX)
    for beside in (-1, 0, 1)
]
TEXTS = [
    *("x" * length for length in (0, 1, 7, 8, 128, 129, 200, 201, 256, 257)),
    *("ada@example.com", "2026-11-22T21:30:00Z", "2026-11-22T21:30:00.125+05:30", "2026-02-30T00:00:00Z", "noon"),
    *("a\0b" * 4, "   ", "東京" * 5),
    *("x" * 5_000, "x" * 5_001, "one\ntwo", "a\tb", "a\u202eb", "Europe/Berlin", "europe/berlin", "unlisted", "EUR"),
]
PRICES = [
    {"amount": amount, "currency": currency, **more}
    for amount in (-1, 0, INTEGER_MAX, INTEGER_MAX + 1, 1.5, None)
    for currency in ("EUR", "eur", "EURO", "EUR\n", None)
    for more in ({}, {"tax": 1})
]
VALUES: list[Any] = [*NUMBERS, *TEXTS, *PRICES, {"amount": 1}, -1, 1.5, None, True, False, [], {}, [1]]

LENIENT = {"event_id", "quantity"}
"""Fields whose valid numbers only the script can refuse: no such event, over the limit."""

FORM_ONLY = {"time_zone", "payment_url"}
"""Fields of which the schema knows a part of the form: the valid texts are in a database, or are URLs."""

EXAMPLES = {
    content["schema"]["$ref"].rpartition("/")[2]: content["example"]
    for methods in DOCUMENT["paths"].values()
    for operation in methods.values()
    for content in operation.get("requestBody", {}).get("content", {}).values()
}


def schema_takes(model: type[Payload], body: Any) -> bool:
    whole = {"components": DOCUMENT["components"], "$ref": f"#/components/schemas/{model.__name__}"}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True).is_valid(body)


def service_takes(model: type[Payload], body: Any) -> bool:
    try:
        validate(model, body)
    except Problem:
        return False
    return True


@pytest.mark.parametrize("model", REQUESTS)
def test_every_body_has_an_example_that_both_accept(model: type[Payload]) -> None:
    body = EXAMPLES[model.__name__]
    assert schema_takes(model, body)
    assert service_takes(model, body)


@pytest.mark.parametrize("model", REQUESTS)
def test_schema_and_service_agree_on_every_value_of_every_field(model: type[Payload]) -> None:
    example = EXAMPLES[model.__name__]
    for field in DOCUMENT["components"]["schemas"][model.__name__]["properties"]:
        others = {name: one for name, one in example.items() if {name, field} != {"name", "event_name"}}
        for value in VALUES:
            body = {**others, field: value}
            if field in LENIENT and type(value) is int:
                assert service_takes(model, body) or not schema_takes(model, body), body
            elif field in FORM_ONLY:
                assert schema_takes(model, body) or not service_takes(model, body), body
            else:
                assert schema_takes(model, body) == service_takes(model, body), body


@pytest.mark.parametrize("model", REQUESTS)
def test_schema_and_service_agree_on_what_is_missing_unknown_or_no_object(model: type[Payload]) -> None:
    example = EXAMPLES[model.__name__]
    bodies: list[Any] = [{**example, "other": 1}, {}, [], None, "x", 1]
    bodies += [{name: one for name, one in example.items() if name != left_out} for left_out in example]
    bodies += [{**example, "name": "One", "event_name": "Two"}]
    for body in bodies:
        if body == {} and model.__name__ == "ChangeRequest":
            continue  # found once the body is read; tests/contract/test_changing_an_event.py
        assert schema_takes(model, body) == service_takes(model, body), body


def test_the_bounds_of_the_rules_are_in_the_schemas() -> None:
    fields = DOCUMENT["components"]["schemas"]["InitializeRequest"]["properties"]
    assert fields["available_tickets"]["maximum"] == CAPACITY_MAX
    assert fields["max_per_user"]["maximum"] == MAX_PER_USER_MAX
    assert fields["hold_seconds"]["maximum"] == HOLD_SECONDS_MAX
    cancel = DOCUMENT["components"]["schemas"]["CancelRequest"]["properties"]
    assert cancel["user_id"]["maxLength"] == USER_ID_CHARACTERS_MAX
