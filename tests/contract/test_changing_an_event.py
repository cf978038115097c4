"""`PATCH /events/{id}`: changing an event while it sells."""

from typing import Any

import pytest

from .api import Api
from .client import fresh


def test_a_change_is_answered_with_the_event_as_it_now_is(api: Api) -> None:
    event_id = api.event(available_tickets=5)
    name = fresh("renamed")
    answer = api.organizer.change(
        event_id, event_name=f" {name} ", capacity=8, max_per_user=3, waitlist_limit=4, paused=True
    )
    assert answer.status == 200
    expected = {"id": event_id, "name": name, "capacity": 8, "available_tickets": 8, "max_per_user": 3,
                "waitlist_limit": 4, "paused": True}  # fmt: skip
    assert {field: answer.data[field] for field in expected} == expected
    assert api.look(event_id) == answer.data


def test_unnamed_fields_do_not_change(api: Api) -> None:
    created = api.initialize(available_tickets=5, max_per_user=3, waitlist_limit=4, hold_seconds=9).data
    changed = api.organizer.change(created["id"], capacity=6).data
    expected = {**created, "capacity": 6, "available_tickets": 6, "seq": created["seq"] + 1}
    assert changed == expected


def test_name_is_another_spelling_of_event_name_in_a_change(api: Api) -> None:
    event_id = api.event()
    assert api.organizer.change(event_id, name="short").data["name"] == "short"
    answer = api.organizer.change(event_id, name="a", event_name="a")
    assert answer.verdict == (422, "invalid_request")
    assert api.look(event_id)["name"] == "short"


def test_a_larger_capacity_promotes_at_once(api: Api) -> None:
    event_id, _ = api.sold_out()
    waiting = api.users(3)
    for user in waiting:
        user.book(event_id)
    before = api.look(event_id)["seq"]
    answer = api.organizer.change(event_id, capacity=3)
    assert (answer.data["tickets_sold"], answer.data["available_tickets"]) == (3, 0)
    assert answer.data["waiting_list_count"] == 1
    assert answer.data["seq"] == before + 3
    assert [user.booking(event_id).data["status"] for user in waiting] == ["confirmed", "confirmed", "waiting"]
    assert waiting[0].booking(event_id).data["source"] == "waitlist"


def test_a_larger_capacity_gives_holds_if_the_event_has_them(api: Api) -> None:
    event_id = api.event(hold_seconds=60)
    first, waiting = api.users(2)
    first.book(event_id)
    waiting.book(event_id)
    answer = api.organizer.change(event_id, capacity=2)
    assert (answer.data["tickets_held"], answer.data["held_count"]) == (2, 2)
    assert waiting.booking(event_id).data["status"] == "held"


def test_a_larger_capacity_promotes_a_group_only_as_a_whole(api: Api) -> None:
    event_id = api.event(available_tickets=3, max_per_user=3)
    first, group = api.users(2)
    first.book(event_id, 3)
    group.book(event_id, 3)
    assert api.organizer.change(event_id, capacity=5).data["available_tickets"] == 2
    assert group.booking(event_id).data["position"] == 1
    assert api.organizer.change(event_id, capacity=6).data["available_tickets"] == 0


def test_capacity_never_falls_below_what_is_sold_and_held(api: Api) -> None:
    event_id = api.event(available_tickets=5, hold_seconds=60, max_per_user=2)
    sold, held = api.users(2)
    sold.book(event_id, 2)
    sold.confirm(event_id)
    held.book(event_id, 1)
    before = api.look(event_id)
    assert api.organizer.change(event_id, capacity=2).verdict == (409, "capacity_below_sold")
    assert api.organizer.change(event_id, capacity=2, paused=True).verdict == (409, "capacity_below_sold")
    assert api.look(event_id) == before
    answer = api.organizer.change(event_id, capacity=3)
    assert (answer.data["capacity"], answer.data["available_tickets"]) == (3, 0)


def test_a_smaller_capacity_cancels_impossible_entries_and_serves_the_next(api: Api) -> None:
    event_id = api.event(available_tickets=3, max_per_user=3)
    buyer, trio, single = api.users(3)
    buyer.book(event_id, 1)
    trio.book(event_id, 3)
    single.book(event_id, 1)
    answer = api.organizer.change(event_id, capacity=2)
    assert answer.status == 200
    assert (answer.data["tickets_sold"], answer.data["waiting_list_count"]) == (2, 0)
    assert trio.booking(event_id).verdict == (404, "booking_not_found")
    assert single.booking(event_id).data["status"] == "confirmed"
    assert trio.book(event_id, 3).verdict == (422, "quantity_over_limit")


def test_a_smaller_max_per_user_keeps_existing_bookings(api: Api) -> None:
    event_id = api.event(available_tickets=3, max_per_user=3)
    buyer, waiting = api.users(2)
    buyer.book(event_id, 3)
    waiting.book(event_id, 2)
    assert api.organizer.change(event_id, max_per_user=1).status == 200
    assert buyer.booking(event_id).data["quantity"] == 3
    assert waiting.booking(event_id).data["position"] == 1
    assert api.user().book(event_id, 2).verdict == (422, "quantity_over_limit")
    buyer.cancel(event_id)
    assert waiting.booking(event_id).data["status"] == "confirmed"


def test_a_smaller_waiting_list_limit_keeps_existing_entries(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    first, second = api.users(2)
    first.book(event_id)
    second.book(event_id)
    assert api.organizer.change(event_id, waitlist_limit=1).data["waiting_list_count"] == 2
    assert api.user().book(event_id).verdict == (409, "waitlist_full")
    buyer.cancel(event_id)
    assert first.booking(event_id).data["status"] == "confirmed"
    assert second.booking(event_id).data["position"] == 1
    assert api.organizer.change(event_id, waitlist_limit=None).data["waitlist_limit"] is None
    assert api.user().book(event_id).data["position"] == 2


def test_a_waiting_list_may_be_closed_to_new_users(api: Api) -> None:
    event_id, _ = api.sold_out()
    assert api.organizer.change(event_id, waitlist_limit=0).status == 200
    assert api.user().book(event_id).verdict == (409, "sold_out")


def test_a_change_that_names_nothing_is_refused(api: Api) -> None:
    event_id = api.event()
    before = api.look(event_id)
    assert api.organizer.change(event_id).verdict == (422, "invalid_request")
    assert api.look(event_id) == before


@pytest.mark.parametrize(
    ("field", "value"),
    [("capacity", -1), ("capacity", 10_000_001), ("capacity", "5"), ("capacity", None), ("capacity", 1.5),
     ("capacity", True), ("event_name", ""), ("event_name", " "), ("event_name", "n" * 201), ("event_name", None),
     ("name", 5), ("paused", "true"), ("paused", 1), ("paused", None), ("max_per_user", 0), ("max_per_user", 101),
     ("max_per_user", None), ("waitlist_limit", -1), ("waitlist_limit", "0"), ("opens_at", "soon"),
     ("closes_at", 0), ("hold_seconds", -5), ("available_tickets", 5), ("id", 1), ("state", "open"), ("seq", 1)],
)  # fmt: skip
def test_a_wrong_or_unknown_field_is_refused(api: Api, field: str, value: Any) -> None:
    event_id = api.event()
    before = api.look(event_id)
    answer = api.organizer.change(event_id, **{field: value})
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {f"/{field}"}
    assert api.look(event_id) == before


def test_an_unknown_event_cannot_be_changed(api: Api) -> None:
    assert api.organizer.change(999_999_999, paused=True).verdict == (404, "event_not_found")
