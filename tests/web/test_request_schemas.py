"""The valid values of each field of a body; all faults of a body are reported at once, each with its pointer."""

import re
from typing import Any

import pytest

from booking.domain.model import CAPACITY_MAX, HOLD_SECONDS_MAX, MAX_PER_USER_MAX, Rules
from booking.web.problems import Fault, Problem
from booking.web.request_schemas import (
    INTEGER_MAX,
    VISIBLE_TEXT,
    BookRequest,
    CancelRequest,
    ChangeRequest,
    ConfirmRequest,
    InitializeRequest,
    LoginRequest,
    Payload,
    RegisterRequest,
    validate,
)

NEW: dict[str, Any] = {"event_name": "Night", "available_tickets": 5}


def read(payload: type[Payload], body: object, also: tuple[Fault, ...]) -> None:
    """Reads a body as its endpoint does."""
    value = validate(payload, body, also)
    for follow in ("rules", "changes"):
        if hasattr(value, follow):
            getattr(value, follow)()


def pointers(payload: type[Payload], body: object, *also: Fault) -> list[str]:
    """The pointers of a body's faults."""
    with pytest.raises(Problem) as raised:
        read(payload, body, also)
    assert raised.value.code == "invalid_request"
    assert raised.value.faults is not None
    for fault in raised.value.faults:
        assert fault.detail[0].isalnum()
        assert fault.detail.endswith(".")
        assert "\n" not in fault.detail
    return [fault.pointer for fault in raised.value.faults]


@pytest.mark.parametrize("payload", [BookRequest, CancelRequest, ConfirmRequest, InitializeRequest, ChangeRequest])
@pytest.mark.parametrize("body", [None, 1, "text", [], [{}], True])
def test_a_body_that_is_no_object_is_one_fault(payload: type[Payload], body: object) -> None:
    assert pointers(payload, body) == [""]


@pytest.mark.parametrize("value", ["1", 1.0, 1.5, True, None, [1], {"a": 1}])
@pytest.mark.parametrize("field", ["event_id", "quantity"])
def test_no_value_is_converted_to_another_type(field: str, value: object) -> None:
    assert pointers(BookRequest, {"event_id": 1, field: value}) == [f"/{field}"]


def test_every_fault_of_a_body_is_listed_before_those_found_elsewhere() -> None:
    body = {"event_id": "1", "quantity": 0, "a/b~c": 1}
    assert sorted(pointers(BookRequest, body)) == ["/a~1b~0c", "/event_id", "/quantity"]
    assert pointers(BookRequest, {}, Fault("Idempotency-Key", "It is wrong.")) == ["/event_id", "Idempotency-Key"]
    assert pointers(ConfirmRequest, {"event_id": 1}, Fault("Idempotency-Key", "It is wrong.")) == ["Idempotency-Key"]


def test_every_fault_of_a_new_event_is_listed() -> None:
    body = {
        "event_name": " ", "available_tickets": 0, "max_per_user": 0, "hold_seconds": -1, "waitlist_limit": -1,
        "opens_at": "soon", "closes_at": 5, "surprise": 1,
    }  # fmt: skip
    assert sorted(pointers(InitializeRequest, body)) == sorted(f"/{name}" for name in body)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("available_tickets", [1, CAPACITY_MAX], [0, -1, CAPACITY_MAX + 1]),
        ("max_per_user", [1, MAX_PER_USER_MAX], [0, MAX_PER_USER_MAX + 1]),
        ("hold_seconds", [0, HOLD_SECONDS_MAX], [-1, HOLD_SECONDS_MAX + 1]),
        ("waitlist_limit", [None, 0, INTEGER_MAX], [-1, INTEGER_MAX + 1]),
        ("event_name", ["x", "x" * 200, " " + "é" * 200 + "\n"], ["", "\t\n", "x" * 201, "a\0b"]),
        ("opens_at", [None, "2026-11-22T21:30:00+01:00"], ["2026-11-22", 0, "2026-02-30T00:00:00Z"]),
    ],
)
def test_a_field_of_a_new_event_keeps_its_bounds(field: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        validate(InitializeRequest, {**NEW, field: value}).rules()
    for value in bad:
        assert pointers(InitializeRequest, {**NEW, field: value}) == [f"/{field}"]


def test_a_new_events_rules_are_what_the_body_says() -> None:
    body = {**NEW, "event_name": "  Night ", "hold_seconds": 9, "opens_at": "1970-01-01T00:00:01Z"}
    assert validate(InitializeRequest, body).rules() == Rules("Night", 5, 1, 9, None, 1_000, None)


@pytest.mark.parametrize("payload", [InitializeRequest, ChangeRequest])
def test_a_name_is_sent_in_one_of_its_two_spellings(payload: type[Payload]) -> None:
    given = {"name": "Night", **({"available_tickets": 5} if payload is InitializeRequest else {})}
    assert getattr(validate(payload, given), "event_name") == "Night"  # noqa: B009  # both payloads have it
    assert pointers(payload, {**given, "name": 1}) == ["/name"]
    assert pointers(payload, {**given, "event_name": "Night"}) == ["/name"]
    assert sorted(pointers(payload, {**given, "event_name": 1, "max_per_user": 0})) == [
        "/event_name", "/max_per_user", "/name",
    ], "and with it whatever else is wrong"  # fmt: skip


def test_the_documented_pattern_of_a_name_is_the_rule_that_is_enforced() -> None:
    pattern = re.compile(VISIBLE_TEXT)
    for code in [*range(0x3100), *range(0xF900, 0x10000), *range(0x1B000, 0x1F700), *range(0xDFFF0, 0xE1010)]:
        for name in (chr(code), f"a{chr(code)}b"):
            try:
                validate(InitializeRequest, {**NEW, "event_name": name})
            except Problem:
                assert not pattern.search(name), ascii(name)
            else:
                assert pattern.search(name), ascii(name)


@pytest.mark.parametrize("opens_at", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.001Z"])
def test_a_sale_cannot_close_before_it_opens(opens_at: str) -> None:
    assert pointers(InitializeRequest, {**NEW, "opens_at": opens_at, "closes_at": "2026-01-01T00:00:00Z"}) == [
        "/opens_at"
    ]


def test_a_change_names_what_changes_and_nothing_else() -> None:
    assert pointers(ChangeRequest, {}) == [""]
    assert validate(ChangeRequest, {"paused": True}).changes() == {"paused": 1}
    assert validate(ChangeRequest, {"name": "Night", "capacity": 7}).changes() == {"name": "Night", "capacity": 7}
    assert validate(ChangeRequest, {"opens_at": None, "waitlist_limit": None}).changes() == {
        "opens_at": None, "waitlist_limit": None,
    }  # fmt: skip
    assert pointers(ChangeRequest, {"hold_seconds": 1}) == ["/hold_seconds"]
    assert sorted(pointers(ChangeRequest, {"capacity": None, "paused": 1})) == ["/capacity", "/paused"]


@pytest.mark.parametrize("user_id", ["", "x" * 129, "a\0b"])
def test_an_invalid_user_id_is_a_fault(user_id: str) -> None:
    assert pointers(CancelRequest, {"event_id": 1, "user_id": user_id}) == ["/user_id"]


def test_a_new_account_needs_an_email_and_a_password_of_some_length() -> None:
    good = {"email": "zoe@example.com", "password": "12345678"}
    validate(RegisterRequest, good)
    for password in ("1234567", "x" * 257, "1234567\0"):
        assert pointers(RegisterRequest, {**good, "password": password}) == ["/password"]
    for email in ("", "zoe", "zoe@", "@example.com", "zoe@example.com\0"):
        assert pointers(RegisterRequest, {**good, "email": email}) == ["/email"]
    validate(LoginRequest, {"email": "not even one", "password": ""})


def test_no_fault_repeats_a_password() -> None:
    with pytest.raises(Problem) as raised:
        validate(RegisterRequest, {"email": "zoe@example.com", "password": "hush"})
    assert b"hush" not in raised.value.body("an-id")
