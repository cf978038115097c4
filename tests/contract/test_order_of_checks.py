"""The contract's order of checks, which decides the failure if several apply."""

import pytest

from .api import Api
from .test_bodies import BODY_BYTES_MAX

LONG_AGO = "2020-01-01T00:00:00Z"
FAR_AWAY = "2099-01-01T00:00:00Z"
TEXT = {"Content-Type": "text/plain"}


@pytest.mark.parametrize("path", ["/book", "/cancel", "/confirm", "/initialize"])
def test_credentials_come_before_the_body(api: Api, path: str) -> None:
    assert api.anyone.call("POST", path, content=b"{", headers=TEXT).verdict == (401, "unauthenticated")
    big = b" " * (BODY_BYTES_MAX + 1)
    assert api.anyone.call("POST", path, content=big).verdict == (401, "unauthenticated")


def test_the_organizers_role_comes_before_the_body_and_the_event(api: Api) -> None:
    user = api.user()
    assert user.call("POST", "/initialize", content=b"{", headers=TEXT).verdict == (403, "forbidden")
    assert user.change(999_999_999, nonsense=1).verdict == (403, "forbidden")


def test_the_media_type_comes_before_the_size(api: Api) -> None:
    big = BODY_BYTES_MAX + 1
    head = f"POST /auth/login HTTP/1.1\nContent-Type: text/plain\nContent-Length: {big}"
    assert api.raw_connection.send(head, b" " * big).verdict == (415, "unsupported_media_type")


def test_the_media_type_comes_before_the_json(api: Api) -> None:
    assert api.user().call("POST", "/book", content=b"{", headers=TEXT).status == 415


def test_the_size_comes_before_the_json(api: Api) -> None:
    head = f"POST /auth/login HTTP/1.1\nContent-Length: {BODY_BYTES_MAX + 1}"
    assert api.raw_connection.send(head, b"{" * (BODY_BYTES_MAX + 1), closes=True).status == 413


def test_the_fields_come_before_the_event(api: Api) -> None:
    answer = api.user().post("/book", {"event_id": 999_999_999, "quantity": "two"})
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/quantity"}
    assert api.organizer.change(999_999_999, paused="no").verdict == (422, "invalid_request")


def test_the_event_comes_before_the_booking(api: Api) -> None:
    user = api.user()
    assert user.cancel(999_999_999).verdict == (404, "event_not_found")
    assert user.confirm(999_999_999).verdict == (404, "event_not_found")
    assert user.booking(999_999_999).verdict == (404, "event_not_found")
    assert user.book(999_999_999, 101).verdict == (404, "event_not_found")


def test_a_replay_comes_before_already_booked_and_paused(api: Api) -> None:
    event_id = api.event()
    user = api.user()
    first = user.book(event_id, key="once")
    api.organizer.change(event_id, paused=True)
    again = user.book(event_id, key="once")
    assert (again.status, again.content) == (201, first.content)


def test_already_booked_comes_before_paused(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    waiting = api.user()
    waiting.book(event_id)
    api.organizer.change(event_id, paused=True)
    assert buyer.book(event_id).verdict == (409, "already_booked")
    assert waiting.book(event_id).status == 202
    assert api.user().book(event_id).verdict == (403, "sale_paused")


def test_already_booked_comes_before_closed_and_quantity(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    api.organizer.change(event_id, closes_at=LONG_AGO)
    assert buyer.book(event_id, 100).verdict == (409, "already_booked")
    assert api.user().book(event_id, 100).verdict == (403, "sale_closed")


def test_paused_comes_before_not_open(api: Api) -> None:
    event_id = api.event(opens_at=FAR_AWAY)
    assert api.user().book(event_id).verdict == (403, "sale_not_open")
    api.organizer.change(event_id, paused=True)
    assert api.user().book(event_id).verdict == (403, "sale_paused")


def test_paused_comes_before_closed(api: Api) -> None:
    event_id = api.event(closes_at=LONG_AGO)
    api.organizer.change(event_id, paused=True)
    assert api.user().book(event_id).verdict == (403, "sale_paused")


def test_not_open_comes_before_quantity(api: Api) -> None:
    event_id = api.event(opens_at=FAR_AWAY)
    assert api.user().book(event_id, 2).verdict == (403, "sale_not_open")


def test_quantity_comes_before_sold_out_and_waitlist_full(api: Api) -> None:
    none_wait, _ = api.sold_out(waitlist_limit=0)
    assert api.user().book(none_wait).verdict == (409, "sold_out")
    assert api.user().book(none_wait, 2).verdict == (422, "quantity_over_limit")
    one_waits, _ = api.sold_out(waitlist_limit=1)
    assert api.user().book(one_waits).status == 202
    assert api.user().book(one_waits).verdict == (409, "waitlist_full")
    assert api.user().book(one_waits, 2).verdict == (422, "quantity_over_limit")


def test_a_place_on_the_waiting_list_comes_before_the_quantity(api: Api) -> None:
    event_id, _ = api.sold_out()
    waiting = api.user()
    place = waiting.book(event_id)
    again = waiting.book(event_id, 2)
    assert again.status == 202
    assert again.data == place.data
