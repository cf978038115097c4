"""`GET /events/{id}/details`, and If-Match: two organizers who change an event at once do not undo each other."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .api import Api
from .client import Answer


def details(api: Api, event_id: int) -> Answer:
    answer = api.anyone.get(f"/events/{event_id}/details")
    assert answer.status == 200
    return answer


def change(api: Api, event_id: int, if_match: str, **fields: Any) -> Answer:
    return api.organizer.call("PATCH", f"/events/{event_id}", fields, headers={"If-Match": if_match})


def test_the_details_are_what_the_organizer_has_set(api: Api) -> None:
    event_id = api.event(available_tickets=5, max_per_user=2, hold_seconds=9, waitlist_limit=7)
    event = api.look(event_id)
    found = details(api, event_id).data
    alone = {"description", "ends_at", "price", "payment_url"}
    assert {name: one for name, one in found.items() if name not in alone} == {
        name: event[name] for name in found if name not in alone
    }
    assert {"id", "name", "capacity", "hold_seconds", "paused", "opens_at", "closes_at", *alone} <= found.keys()
    assert found.keys().isdisjoint({"available_tickets", "tickets_sold", "waiting_list_count", "seq", "state"})


TOLD = {
    "description": "Doors at 7.\nBring a friend.",
    "venue": "Große Halle",
    "starts_at": "2030-05-01T18:00:00.000Z",
    "ends_at": "2030-05-01T20:30:00.000Z",
    "time_zone": "Europe/Berlin",
    "price": {"amount": 4_500, "currency": "EUR"},
    "visibility": "unlisted",
    "offer_seconds": 600,
    "payment_seconds": 300,
    "payment_url": "https://shop.example/pay/{event_id}?user={user_id}&payment={payment_id}#{signature}",
}
DEFAULTS = dict.fromkeys(TOLD) | {"visibility": "listed", "offer_seconds": 0, "payment_seconds": 900}
IN_EVENT = ("venue", "starts_at", "time_zone", "visibility", "offer_seconds", "payment_seconds", "organizer_id")


def test_what_an_organizer_tells_is_told_at_once_and_null_takes_it_back(api: Api) -> None:
    made = api.initialize(**TOLD)
    event_id = made.body["event_id"]
    assert details(api, event_id).data.items() >= TOLD.items()
    event = api.look(event_id)
    assert {name: event[name] for name in IN_EVENT} == {
        name: {**TOLD, "organizer_id": "the-organizer"}[name] for name in IN_EVENT
    }
    assert {name: made.data[name] for name in IN_EVENT} == {name: event[name] for name in IN_EVENT}
    assert "description" not in event, "thousands read it"
    cleared = api.organizer.change(event_id, **dict.fromkeys(TOLD))
    assert cleared.status == 200
    assert details(api, event_id).data.items() >= DEFAULTS.items()
    for name, value in TOLD.items():
        assert api.organizer.change(event_id, **{name: value}).status == 200
        assert details(api, event_id).data[name] == value
    assert details(api, event_id).data.items() >= TOLD.items()


def test_the_offer_is_as_long_as_a_hold_until_it_is_set(api: Api) -> None:
    event_id = api.event(hold_seconds=90)
    assert api.look(event_id)["offer_seconds"] == 90
    assert api.organizer.change(event_id, hold_seconds=120).data["offer_seconds"] == 120
    assert api.organizer.change(event_id, offer_seconds=7).data["offer_seconds"] == 7
    assert api.organizer.change(event_id, hold_seconds=60).data["offer_seconds"] == 7
    assert api.organizer.change(event_id, offer_seconds=None).data["offer_seconds"] == 60


def test_dates_that_a_change_would_invert_are_refused(api: Api) -> None:
    event_id = api.event(starts_at=TOLD["starts_at"], ends_at=TOLD["ends_at"])
    for field, value in (("ends_at", "2030-05-01T17:59:59.999Z"), ("starts_at", "2030-05-01T20:30:00.001Z")):
        refused = api.organizer.change(event_id, **{field: value})
        assert refused.verdict == (422, "invalid_request")
        assert [fault["pointer"] for fault in refused.body["errors"]] == [f"/{field}"]
    assert details(api, event_id).data["ends_at"] == TOLD["ends_at"]
    assert api.organizer.change(event_id, starts_at=TOLD["ends_at"]).status == 200


def test_an_archived_event_is_closed_and_its_details_can_be_read(api: Api) -> None:
    event_id = api.event(available_tickets=5)
    buyer, late = api.users(2)
    assert buyer.book(event_id).status == 201
    assert api.organizer.change(event_id, visibility="archived", paused=True).data["state"] == "closed"
    assert late.book(event_id).verdict == (403, "sale_closed")
    assert details(api, event_id).data["visibility"] == "archived"
    assert buyer.cancel(event_id).status == 200
    assert api.organizer.change(event_id, visibility=None, paused=False).data["state"] == "open"
    assert late.book(event_id).status == 201


def test_the_waiting_lists_tickets_are_told(api: Api) -> None:
    event_id, _ = api.sold_out(max_per_user=4, available_tickets=4)
    api.user().book(event_id, quantity=3)
    api.user().book(event_id, quantity=1)
    event = api.look(event_id)
    assert (event["waiting_list_count"], event["waiting_tickets"]) == (2, 4)


def test_a_name_that_a_price_repeats_is_a_fault(api: Api) -> None:
    raw = b'{"event_name": "Night", "available_tickets": 1, "price": {"amount": 1, "currency": "EUR", "amount": 2}}'
    answer = api.organizer.call("POST", "/initialize", content=raw)
    assert answer.verdict == (422, "invalid_request")
    assert [fault["pointer"] for fault in answer.body["errors"]] == ["/price/amount"]


def test_the_tag_of_the_details_moves_only_with_an_organizers_change(api: Api) -> None:
    event_id = api.event(available_tickets=1)
    first = details(api, event_id).headers["etag"]
    buyer, waiting = api.users(2)
    for step in (buyer.book, waiting.book, buyer.cancel, waiting.cancel):
        assert step(event_id).status < 300
    again = api.anyone.get(f"/events/{event_id}/details", If_None_Match=first)
    assert (again.status, again.headers["etag"]) == (304, first)
    assert api.organizer.change(event_id, capacity=1).status == 200
    assert details(api, event_id).headers["etag"] == first, "nothing was changed"
    assert api.organizer.change(event_id, capacity=2).status == 200
    assert api.anyone.get(f"/events/{event_id}/details", If_None_Match=first).data["capacity"] == 2


def test_a_change_based_on_an_old_version_is_refused(api: Api) -> None:
    event_id = api.event(available_tickets=5)
    seen = details(api, event_id).headers["etag"]
    api.user().book(event_id)
    assert change(api, event_id, seen, capacity=6).data["capacity"] == 6
    refused = change(api, event_id, seen, capacity=7)
    assert refused.verdict == (412, "precondition_failed")
    assert api.look(event_id)["capacity"] == 6
    assert change(api, event_id, details(api, event_id).headers["etag"], capacity=7).status == 200


@pytest.mark.parametrize("form", ["{}", '"other", {}', '"other",{}', '"a-1" , {} , "b-2"', "*"])
def test_if_match_may_be_a_list_or_a_star(api: Api, form: str) -> None:
    event_id = api.event()
    assert change(api, event_id, form.format(details(api, event_id).headers["etag"]), paused=True).status == 200


@pytest.mark.parametrize("form", ["W/{}", '"other"', "nonsense", "", '"0"', '"-"', '"*"', "x{}"])
def test_any_other_if_match_refuses_the_change(api: Api, form: str) -> None:
    event_id = api.event()
    answer = change(api, event_id, form.format(details(api, event_id).headers["etag"]), paused=True)
    assert answer.verdict == (412, "precondition_failed")
    assert api.look(event_id)["paused"] is False


def test_of_many_changes_based_on_one_version_one_is_made(api: Api) -> None:
    event_id = api.event(available_tickets=10)
    seen = details(api, event_id).headers["etag"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda capacity: change(api, event_id, seen, capacity=capacity), range(20, 28)))
    made = [answer.data["capacity"] for answer in answers if answer.status == 200]
    assert [answer.status for answer in answers].count(412) == 7
    assert made == [api.look(event_id)["capacity"]]


def test_a_change_in_several_steps_is_one_change_for_if_match(api: Api) -> None:
    event_id, _ = api.sold_out()
    api.user().book(event_id)
    seen = details(api, event_id).headers["etag"]
    answer = change(api, event_id, seen, capacity=2_500)
    assert answer.data["capacity"] == 2_500
    assert change(api, event_id, seen, capacity=2_600).status == 412


def test_an_unknown_event_has_no_details_and_fails_no_precondition(api: Api) -> None:
    assert api.anyone.get("/events/999999999/details").verdict == (404, "event_not_found")
    assert change(api, 999_999_999, '"x"', paused=True).verdict == (404, "event_not_found")
