"""The valid values of each field of a body; all faults of a body are reported at once, each with its pointer."""

import re
from typing import Any

import pytest

from booking.domain.details import OFFER_SECONDS_MAX, Details, Price, Visibility
from booking.domain.model import CAPACITY_MAX, HOLD_SECONDS_MAX, MAX_PER_USER_MAX, Rules
from booking.web.problems import Fault, Problem
from booking.web.request_schemas import (
    INTEGER_MAX,
    VISIBLE_LINES,
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


EURO = {"amount": 4_500, "currency": "EUR"}


@pytest.mark.parametrize(("payload", "others"), [(InitializeRequest, NEW), (ChangeRequest, {})])
@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (
            "description",
            [None, "x" * 5_000, "One.\r\nTwo.\n\n\u2066isolated\u2069"],
            ["", " \n", "x" * 5_001, "a\tb", "a\0b"],
        ),
        ("description", ["a\u2028b"], ["a\u202eb", "\u200b", 1]),
        ("venue", [None, "x" * 200, " Hall 3 "], ["", " ", "x" * 201, "a\nb", "a\u202db"]),
        ("starts_at", [None, "2026-11-22T21:30:00+01:00"], ["2026-11-22", 0]),
        ("ends_at", [None, "2026-11-22T21:30:00+01:00"], ["2026-11-22", 0]),
        ("time_zone", [None, "UTC", "Europe/Berlin", "America/Argentina/Ushuaia"], ["", "Berlin", "europe/berlin", 1]),
        ("time_zone", ["Etc/GMT+5"], ["../etc/passwd", "/usr/share/zoneinfo/UTC", "localtime", "Factory", "America"]),
        ("price", [None, EURO, {"amount": 0, "currency": "JPY"}, {**EURO, "amount": INTEGER_MAX}], [4_500, "45 EUR"]),
        ("visibility", [None, "listed", "unlisted", "archived"], ["", "Listed", "hidden", 1]),
        ("offer_seconds", [None, 0, OFFER_SECONDS_MAX], [-1, OFFER_SECONDS_MAX + 1, "60"]),
        ("payment_seconds", [None, 60, 3_600], [0, 59, 3_601]),
    ],
)
def test_a_detail_keeps_its_bounds_in_a_new_event_and_in_a_change(
    payload: type[Payload], others: dict[str, Any], field: str, good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        read(payload, {**others, field: value}, ())
    for value in bad:
        assert pointers(payload, {**others, field: value}) == [f"/{field}"], value


@pytest.mark.parametrize(
    ("price", "fault"),
    [
        ({"amount": -1, "currency": "EUR"}, "amount"),
        ({"amount": 45.0, "currency": "EUR"}, "amount"),
        ({"amount": 45, "currency": "eur"}, "currency"),
        ({"amount": 45, "currency": "EURO"}, "currency"),
        ({"amount": 45, "currency": "EUR\n"}, "currency"),
        ({"amount": 45}, "currency"),
        ({**EURO, "tax": 1}, "tax"),
    ],
)
def test_a_fault_of_a_price_names_the_part_that_is_wrong(price: dict[str, Any], fault: str) -> None:
    assert pointers(InitializeRequest, {**NEW, "price": price}) == [f"/price/{fault}"]
    assert pointers(ChangeRequest, {"price": price}) == [f"/price/{fault}"]


def test_a_new_events_details_are_what_the_body_says() -> None:
    body = {
        **NEW, "description": " Doors at 7.\nBring a friend. ", "venue": "Hall 3", "starts_at": "1970-01-01T00:00:01Z",
        "ends_at": "1970-01-01T01:00:02+01:00", "time_zone": "Europe/Berlin", "price": EURO, "visibility": "unlisted",
        "offer_seconds": 600, "payment_seconds": 300,
    }  # fmt: skip
    assert validate(InitializeRequest, body).rules().details == Details(
        "Doors at 7.\nBring a friend.", "Hall 3", 1_000, 2_000, "Europe/Berlin", Price(4_500, "EUR"),
        Visibility.UNLISTED, 600, 300,
    )  # fmt: skip
    assert (
        validate(InitializeRequest, NEW | dict.fromkeys(("venue", "visibility", "price"))).rules().details == Details()
    )


def test_a_change_of_details_names_what_changes_and_null_is_a_default() -> None:
    body = {"venue": None, "price": EURO, "starts_at": None, "visibility": "archived", "hold_seconds": 5}
    assert validate(ChangeRequest, body).changes() == {
        "venue": None, "price": Price(4_500, "EUR"), "starts_at_ms": None, "visibility": Visibility.ARCHIVED,
        "hold_seconds": 5,
    }  # fmt: skip


def test_an_event_cannot_end_before_it_starts_and_all_such_faults_are_listed() -> None:
    at, before = "2026-01-01T00:00:00Z", "2025-12-31T23:59:59.999Z"
    assert pointers(InitializeRequest, {**NEW, "starts_at": at, "ends_at": before}) == ["/ends_at"]
    validate(InitializeRequest, {**NEW, "starts_at": at, "ends_at": at}).rules()
    both = {"opens_at": at, "closes_at": at, "starts_at": at, "ends_at": before}
    assert pointers(InitializeRequest, {**NEW, **both, "max_per_user": 0}) == ["/ends_at", "/max_per_user", "/opens_at"]
    assert pointers(ChangeRequest, {**both, "capacity": 0}) == ["/ends_at", "/capacity", "/opens_at"]


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


def test_the_documented_pattern_of_a_description_is_the_rule_that_is_enforced() -> None:
    pattern = re.compile(VISIBLE_LINES)
    for code in [*range(0x800), *range(0x2000, 0x2100), *range(0xFE00, 0x10000)]:
        for text in (chr(code), f"a{chr(code)}b"):
            try:
                validate(ChangeRequest, {"description": text})
            except Problem:
                assert not pattern.search(text), ascii(text)
            else:
                assert pattern.search(text), ascii(text)


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
    faults = {"capacity": None, "paused": 1, "hold_seconds": None}
    assert sorted(pointers(ChangeRequest, faults)) == ["/capacity", "/hold_seconds", "/paused"]


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
