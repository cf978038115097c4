"""A part of a booking, a hold or a place on the waiting list can be given back; the rest stays what and where it is."""

from typing import Any

import pytest

from .api import Api
from .client import Caller, replayed


def give_back(caller: Caller, event_id: int, quantity: Any, key: str | None = None) -> Any:
    return caller.post("/cancel", {"event_id": event_id, "quantity": quantity}, key=key)


@pytest.mark.parametrize("hold_seconds", [0, 600])
def test_the_rest_of_a_booking_keeps_its_id_and_its_status(api: Api, hold_seconds: int) -> None:
    event_id, buyer = api.event(available_tickets=5, max_per_user=4, hold_seconds=hold_seconds), api.user()
    booked = buyer.book(event_id, 4)
    rest = give_back(buyer, event_id, 3)
    assert (rest.status, rest.data) == (200, {**booked.data, "quantity": 1})
    assert buyer.booking(event_id).data == rest.data
    event = api.look(event_id)
    assert (event["available_tickets"], event["tickets_sold"] + event["tickets_held"]) == (4, 1)
    assert event["bookings_count"] + event["held_count"] == 1
    if hold_seconds:
        assert buyer.confirm(event_id).data["quantity"] == 1


def test_the_given_back_tickets_go_to_the_head_of_the_waiting_list_at_once(api: Api) -> None:
    event_id, (buyer, head, behind) = api.event(available_tickets=4, max_per_user=4), api.users(3)
    assert buyer.book(event_id, 4).status == 201
    assert [head.book(event_id, 2).status, behind.book(event_id, 1).status] == [202, 202]
    assert give_back(buyer, event_id, 1).data["quantity"] == 3
    assert [head.booking(event_id).data["position"], behind.booking(event_id).data["position"]] == [1, 2]
    assert give_back(buyer, event_id, 1).data["quantity"] == 2
    assert head.booking(event_id).data["status"] == "confirmed"
    assert behind.booking(event_id).data["position"] == 1
    assert api.look(event_id)["available_tickets"] == 0


def test_a_place_in_line_keeps_its_position_and_frees_room_on_the_list(api: Api) -> None:
    event_id = api.event(available_tickets=1, max_per_user=1, waitlist_limit=6)
    api.organizer.change(event_id, capacity=4, max_per_user=4)
    buyer, first, second, third = api.users(4)
    assert buyer.book(event_id, 4).status == 201
    joined = [one.book(event_id, quantity) for one, quantity in ((first, 3), (second, 3))]
    assert third.book(event_id, 1).verdict == (409, "waitlist_full")
    rest = give_back(second, event_id, 2)
    assert (rest.status, rest.data) == (200, {**joined[1].data, "quantity": 1})
    assert third.book(event_id, 2).data["position"] == 3


def test_a_smaller_group_at_the_head_gets_tickets_that_fit_it_at_once(api: Api) -> None:
    event_id, (buyer, group, single) = api.event(available_tickets=3, max_per_user=3), api.users(3)
    assert buyer.book(event_id, 2).status == 201
    assert [group.book(event_id, 3).status, single.book(event_id, 1).status] == [202, 202]
    rest = give_back(group, event_id, 2)
    assert (rest.data["status"], rest.data["source"], rest.data["quantity"]) == ("confirmed", "waitlist", 1)
    assert single.booking(event_id).data["position"] == 1
    assert api.look(event_id)["available_tickets"] == 0


@pytest.mark.parametrize("quantity", [2, 3, 1_000_000])
def test_all_of_it_or_more_is_a_whole_cancellation(api: Api, quantity: int) -> None:
    event_id, buyer = api.event(available_tickets=2, max_per_user=2), api.user()
    buyer.book(event_id, 2)
    answer = give_back(buyer, event_id, quantity)
    assert (answer.status, answer.data["status"], answer.data["quantity"]) == (200, "cancelled", 2)
    assert answer.body["message"] == "Booking canceled successfully."
    assert buyer.booking(event_id).status == 404


@pytest.mark.parametrize("quantity", [0, -1, 1.5, "1", None, True])
def test_a_wrong_quantity_is_refused(api: Api, quantity: object) -> None:
    event_id, buyer = api.event(available_tickets=2, max_per_user=2), api.user()
    buyer.book(event_id, 2)
    answer = give_back(buyer, event_id, quantity)
    assert (answer.verdict, answer.pointers) == ((422, "invalid_request"), {"/quantity"})
    assert buyer.booking(event_id).data["quantity"] == 2


def test_a_repeated_key_gives_back_once_and_another_quantity_is_another_request(api: Api) -> None:
    event_id, buyer = api.event(available_tickets=4, max_per_user=4), api.user()
    buyer.book(event_id, 4)
    first = give_back(buyer, event_id, 1, "k")
    assert replayed(give_back(buyer, event_id, 1, "k"), first)
    assert give_back(buyer, event_id, 2, "k").verdict == (422, "idempotency_key_reused")
    assert buyer.cancel(event_id, key="k").verdict == (422, "idempotency_key_reused")
    assert buyer.booking(event_id).data["quantity"] == 3


def test_who_has_nothing_can_give_nothing_back(api: Api) -> None:
    assert give_back(api.user(), api.event(), 1).verdict == (404, "booking_not_found")


def test_history_report_and_audit_know_what_was_given_back(api: Api) -> None:
    event_id, buyer = api.event(available_tickets=4, max_per_user=4), api.user()
    buyer.book(event_id, 4)
    give_back(buyer, event_id, 3)
    assert buyer.get("/bookings").data[0]["quantity"] == 1
    other = api.user()
    assert other.book(event_id, 2).status == 201
    report = api.organizer.get(f"/events/{event_id}/report").data
    assert (report["totals"]["bookings"], report["totals"]["tickets"], report["totals"]["cancelled"]) == (2, 3, 0)
    audit = api.organizer.get(f"/events/{event_id}/audit").data
    assert (audit["ok"], audit["differences"]) == (True, [])
