"""The waiting list: positions, leaving, and a freed ticket that goes to the head at once."""

from .api import Api


def test_a_user_who_books_after_the_last_ticket_waits(api: Api) -> None:
    event_id, _ = api.sold_out()
    user = api.user()
    answer = user.book(event_id)
    assert answer.status == 202
    assert answer.body["message"] == "No tickets available. User added to waiting list."
    expected = {"event_id": event_id, "user_id": user.id, "status": "waiting", "position": 1, "quantity": 1}
    assert {field: answer.data[field] for field in expected} == expected
    assert user.booking(event_id).data == answer.data


def test_positions_are_in_the_order_of_booking(api: Api) -> None:
    event_id, _ = api.sold_out()
    waiting = api.users(5)
    assert [user.book(event_id).data["position"] for user in waiting] == [1, 2, 3, 4, 5]
    assert api.look(event_id)["waiting_list_count"] == 5


def test_a_waiting_user_who_books_again_keeps_the_place(api: Api) -> None:
    event_id, _ = api.sold_out()
    first, second = api.users(2)
    place = first.book(event_id)
    second.book(event_id)
    again = first.book(event_id)
    assert again.status == 202
    assert again.body["message"] == "No tickets available. User added to waiting list."
    assert again.data == place.data
    assert api.look(event_id)["waiting_list_count"] == 2


def test_a_freed_ticket_goes_to_the_head_of_the_waiting_list(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    first, second = api.users(2)
    place = first.book(event_id).data
    second.book(event_id)
    assert buyer.cancel(event_id).body["message"] == "Booking canceled successfully."
    event = api.look(event_id)
    assert (event["available_tickets"], event["tickets_sold"], event["waiting_list_count"]) == (0, 1, 1)
    promoted = first.booking(event_id).data
    assert (promoted["status"], promoted["source"]) == ("confirmed", "waitlist")
    assert promoted["id"] == place["id"]
    assert promoted["created_at"] == place["created_at"]
    assert second.booking(event_id).data["position"] == 1


def test_the_whole_list_is_served_in_order(api: Api) -> None:
    event_id, buyers = api.sold_out(available_tickets=2)
    waiting = api.users(4)
    for user in waiting:
        user.book(event_id)
    for user in buyers + waiting[:2]:
        assert user.cancel(event_id).status == 200
    assert [user.booking(event_id).status for user in waiting] == [404, 404, 200, 200]
    assert {user.booking(event_id).data["status"] for user in waiting[2:]} == {"confirmed"}
    assert api.look(event_id)["waiting_list_count"] == 0


def test_a_promoted_user_has_already_booked(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    user = api.user()
    user.book(event_id)
    buyer.cancel(event_id)
    again = user.book(event_id)
    assert again.verdict == (409, "already_booked")
    assert again.data["booking"]["source"] == "waitlist"
    assert user.cancel(event_id).body["message"] == "Booking canceled successfully."


def test_leaving_the_waiting_list_moves_the_others_up(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    first, second, third = api.users(3)
    for user in (first, second, third):
        user.book(event_id)
    answer = second.cancel(event_id)
    assert answer.status == 200
    assert answer.body["message"] == "Removed from the waiting list."
    assert answer.data["status"] == "cancelled"
    assert second.booking(event_id).verdict == (404, "booking_not_found")
    assert (first.booking(event_id).data["position"], third.booking(event_id).data["position"]) == (1, 2)
    assert buyer.booking(event_id).data["status"] == "confirmed"


def test_a_user_who_left_gets_no_ticket_and_joins_again_at_the_end(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    first, second = api.users(2)
    first.book(event_id)
    second.book(event_id)
    first.cancel(event_id)
    assert first.book(event_id).data["position"] == 2
    buyer.cancel(event_id)
    assert second.booking(event_id).data["status"] == "confirmed"
    assert first.booking(event_id).data["position"] == 1


def test_a_cancelled_ticket_is_on_sale_again_if_no_one_waits(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    buyer.cancel(event_id)
    answer = api.user().book(event_id)
    assert answer.status == 201
    assert answer.data["source"] == "sale"


def test_a_user_who_cancelled_joins_behind_the_waiting_users(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    first, second = api.users(2)
    first.book(event_id)
    second.book(event_id)
    buyer.cancel(event_id)
    assert buyer.book(event_id).data["position"] == 2


def test_a_waiting_list_of_no_tickets_means_sold_out(api: Api) -> None:
    event_id, _ = api.sold_out(waitlist_limit=0)
    user = api.user()
    assert user.book(event_id).verdict == (409, "sold_out")
    assert user.booking(event_id).verdict == (404, "booking_not_found")
    assert api.look(event_id)["waiting_list_count"] == 0


def test_the_waiting_list_is_limited_in_tickets(api: Api) -> None:
    event_id = api.event(available_tickets=2, max_per_user=2, waitlist_limit=3)
    api.user().book(event_id, 2)
    assert api.user().book(event_id, 2).status == 202
    assert api.user().book(event_id, 2).verdict == (409, "waitlist_full")
    assert api.user().book(event_id, 1).status == 202
    assert api.user().book(event_id, 1).verdict == (409, "waitlist_full")
    assert api.look(event_id)["waiting_list_count"] == 2


def test_a_freed_waiting_list_place_can_be_taken_again(api: Api) -> None:
    event_id, [buyer] = api.sold_out(waitlist_limit=1)
    first, second = api.users(2)
    first.book(event_id)
    assert second.book(event_id).verdict == (409, "waitlist_full")
    assert first.book(event_id).status == 202
    buyer.cancel(event_id)
    assert second.book(event_id).status == 202
