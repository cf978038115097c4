"""Only an organizer can change another user's booking, however it is named."""

from typing import Any

import pytest

from .api import Api
from .client import Caller


@pytest.fixture(params=["confirmed", "held", "waiting"])
def booked(request: pytest.FixtureRequest, api: Api) -> tuple[int, Caller]:
    """An event and a user with a booking of it."""
    if request.param == "waiting":
        event_id, _ = api.sold_out()
    else:
        event_id = api.event(hold_seconds=600 if request.param == "held" else 0)
    owner = api.user()
    assert owner.book(event_id).status in (201, 202)
    assert owner.booking(event_id).data["status"] == request.param
    return event_id, owner


def state(api: Api, event_id: int, owner: Caller) -> tuple[Any, Any]:
    """The state that another user could have changed."""
    return api.look(event_id), owner.booking(event_id).data


def test_naming_another_users_booking_is_forbidden_and_changes_nothing(api: Api, booked: tuple[int, Caller]) -> None:
    event_id, owner = booked
    before = state(api, event_id, owner)
    stranger = api.user()
    for key in (None, "the-key"):
        for path in ("/cancel", "/confirm", "/book"):
            answer = stranger.post(path, {"event_id": event_id, "user_id": owner.id}, key=key)
            assert answer.verdict == (403, "forbidden")
    assert state(api, event_id, owner) == before


def test_a_call_without_a_user_is_about_the_callers_own_booking(api: Api, booked: tuple[int, Caller]) -> None:
    event_id, owner = booked
    before = state(api, event_id, owner)
    stranger = api.user()
    for answer in (stranger.cancel(event_id), stranger.confirm(event_id), stranger.booking(event_id)):
        assert answer.verdict == (404, "booking_not_found")
    assert stranger.get("/bookings").data == []
    assert stranger.get(f"/events/{event_id}/bookings").verdict == (403, "forbidden")
    assert state(api, event_id, owner) == before


def test_anothers_idempotency_key_replays_nothing(api: Api) -> None:
    event_id = api.event(available_tickets=2)
    owner, stranger = api.user(), api.user()
    first = owner.book(event_id, key="a-key-that-leaked")
    second = stranger.book(event_id, key="a-key-that-leaked")
    assert (first.data["user_id"], second.data["user_id"]) == (owner.id, stranger.id)
    assert "idempotent-replayed" not in second.headers


def test_an_organizer_may_cancel_another_users_booking(api: Api, booked: tuple[int, Caller]) -> None:
    event_id, owner = booked
    answer = api.organizer.post("/cancel", {"event_id": event_id, "user_id": owner.id})
    assert (answer.status, answer.data["user_id"]) == (200, owner.id)
    assert owner.booking(event_id).verdict == (404, "booking_not_found")
