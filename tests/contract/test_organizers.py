"""Roles: an organizer sees and changes their own events, an administrator sees and changes all of them."""

from typing import Any

import pytest

from .api import Api
from .client import Caller, fresh

FORBIDDEN = (403, "forbidden")


def organizer(api: Api, role: str = "organizer") -> Caller:
    """A new organizer, or a new user with another role."""
    user_id = fresh(role)
    return api.bearer(user_id, {**api.claims(user_id), "role": role})


def event_of(caller: Caller, **fields: Any) -> int:
    """A new event of this organizer, with one ticket."""
    answer = caller.post("/initialize", {"event_name": fresh("event"), "available_tickets": 1, **fields})
    assert answer.status == 201
    event_id: int = answer.body["event_id"]
    return event_id


@pytest.mark.parametrize("path", ["bookings", "bookings?format=csv", "bookings?limit=0", "report", "audit"])
def test_what_an_organizer_reads_of_an_event_is_forbidden_to_others(api: Api, path: str) -> None:
    owner = organizer(api)
    path = f"/events/{event_of(owner)}/{path}"
    assert organizer(api).get(path).verdict == FORBIDDEN
    assert api.user(owner.id).get(path).verdict == FORBIDDEN  # the same user id, and no organizer
    if path.endswith("csv"):
        for caller in (owner, organizer(api, "admin")):
            answer = api.http.get(path, headers={"Authorization": caller.authorization or ""})
            assert answer.status_code == 200
    else:
        for caller in (owner, organizer(api, "admin")):
            assert caller.get(path).verdict != FORBIDDEN


def test_an_event_is_changed_by_its_organizer_and_by_administrators_alone(api: Api) -> None:
    owner, other = organizer(api), organizer(api)
    event_id = event_of(owner)
    refused = other.change(event_id, paused=True)
    assert refused.verdict == FORBIDDEN
    assert refused.body["detail"] == "This event belongs to another organizer."
    assert other.call("PATCH", f"/events/{event_id}", content=b"no JSON").verdict == FORBIDDEN
    assert api.look(event_id)["paused"] is False
    assert owner.change(event_id, paused=True).status == 200
    assert organizer(api, "admin").change(event_id, paused=False).status == 200
    assert api.look(event_id)["seq"] == 3


def test_a_booking_is_cancelled_by_the_events_organizer_and_not_by_another(api: Api) -> None:
    owner, buyer = organizer(api), api.user()
    event_id = event_of(owner)
    for caller in (owner, organizer(api, "admin")):
        buyer.book(event_id)
        named = {"event_id": event_id, "user_id": buyer.id}
        assert organizer(api).post("/cancel", named).verdict == FORBIDDEN
        assert buyer.booking(event_id).data["status"] == "confirmed"
        assert caller.post("/cancel", named).status == 200


def test_an_organizer_may_buy_a_ticket_of_anothers_event_and_give_it_back(api: Api) -> None:
    event_id, buyer = event_of(organizer(api)), organizer(api)
    assert buyer.book(event_id).status == 201
    assert buyer.post("/cancel", {"event_id": event_id, "user_id": buyer.id}).status == 200


def test_an_event_tells_who_created_it_also_after_a_change_by_an_administrator(api: Api) -> None:
    owner = organizer(api)
    event_id = event_of(owner)
    assert api.look(event_id)["organizer_id"] == owner.id
    changed = organizer(api, "admin").change(event_id, capacity=5)
    assert changed.data["organizer_id"] == api.look(event_id)["organizer_id"] == owner.id


def test_an_administrator_creates_events_as_an_organizer_does(api: Api) -> None:
    admin = organizer(api, "admin")
    assert api.look(event_of(admin))["organizer_id"] == admin.id


def test_an_event_that_does_not_exist_is_not_found_by_any_organizer(api: Api) -> None:
    for caller in (organizer(api), organizer(api, "admin")):
        for path in ("report", "audit", "bookings"):
            assert caller.get(f"/events/987654/{path}").verdict == (404, "event_not_found")
        assert caller.change(987_654, paused=True).verdict == (404, "event_not_found")
        assert caller.post("/cancel", {"event_id": 987_654, "user_id": "ann"}).verdict == (404, "event_not_found")


def listed(caller: Caller, query: str, oldest: int = 0) -> list[int]:
    """The ids of a list of events, page by page, at least down to `oldest`: other tests make hundreds of events."""
    ids: list[int] = []
    while True:
        answer = caller.get(f"/events?{query}{f'&starting_after={ids[-1]}' if ids else ''}")
        assert answer.status == 200, answer
        ids += [event["id"] for event in answer.data]
        if not answer.body["has_more"] or ids[-1] < oldest:
            return ids


def test_unlisted_and_archived_events_are_in_no_list_and_readable_by_id(api: Api) -> None:
    owner = organizer(api)
    ids = {name: event_of(owner, visibility=name) for name in ("listed", "unlisted", "archived")}
    for limit in (2, 100):
        for caller in (api.anyone, owner):
            shown = listed(caller, f"limit={limit}", min(ids.values()))
            assert set(shown) & set(ids.values()) == {ids["listed"]}
    for name, event_id in ids.items():
        assert api.look(event_id)["visibility"] == name
    assert api.user().book(ids["unlisted"]).status == 201


def test_a_list_shows_a_change_of_visibility_at_once(api: Api) -> None:
    owner = organizer(api)
    event_id = event_of(owner)
    for visibility in ("unlisted", "listed", "archived", None, "unlisted", "archived", None):
        assert owner.change(event_id, visibility=visibility).status == 200
        shown = event_id in listed(api.anyone, "limit=100", event_id)
        assert shown is (visibility in (None, "listed")), visibility


def test_an_organizer_finds_all_of_their_own_events_and_no_others(api: Api) -> None:
    owner, other, admin = organizer(api), organizer(api), organizer(api, "admin")
    ids = [event_of(owner, visibility=name) for name in ("listed", "unlisted", "archived")]
    others = event_of(other, visibility="archived")
    for limit in (1, 2, 100):
        assert listed(owner, f"mine=true&limit={limit}") == ids[::-1]
        assert listed(other, f"mine=true&limit={limit}") == [others]
    assert {*ids, others} <= set(listed(admin, "mine=true&limit=100", ids[0]))
    assert api.user().get("/events?mine=true").verdict == (403, "forbidden")
    assert api.anyone.get("/events?mine=true").verdict == (401, "unauthenticated")
    wrong = api.anyone.get("/events?mine=yes&limit=0")
    assert [fault["pointer"] for fault in wrong.body["errors"]] == ["?mine", "?limit"]
