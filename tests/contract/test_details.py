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
    assert found == {name: event[name] for name in found}
    assert {"id", "name", "capacity", "hold_seconds", "paused", "opens_at", "closes_at"} <= found.keys()
    assert found.keys().isdisjoint({"available_tickets", "tickets_sold", "waiting_list_count", "seq", "state"})


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
