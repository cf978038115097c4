"""`/book`, `/cancel` and the caller's own booking: messages, forms, and exact stock."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .api import Api


def test_booking_returns_a_confirmed_booking_and_its_location(api: Api) -> None:
    event_id = api.event()
    user = api.user()
    answer = user.book(event_id)
    assert answer.status == 201
    assert answer.body["message"] == "Ticket booked successfully"
    assert answer.headers["location"] == f"/events/{event_id}/booking"
    expected = {"event_id": event_id, "user_id": user.id, "quantity": 1, "status": "confirmed", "source": "sale"}
    assert {field: answer.data[field] for field in expected} == expected


def test_the_location_leads_to_the_callers_own_booking(api: Api) -> None:
    user = api.user()
    booked = user.book(api.event())
    found = user.get(booked.headers["location"])
    assert found.status == 200
    assert found.data == booked.data


def test_booking_again_is_refused_with_the_existing_booking(api: Api) -> None:
    event_id = api.event(available_tickets=5)
    user = api.user()
    first = user.book(event_id)
    again = user.book(event_id)
    assert again.verdict == (409, "already_booked")
    assert again.body["message"] == "User has already booked this event."
    assert again.data["booking"] == first.data
    assert api.look(event_id)["available_tickets"] == 4


def test_cancelling_gives_the_ticket_back(api: Api) -> None:
    event_id = api.event()
    user = api.user()
    booked = user.book(event_id).data
    answer = user.cancel(event_id)
    assert answer.status == 200
    assert answer.body["message"] == "Booking canceled successfully."
    assert answer.data["id"] == booked["id"]
    assert answer.data["status"] == "cancelled"
    assert user.booking(event_id).verdict == (404, "booking_not_found")
    assert api.look(event_id)["available_tickets"] == 1


def test_cancelling_twice_or_without_a_booking_is_not_found(api: Api) -> None:
    event_id = api.event()
    user = api.user()
    assert user.cancel(event_id).verdict == (404, "booking_not_found")
    user.book(event_id)
    user.cancel(event_id)
    assert user.cancel(event_id).verdict == (404, "booking_not_found")
    assert api.look(event_id)["available_tickets"] == 1


def test_after_a_cancellation_the_user_may_book_again(api: Api) -> None:
    event_id = api.event()
    user = api.user()
    first = user.book(event_id).data
    user.cancel(event_id)
    second = user.book(event_id)
    assert second.status == 201
    assert second.data["id"] != first["id"]


def test_bookings_of_one_user_on_several_events_are_separate(api: Api) -> None:
    one, other = api.event(), api.event()
    user = api.user()
    bookings = [user.book(one).data, user.book(other).data]
    assert bookings[0]["id"] != bookings[1]["id"]
    user.cancel(one)
    assert user.booking(other).data == bookings[1]


def test_a_user_cannot_cancel_another_users_booking(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    stranger = api.user()
    assert stranger.booking(event_id).verdict == (404, "booking_not_found")
    assert stranger.cancel(event_id).verdict == (404, "booking_not_found")
    assert stranger.confirm(event_id).verdict == (404, "booking_not_found")
    named = stranger.post("/cancel", {"event_id": event_id, "user_id": buyer.id})
    assert named.verdict == (403, "forbidden")
    assert buyer.booking(event_id).data["status"] == "confirmed"


def test_an_organizer_may_cancel_for_a_user(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    waiting = api.user()
    waiting.book(event_id)
    answer = api.organizer.post("/cancel", {"event_id": event_id, "user_id": buyer.id})
    assert answer.status == 200
    assert answer.body["message"] == "Booking canceled successfully."
    assert answer.data["user_id"] == buyer.id
    assert buyer.booking(event_id).verdict == (404, "booking_not_found")
    assert waiting.booking(event_id).data["status"] == "confirmed"
    again = api.organizer.post("/cancel", {"event_id": event_id, "user_id": buyer.id})
    assert again.verdict == (404, "booking_not_found")


def test_an_organizer_who_names_no_user_cancels_their_own_booking(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    assert api.organizer.cancel(event_id).verdict == (404, "booking_not_found")
    assert buyer.booking(event_id).status == 200


@pytest.mark.parametrize("user_id", ["", 17, None, [], "u" * 129])
def test_an_organizer_names_a_user_by_their_id(api: Api, user_id: Any) -> None:
    answer = api.organizer.post("/cancel", {"event_id": api.event(), "user_id": user_id})
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/user_id"}


def test_the_counts_follow_each_booking_and_cancellation(api: Api) -> None:
    event_id = api.event(available_tickets=3)
    users = api.users(4)
    for user in users:
        user.book(event_id)
    event = api.look(event_id)
    assert (event["available_tickets"], event["tickets_sold"], event["bookings_count"]) == (0, 3, 3)
    assert event["waiting_list_count"] == 1
    for user in users:
        user.cancel(event_id)
    event = api.look(event_id)
    assert (event["available_tickets"], event["tickets_sold"], event["bookings_count"]) == (3, 0, 0)
    assert event["waiting_list_count"] == 0


def test_seq_grows_by_exactly_one_with_each_change_and_by_none_without(api: Api) -> None:
    event_id = api.event()
    buyer, waiting, third = api.users(3)

    def grown(act: Any) -> int:
        before: int = api.look(event_id)["seq"]
        act()
        after: int = api.look(event_id)["seq"]
        return after - before

    assert grown(lambda: None) == 0
    assert grown(lambda: buyer.book(event_id)) == 1
    assert grown(lambda: buyer.book(event_id)) == 0
    assert grown(lambda: waiting.book(event_id)) == 1
    assert grown(lambda: waiting.book(event_id)) == 0
    assert grown(lambda: third.book(event_id)) == 1
    assert grown(lambda: third.cancel(event_id)) == 1
    assert grown(lambda: third.cancel(event_id)) == 0
    assert grown(lambda: api.user().confirm(event_id)) == 0
    assert grown(lambda: api.organizer.change(event_id, event_name="renamed")) == 1
    # One booking is cancelled and another confirmed: two changes.
    assert grown(lambda: buyer.cancel(event_id)) == 2


def test_many_buyers_at_once_get_exactly_the_tickets_available(api: Api) -> None:
    event_id = api.event(available_tickets=20)
    users = api.users(60)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda user: user.book(event_id), users))
    assert sorted(answer.status for answer in answers) == [201] * 20 + [202] * 40
    event = api.look(event_id)
    assert (event["available_tickets"], event["tickets_sold"], event["waiting_list_count"]) == (0, 20, 40)
    positions = sorted(user.booking(event_id).data.get("position") or 0 for user in users)
    assert positions == [0] * 20 + list(range(1, 41))


def test_one_user_many_times_at_once_gets_one_booking(api: Api) -> None:
    event_id = api.event(available_tickets=50)
    user = api.user()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: user.book(event_id), range(32)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 31
    assert api.look(event_id)["tickets_sold"] == 1
