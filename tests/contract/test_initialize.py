"""`POST /initialize`: what an organizer may put on sale, and how it is answered."""

from typing import Any

import pytest

from .api import Api
from .client import fresh

NAMES = [
    "a",
    "n" * 200,
    "🎟" * 200,
    "e\u0301" * 100,
    "קוֹנצרט של השנה",
    "حفلة موسيقية",
    "東京ドーム",
    "\U0001f468\u200d\U0001f467 family",
    "<script>alert(1)</script>",
    "Robert'); DROP TABLE events;--",
    "\u2067حفلة\u2069 in Cairo",
    "حفلة\u200f 12",
    "\\ / \" ' %s {0} $1",
    "null",
]


def test_a_created_event_is_returned_whole_with_the_original_message(api: Api) -> None:
    name = fresh("event")
    answer = api.initialize(event_name=name, available_tickets=5)
    assert answer.status == 201
    assert answer.body["message"] == "Event created successfully"
    assert type(answer.body["event_id"]) is int
    assert answer.body["eventd"] == answer.body["event_id"] == answer.data["id"]
    assert answer.data["name"] == name
    assert answer.data["capacity"] == answer.data["available_tickets"] == 5


def test_a_new_event_has_the_defaults(api: Api) -> None:
    event = api.initialize(available_tickets=7).data
    expected = {
        "capacity": 7,
        "available_tickets": 7,
        "bookings_count": 0,
        "held_count": 0,
        "tickets_sold": 0,
        "tickets_held": 0,
        "waiting_list_count": 0,
        "max_per_user": 1,
        "hold_seconds": 0,
        "waitlist_limit": None,
        "opens_at": None,
        "closes_at": None,
        "paused": False,
        "state": "open",
    }
    assert {field: event[field] for field in expected} == expected


def test_a_created_event_reads_as_it_was_returned(api: Api) -> None:
    created = api.initialize(available_tickets=3, max_per_user=2, hold_seconds=60, waitlist_limit=9).data
    assert (created["max_per_user"], created["hold_seconds"], created["waitlist_limit"]) == (2, 60, 9)
    assert api.look(created["id"]) == created


def test_each_event_gets_a_new_and_larger_id(api: Api) -> None:
    ids = [api.event(event_name="the same name") for _ in range(3)]
    assert ids == sorted(set(ids))


def test_name_is_another_spelling_of_event_name(api: Api) -> None:
    name = fresh("event")
    answer = api.organizer.post("/initialize", {"name": name, "available_tickets": 1})
    assert answer.status == 201
    assert answer.data["name"] == name


def test_both_spellings_at_once_are_refused(api: Api) -> None:
    answer = api.organizer.post("/initialize", {"name": "x", "event_name": "x", "available_tickets": 1})
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/name"}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_script_is_kept_as_it_is(api: Api, name: str) -> None:
    answer = api.initialize(event_name=name)
    assert answer.status == 201
    assert answer.data["name"] == name
    assert api.look(answer.data["id"])["name"] == name


def test_a_name_is_trimmed_before_it_is_measured(api: Api) -> None:
    assert api.initialize(event_name="  padded \t\n").data["name"] == "padded"
    assert api.initialize(event_name=f"  {'n' * 200}  ").data["name"] == "n" * 200


@pytest.mark.parametrize("name", ["", " ", "\t\n", "n" * 201, "🎟" * 201, None, 1, True, [], ["x"], {}])
@pytest.mark.parametrize("field", ["event_name", "name"])
def test_a_name_is_1_to_200_characters_of_text(api: Api, field: str, name: Any) -> None:
    answer = api.organizer.post("/initialize", {field: name, "available_tickets": 1})
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {f"/{field}"}


@pytest.mark.parametrize(
    "name",
    [
        "\u200b", "\u2066\u2069", "\u00ad", "\u3164", "\u2800", "\ufe0f", "\U000e0041\U000e007f", "\ufeff \u2060",
        "a\x1b[2Jb", "a\nb", "a\x7fb", "a\x85b", "a\u2028b", "a\u202eb", "a\u202db",
    ],
)  # fmt: skip
def test_a_name_has_a_visible_character_and_nothing_that_controls_a_display(api: Api, name: str) -> None:
    answer = api.initialize(event_name=name)
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/event_name"}
    changed = api.organizer.change(api.event(), name=name)
    assert changed.verdict == (422, "invalid_request")
    assert changed.pointers == {"/name"}


@pytest.mark.parametrize("tickets", [1, 2, 10_000_000])
def test_1_to_10_000_000_tickets_may_be_sold(api: Api, tickets: int) -> None:
    answer = api.initialize(available_tickets=tickets)
    assert answer.status == 201
    assert answer.data["capacity"] == tickets
    assert answer.data["available_tickets"] == tickets


@pytest.mark.parametrize(
    "tickets", [0, -1, 10_000_001, 2**31, 2**63, 2**64, 10**30, 10**400, -(10**400), 1.5, "1", "", None, True, [], {}]
)
def test_any_other_count_of_tickets_is_refused(api: Api, tickets: Any) -> None:
    answer = api.initialize(available_tickets=tickets)
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/available_tickets"}


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [("max_per_user", 1, 100), ("hold_seconds", 0, 86_400), ("waitlist_limit", 0, 10_000_000)],
)
def test_every_rule_is_checked_against_its_bounds(api: Api, field: str, least: int, most: int) -> None:
    for value in (least, most):
        answer = api.initialize(**{field: value})
        assert answer.status == 201
        assert answer.data[field] == value
    wrong: list[Any] = [least - 1, 0.5, str(least), True, [], {}]
    if field != "waitlist_limit":  # Null is unbounded there, and no largest number is named.
        wrong += [most + 1, None]
    for value in wrong:
        answer = api.initialize(**{field: value})
        assert answer.verdict == (422, "invalid_request"), value
        assert answer.pointers == {f"/{field}"}, value


def test_an_unbounded_waiting_list_may_be_asked_for_by_null(api: Api) -> None:
    assert api.initialize(waitlist_limit=None).data["waitlist_limit"] is None


@pytest.mark.parametrize("field", ["capacity", "id", "seq", "price", "", "Event_Name"])
def test_an_unknown_field_is_refused(api: Api, field: str) -> None:
    answer = api.initialize(**{field: 1})
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {f"/{field}"}


def test_a_refused_event_is_not_created(api: Api) -> None:
    before = api.anyone.get("/events?limit=1").data
    api.initialize(available_tickets=0)
    api.user().post("/initialize", {"event_name": "x", "available_tickets": 1})
    assert api.anyone.get("/events?limit=1").data == before
