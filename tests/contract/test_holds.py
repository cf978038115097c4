"""Holds are confirmed in time or expire, and their tickets go to the waiting list."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from .api import Api, until_past
from .client import Caller

HOLD_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Hold:
    """An event with one hold of `user` until `expires_at`; `seq` is the event's after the booking."""

    api: Api
    event_id: int
    user: Caller
    seq: int
    expires_at: str


def held(api: Api, **fields: object) -> Hold:
    """A new event, by default with a hold of a minute on its only ticket."""
    event_id = api.event(**{"hold_seconds": 60, **fields})
    user = api.user()
    booking = user.book(event_id).data
    assert booking["status"] == "held"
    return Hold(api, event_id, user, api.look(event_id)["seq"], booking["expires_at"])


@pytest.fixture(scope="module")
def expired(api: Api) -> Callable[[], Hold]:
    """Provides holds that have just ended and that no call has read since. One wait serves all of them."""
    holds = [held(api, hold_seconds=HOLD_SECONDS) for _ in range(12)]
    until_past(holds[-1].expires_at)
    return holds.pop


def test_a_booking_is_held_until_it_is_confirmed(api: Api) -> None:
    event_id = api.event(available_tickets=5, hold_seconds=60, max_per_user=3)
    user = api.user()
    answer = user.book(event_id, 2)
    assert answer.status == 201
    assert answer.headers["location"] == f"/events/{event_id}/booking"
    assert answer.data["status"] == "held"
    event = api.look(event_id)
    assert (event["held_count"], event["tickets_held"]) == (1, 2)
    assert (event["bookings_count"], event["tickets_sold"], event["available_tickets"]) == (0, 0, 3)
    confirmed = user.confirm(event_id)
    assert confirmed.status == 200
    assert confirmed.data["status"] == "confirmed"
    assert confirmed.data["id"] == answer.data["id"]
    event = api.look(event_id)
    assert (event["held_count"], event["tickets_held"]) == (0, 0)
    assert (event["bookings_count"], event["tickets_sold"], event["available_tickets"]) == (1, 2, 3)


def test_a_hold_lasts_as_long_as_the_event_says(api: Api) -> None:
    event_id = api.event(hold_seconds=3_600)
    booking = api.user().book(event_id).data
    lasts = datetime.fromisoformat(booking["expires_at"]) - datetime.fromisoformat(booking["created_at"])
    assert lasts.total_seconds() == pytest.approx(3_600, abs=0.002)


def test_confirming_again_gets_the_same_answer(api: Api) -> None:
    hold = held(api)
    first = hold.user.confirm(hold.event_id)
    before = api.look(hold.event_id)
    again = hold.user.confirm(hold.event_id)
    assert again.status == 200
    assert again.data == first.data
    assert api.look(hold.event_id) == before


def test_confirming_a_booking_without_a_hold_succeeds(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    answer = buyer.confirm(event_id)
    assert answer.status == 200
    assert answer.data == buyer.booking(event_id).data


def test_confirming_without_a_booking_or_after_cancelling_is_not_found(api: Api) -> None:
    hold = held(api)
    assert api.user().confirm(hold.event_id).verdict == (404, "booking_not_found")
    hold.user.cancel(hold.event_id)
    assert hold.user.confirm(hold.event_id).verdict == (404, "booking_not_found")


def test_a_waiting_user_cannot_confirm_yet(api: Api) -> None:
    hold = held(api)
    waiting = api.user()
    waiting.book(hold.event_id)
    assert waiting.confirm(hold.event_id).verdict == (409, "still_waiting")
    assert waiting.booking(hold.event_id).data["position"] == 1


def test_a_user_with_a_hold_has_already_booked(api: Api) -> None:
    hold = held(api)
    again = hold.user.book(hold.event_id)
    assert again.verdict == (409, "already_booked")
    assert again.data["booking"]["status"] == "held"


def test_a_hold_may_be_cancelled_and_its_ticket_is_held_for_the_next(api: Api) -> None:
    hold = held(api)
    waiting = api.user()
    place = waiting.book(hold.event_id).data
    answer = hold.user.cancel(hold.event_id)
    assert answer.status == 200
    assert answer.body["message"] == "Booking canceled successfully."
    promoted = waiting.booking(hold.event_id).data
    assert (promoted["status"], promoted["source"]) == ("held", "waitlist")
    assert promoted["created_at"] == place["created_at"]
    remaining = datetime.fromisoformat(promoted["expires_at"]) - datetime.now(UTC)
    assert 30 < remaining.total_seconds() < 61
    assert waiting.confirm(hold.event_id).data["source"] == "waitlist"


def test_an_expired_hold_cannot_be_confirmed_before_or_after_the_sweep(expired: Callable[[], Hold]) -> None:
    hold = expired()
    assert hold.user.confirm(hold.event_id).verdict == (410, "hold_expired")
    assert hold.user.confirm(hold.event_id).verdict == (410, "hold_expired")
    assert hold.api.look(hold.event_id)["available_tickets"] == 1
    assert hold.user.confirm(hold.event_id).verdict == (410, "hold_expired")


def test_an_expired_hold_is_not_counted_in_the_event(expired: Callable[[], Hold]) -> None:
    hold = expired()
    event = hold.api.look(hold.event_id)
    assert (event["held_count"], event["tickets_held"], event["available_tickets"]) == (0, 0, 1)
    assert hold.user.confirm(hold.event_id).verdict == (410, "hold_expired")


def test_an_expired_hold_is_not_counted_in_the_list_of_events(expired: Callable[[], Hold]) -> None:
    hold = expired()
    events = {event["id"]: event for event in hold.api.anyone.get("/events?limit=100").data}
    assert events[hold.event_id]["available_tickets"] == 1


def test_an_expired_hold_is_not_shown_as_the_users_booking(expired: Callable[[], Hold]) -> None:
    hold = expired()
    assert hold.user.booking(hold.event_id).verdict == (404, "booking_not_found")


def test_an_expired_hold_cannot_be_cancelled(expired: Callable[[], Hold]) -> None:
    hold = expired()
    assert hold.user.cancel(hold.event_id).verdict == (404, "booking_not_found")
    assert hold.api.look(hold.event_id)["available_tickets"] == 1


def test_an_expired_holds_ticket_may_be_booked_at_once(expired: Callable[[], Hold]) -> None:
    hold = expired()
    answer = hold.api.user().book(hold.event_id)
    assert answer.status == 201
    assert answer.data["source"] == "sale"


def test_after_a_hold_has_expired_its_user_may_book_again_and_confirm(expired: Callable[[], Hold]) -> None:
    hold = expired()
    assert hold.user.book(hold.event_id).status == 201
    assert hold.user.confirm(hold.event_id).status == 200


def test_a_late_confirmation_is_replayed_under_its_key(expired: Callable[[], Hold]) -> None:
    hold = expired()
    late = hold.user.confirm(hold.event_id, key="k")
    assert late.verdict == (410, "hold_expired")
    assert hold.user.book(hold.event_id).status == 201
    again = hold.user.confirm(hold.event_id, key="k")
    assert (again.status, again.content) == (late.status, late.content)
    assert hold.user.confirm(hold.event_id).status == 200


def test_a_smaller_capacity_counts_tickets_of_expired_holds_as_free(expired: Callable[[], Hold]) -> None:
    hold = expired()
    answer = hold.api.organizer.change(hold.event_id, capacity=2)
    assert answer.status == 200
    assert answer.data["available_tickets"] == 2


def test_an_expiry_is_one_change(expired: Callable[[], Hold]) -> None:
    hold = expired()
    assert hold.api.look(hold.event_id)["seq"] == hold.seq + 1
    assert hold.api.look(hold.event_id)["seq"] == hold.seq + 1


def test_an_expired_hold_goes_to_the_head_of_the_waiting_list_as_a_hold(api: Api) -> None:
    first = held(api, hold_seconds=2)
    second, third = api.users(2)
    second.book(first.event_id)
    third.book(first.event_id)
    seq = api.look(first.event_id)["seq"]
    until_past(first.expires_at)
    event = api.look(first.event_id)
    assert (event["available_tickets"], event["tickets_held"], event["waiting_list_count"]) == (0, 1, 1)
    assert event["seq"] == seq + 2
    promoted = second.booking(first.event_id).data
    assert (promoted["status"], promoted["source"]) == ("held", "waitlist")
    assert third.booking(first.event_id).data["position"] == 1
    assert first.user.confirm(first.event_id).verdict == (410, "hold_expired")
    assert second.confirm(first.event_id).data["status"] == "confirmed"


def test_a_confirmed_hold_does_not_expire(api: Api) -> None:
    hold = held(api, hold_seconds=HOLD_SECONDS)
    assert hold.user.confirm(hold.event_id).status == 200
    until_past(hold.expires_at)
    assert hold.user.booking(hold.event_id).data["status"] == "confirmed"
    assert api.look(hold.event_id)["tickets_sold"] == 1
