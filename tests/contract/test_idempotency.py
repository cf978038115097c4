"""Idempotency-Key: a repeated call with the same key takes effect once and gets the first answer, byte for byte."""

from concurrent.futures import ThreadPoolExecutor

from .api import Api
from .client import replayed


def test_a_booking_is_made_once_and_its_answer_replayed(api: Api) -> None:
    event_id = api.event(available_tickets=5)
    user = api.user()
    first = user.book(event_id, key="order-1")
    assert first.status == 201
    seq = api.look(event_id)["seq"]
    assert replayed(user.book(event_id, key="order-1"), first)
    assert replayed(user.book(event_id, key="order-1"), first)
    assert api.look(event_id)["seq"] == seq


def test_a_replay_has_a_new_request_id_in_the_header_and_the_first_in_the_body(api: Api) -> None:
    event_id, _ = api.sold_out(waitlist_limit=0)
    user = api.user()
    body = {"event_id": event_id}
    ids = [{"Idempotency-Key": "k", "X-Request-ID": request_id} for request_id in ("call-1", "call-2")]
    first, again = (user.call("POST", "/book", body, headers=headers) for headers in ids)
    assert (first.headers["x-request-id"], again.headers["x-request-id"]) == ("call-1", "call-2")
    assert first.body["request_id"] == again.body["request_id"] == "call-1"
    assert replayed(again, first)


def test_a_replay_is_the_same_after_later_changes(api: Api) -> None:
    event_id = api.event(available_tickets=5, hold_seconds=60)
    user = api.user()
    booked = user.book(event_id, key="book")
    confirmed = user.confirm(event_id, key="confirm")
    cancelled = user.cancel(event_id, key="cancel")
    api.organizer.change(event_id, event_name="renamed", paused=True)
    assert [answer.status for answer in (booked, confirmed, cancelled)] == [201, 200, 200]
    assert replayed(user.book(event_id, key="book"), booked)
    assert replayed(user.confirm(event_id, key="confirm"), confirmed)
    assert replayed(user.cancel(event_id, key="cancel"), cancelled)
    assert user.booking(event_id).verdict == (404, "booking_not_found")
    assert api.look(event_id)["available_tickets"] == 5


def test_a_cancellation_under_a_key_does_not_cancel_the_next_booking(api: Api) -> None:
    event_id = api.event()
    user = api.user()
    user.book(event_id)
    first = user.cancel(event_id, key="cancel")
    user.book(event_id)
    assert replayed(user.cancel(event_id, key="cancel"), first)
    assert user.booking(event_id).data["status"] == "confirmed"


def test_a_waiting_list_position_is_replayed_as_it_was(api: Api) -> None:
    event_id, [buyer] = api.sold_out()
    ahead, user = api.users(2)
    ahead.book(event_id)
    first = user.book(event_id, key="k")
    assert (first.status, first.data["position"]) == (202, 2)
    ahead.cancel(event_id)
    assert replayed(user.book(event_id, key="k"), first)
    buyer.cancel(event_id)
    assert replayed(user.book(event_id, key="k"), first)
    assert user.booking(event_id).data["status"] == "confirmed"


def test_refusals_are_recorded_too(api: Api) -> None:
    event_id, [buyer] = api.sold_out(waitlist_limit=0)
    user = api.user()
    first = user.book(event_id, key="k")
    assert first.verdict == (409, "sold_out")
    buyer.cancel(event_id)
    assert replayed(user.book(event_id, key="k"), first)
    assert user.book(event_id, key="another").status == 201


def test_each_lasting_refusal_is_recorded(api: Api) -> None:
    event_id = api.event(available_tickets=5, waitlist_limit=1)
    user = api.user()
    organizer = api.organizer
    nothing = user.cancel(event_id, key="cancel")
    unconfirmed = user.confirm(event_id, key="confirm")
    large = user.book(event_id, 2, key="large")
    organizer.change(event_id, max_per_user=2, closes_at="2020-01-01T00:00:00Z")
    closed = user.book(event_id, key="closed")
    organizer.change(event_id, closes_at=None)
    booked = user.book(event_id)
    twice = user.book(event_id, key="twice")
    codes = [answer.code for answer in (nothing, unconfirmed, large, closed, twice)]
    assert codes == ["booking_not_found", "booking_not_found", "quantity_over_limit", "sale_closed", "already_booked"]
    assert replayed(user.cancel(event_id, key="cancel"), nothing)
    assert replayed(user.confirm(event_id, key="confirm"), unconfirmed)
    assert user.booking(event_id).data == booked.data
    user.cancel(event_id)
    assert replayed(user.book(event_id, 2, key="large"), large)
    assert replayed(user.book(event_id, key="closed"), closed)
    assert replayed(user.book(event_id, key="twice"), twice)
    assert api.look(event_id)["available_tickets"] == 5


def test_a_paused_or_unopened_sale_is_decided_again_under_the_same_key(api: Api) -> None:
    event_id = api.event(available_tickets=5, opens_at="2099-01-01T00:00:00Z")
    user = api.user()
    assert user.book(event_id, key="k").verdict == (403, "sale_not_open")
    api.organizer.change(event_id, opens_at=None, paused=True)
    assert user.book(event_id, key="k").verdict == (403, "sale_paused")
    api.organizer.change(event_id, paused=False)
    booked = user.book(event_id, key="k")
    assert (booked.status, booked.headers.get("idempotent-replayed")) == (201, None)
    assert replayed(user.book(event_id, key="k"), booked)


def test_a_refusal_for_a_waiting_user_is_recorded(api: Api) -> None:
    event_id, [buyer] = api.sold_out(waitlist_limit=1)
    waiting, late = api.users(2)
    waiting.book(event_id)
    too_early = waiting.confirm(event_id, key="k")
    full = late.book(event_id, key="k")
    assert [too_early.code, full.code] == ["still_waiting", "waitlist_full"]
    buyer.cancel(event_id)
    assert waiting.confirm(event_id).status == 200
    assert replayed(waiting.confirm(event_id, key="k"), too_early)
    assert replayed(late.book(event_id, key="k"), full)


def test_an_organizer_who_cancels_for_a_user_has_keys_of_their_own(api: Api) -> None:
    event_id, [one, other] = api.sold_out(available_tickets=2)
    cancels = [{"event_id": event_id, "user_id": user.id} for user in (one, other)]
    first = api.organizer.post("/cancel", cancels[0], key="k")
    assert first.status == 200
    assert replayed(api.organizer.post("/cancel", cancels[0], key="k"), first)
    assert api.organizer.post("/cancel", cancels[1], key="k").verdict == (422, "idempotency_key_reused")
    assert other.booking(event_id).status == 200
    # The key belongs to the organizer; for the user it is a first call.
    assert one.cancel(event_id, key="k").verdict == (404, "booking_not_found")


def test_a_call_that_never_reached_the_event_is_not_recorded(api: Api) -> None:
    event_id = api.event(available_tickets=5)
    user = api.user()
    body = b'{"event_id": %d}' % event_id
    key = {"Idempotency-Key": "k"}
    refusals = [
        user.call("POST", "/book", {"event_id": event_id, "quantity": "1"}, headers=key),
        user.call("POST", "/book", content=body[:-1], headers=key),
        user.call("POST", "/book", content=body, headers={**key, "Content-Type": "text/plain"}),
        api.anyone.call("POST", "/book", content=body, headers=key),
        user.call("POST", "/book", content=body.ljust(20_000), headers=key),
    ]
    assert [answer.status for answer in refusals] == [422, 400, 415, 401, 413]
    answer = user.call("POST", "/book", content=body, headers=key)
    assert answer.status == 201
    assert "idempotent-replayed" not in answer.headers


def test_another_endpoint_under_the_key_is_refused(api: Api) -> None:
    event_id = api.event()
    user = api.user()
    first = user.book(event_id, key="k")
    assert user.cancel(event_id, key="k").verdict == (422, "idempotency_key_reused")
    assert user.confirm(event_id, key="k").verdict == (422, "idempotency_key_reused")
    assert user.booking(event_id).data == first.data
    assert replayed(user.book(event_id, key="k"), first)


def test_a_body_that_differs_in_value_under_the_key_is_refused(api: Api) -> None:
    event_id = api.event(available_tickets=5, max_per_user=3)
    user = api.user()
    first = user.book(event_id, 2, key="k")
    assert user.book(event_id, 3, key="k").verdict == (422, "idempotency_key_reused")
    assert replayed(user.book(event_id, 2, key="k"), first)
    assert api.look(event_id)["tickets_sold"] == 2


def test_a_body_that_differs_only_in_formatting_is_the_same(api: Api) -> None:
    event_id = api.event(available_tickets=5, max_per_user=3)
    user = api.user()
    key = {"Idempotency-Key": "k"}
    writings = [
        b'{"event_id": %d, "quantity": 2}',
        b'{ "quantity" :2,\n"event_id":%d}',
        b'{"\\u0065vent_id":%d,"quantity":2}',
    ]
    answers = [user.call("POST", "/book", content=writing % event_id, headers=key) for writing in writings]
    assert answers[0].status == 201
    assert replayed(answers[1], answers[0])
    assert replayed(answers[2], answers[0])


def test_the_same_call_many_times_at_once_happens_once(api: Api) -> None:
    event_id = api.event(available_tickets=50)
    user = api.user()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: user.book(event_id, key="k"), range(32)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get("idempotent-replayed") for answer in answers].count("true") == 31
    assert api.look(event_id)["tickets_sold"] == 1


def test_every_worker_replays(busy_api: Api) -> None:
    event_id = busy_api.event(available_tickets=5)
    user = busy_api.user()
    first = user.book(event_id, key="k")
    # Each connection may be answered by either of the two workers.
    head = f"POST /book HTTP/1.1\nAuthorization: {user.authorization}\nIdempotency-Key: k\nContent-Length: "
    body = b'{"event_id": %d}' % event_id
    for _ in range(10):
        assert replayed(busy_api.raw_connection.send(f"{head}{len(body)}", body), first)


def test_without_a_key_nothing_is_replayed(api: Api) -> None:
    event_id = api.event(available_tickets=5)
    user = api.user()
    user.book(event_id, key="k")
    assert user.book(event_id).verdict == (409, "already_booked")
