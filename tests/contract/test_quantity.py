"""Quantities: all or nothing, and a waiting list without overtaking."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .api import Api


def test_a_group_books_all_its_tickets_or_none(api: Api) -> None:
    event_id = api.event(available_tickets=5, max_per_user=4)
    group = api.user()
    booked = group.book(event_id, 4)
    assert booked.status == 201
    assert booked.data["quantity"] == 4
    event = api.look(event_id)
    assert (event["tickets_sold"], event["bookings_count"], event["available_tickets"]) == (4, 1, 1)
    assert api.user().book(event_id, 2).status == 202
    assert api.look(event_id)["available_tickets"] == 1
    group.cancel(event_id)
    assert api.look(event_id)["available_tickets"] == 3


@pytest.mark.parametrize("quantity", [3, 100, 101])
def test_a_quantity_over_max_per_user_is_refused(api: Api, quantity: int) -> None:
    event_id = api.event(available_tickets=200, max_per_user=2)
    assert api.user().book(event_id, quantity).verdict == (422, "quantity_over_limit")
    assert api.user().book(event_id, 2).status == 201


def test_a_quantity_over_the_capacity_is_refused(api: Api) -> None:
    event_id = api.event(available_tickets=2, max_per_user=10)
    assert api.user().book(event_id, 3).verdict == (422, "quantity_over_limit")
    assert api.look(event_id)["waiting_list_count"] == 0


@pytest.mark.parametrize("quantity", [0, -1, 1.5, "1", True, None, [], {}, [1]])
def test_a_quantity_is_a_whole_number_from_1(api: Api, quantity: Any) -> None:
    event_id = api.event(available_tickets=5, max_per_user=5)
    answer = api.user().post("/book", {"event_id": event_id, "quantity": quantity})
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/quantity"}


def test_no_one_overtakes_even_if_a_smaller_quantity_would_fit(api: Api) -> None:
    event_id = api.event(available_tickets=4, max_per_user=3)
    buyer, group, single = api.users(3)
    buyer.book(event_id, 3)
    assert group.book(event_id, 2).data["position"] == 1
    assert single.book(event_id, 1).data["position"] == 2
    event = api.look(event_id)
    assert (event["available_tickets"], event["waiting_list_count"]) == (1, 2)
    assert event["state"] == "open"


def test_freed_tickets_serve_as_many_heads_as_they_satisfy(api: Api) -> None:
    event_id = api.event(available_tickets=4, max_per_user=4)
    buyer, pair, single, trio = api.users(4)
    buyer.book(event_id, 4)
    pair.book(event_id, 2)
    single.book(event_id, 1)
    trio.book(event_id, 3)
    before = api.look(event_id)["seq"]
    buyer.cancel(event_id)
    assert pair.booking(event_id).data["status"] == "confirmed"
    assert single.booking(event_id).data["status"] == "confirmed"
    assert trio.booking(event_id).data["position"] == 1
    event = api.look(event_id)
    assert (event["available_tickets"], event["tickets_sold"], event["waiting_list_count"]) == (1, 3, 1)
    assert event["seq"] == before + 3


def test_if_the_head_leaves_a_smaller_group_is_promoted(api: Api) -> None:
    event_id = api.event(available_tickets=3, max_per_user=3)
    buyer, trio, single, pair = api.users(4)
    buyer.book(event_id, 2)
    trio.book(event_id, 3)
    single.book(event_id, 1)
    pair.book(event_id, 2)
    assert trio.cancel(event_id).body["message"] == "Removed from the waiting list."
    assert single.booking(event_id).data["status"] == "confirmed"
    assert pair.booking(event_id).data["position"] == 1
    assert api.look(event_id)["available_tickets"] == 0


def test_leaving_from_the_middle_of_the_list_promotes_no_one(api: Api) -> None:
    event_id = api.event(available_tickets=3, max_per_user=3)
    buyer, trio, pair, single = api.users(4)
    buyer.book(event_id, 2)
    for user, quantity in ((trio, 3), (pair, 2), (single, 1)):
        user.book(event_id, quantity)
    pair.cancel(event_id)
    assert trio.booking(event_id).data["position"] == 1
    assert single.booking(event_id).data["position"] == 2
    assert api.look(event_id)["available_tickets"] == 1


def test_a_small_freed_booking_does_not_serve_a_large_head(api: Api) -> None:
    event_id = api.event(available_tickets=3, max_per_user=3)
    one, two, trio, single = api.users(4)
    one.book(event_id, 1)
    two.book(event_id, 2)
    trio.book(event_id, 3)
    single.book(event_id, 1)
    one.cancel(event_id)
    assert api.look(event_id)["available_tickets"] == 1
    assert [user.booking(event_id).data["position"] for user in (trio, single)] == [1, 2]
    two.cancel(event_id)
    assert trio.booking(event_id).data["status"] == "confirmed"
    assert single.booking(event_id).data["position"] == 1


def test_a_waiting_group_keeps_its_quantity_if_it_requests_another(api: Api) -> None:
    event_id, _ = api.sold_out(available_tickets=3, max_per_user=3)
    group = api.user()
    place = group.book(event_id, 2)
    again = group.book(event_id, 1)
    assert again.status == 202
    assert again.data == place.data


def test_a_storm_of_groups_leaves_every_ticket_and_every_place_accounted_for(api: Api, seed: int) -> None:
    event_id = api.event(available_tickets=12, max_per_user=4)
    users = api.users(24)

    def storm(number: int) -> list[int]:
        """Makes some calls of three users, in an order that the number decides. Returns the answers."""
        chance = random.Random(f"{seed}/{number}")
        answers: list[int] = []
        for _ in range(25):
            user = users[number * 3 + chance.randrange(3)]
            answer = user.book(event_id, chance.randint(1, 4)) if chance.random() < 0.6 else user.cancel(event_id)
            answers += [answer.status, api.anyone.get(f"/status/{event_id}").status]
        return answers

    with ThreadPoolExecutor(8) as pool:
        statuses = {status for answers in pool.map(storm, range(8)) for status in answers}
    assert statuses <= {200, 201, 202, 404, 409}
    event = api.look(event_id)
    bookings = [answer.data for answer in (user.booking(event_id) for user in users) if answer.status == 200]
    confirmed = [booking["quantity"] for booking in bookings if booking["status"] == "confirmed"]
    waiting = sorted(
        (booking["position"], booking["quantity"]) for booking in bookings if booking["status"] == "waiting"
    )
    assert (event["tickets_sold"], event["bookings_count"]) == (sum(confirmed), len(confirmed))
    assert [position for position, _ in waiting] == list(range(1, event["waiting_list_count"] + 1))
    assert not waiting or waiting[0][1] > event["available_tickets"], "the head fits but is still waiting"
