"""An event's refunds: listed for its organizer, who marks each as done, and told to the buyer."""

from typing import Any

import pytest

from .api import Api
from .client import Answer, Caller, fresh


def refund(api: Api, event_id: int, buyer: Caller) -> tuple[str, str]:
    """The payment of a buyer whose money has to be given back, and the id of the hold. The event has one ticket."""
    held = buyer.book(event_id)
    assert held.status == 201
    payment_id: str = buyer.post("/checkout", {"event_id": event_id}).data["payment_id"]
    assert buyer.cancel(event_id).status == 200
    other = api.user()
    assert other.book(event_id).status == 201
    late = buyer.post("/confirm", {"event_id": event_id, "payment_id": payment_id, "late": True})
    assert late.verdict == (409, "refund_due")
    assert other.cancel(event_id).status == 200
    return payment_id, held.data["id"]


def refunds(api: Api, event_id: int, query: str = "") -> Answer:
    answer = api.organizer.get(f"/events/{event_id}/refunds{query}")
    assert answer.status == 200, answer
    return answer


def mark(caller: Caller, event_id: int, payment_id: str, **body: Any) -> Answer:
    return caller.call("PATCH", f"/events/{event_id}/refunds/{payment_id}", body)


def test_a_refund_is_listed_at_once_with_what_an_organizer_needs(api: Api) -> None:
    event_id, buyer = api.event(hold_seconds=60), api.user()
    payment_id, booking_id = refund(api, event_id, buyer)
    (row,) = refunds(api, event_id).data
    due_at = row.pop("due_at")
    assert row == {
        "payment_id": payment_id,
        "booking_id": booking_id,
        "user_id": buyer.id,
        "quantity": 1,
        "done_at": None,
        "done_by": None,
    }
    (told,) = (one for one in api.organizer.get(f"/events/{event_id}/changes").data if one["kind"] == "refund_due")
    assert due_at == told["at"]
    assert refunds(api, api.event()).data == []


def test_a_buyer_with_an_account_is_listed_with_the_email(api: Api) -> None:
    email = f"{fresh('ada')}@example.com"
    told = api.anyone.post("/auth/register", {"email": email, "password": "correct horse battery"}).data
    buyer = api.with_token(told["token"], f"account:{told['user']['id']}")
    event_id = api.event(hold_seconds=60)
    payment_id, _ = refund(api, event_id, buyer)
    (row,) = refunds(api, event_id).data
    assert (row["user_id"], row["email"]) == (buyer.id, email)
    assert mark(api.organizer, event_id, payment_id, done=True).data["email"] == email


def test_the_list_has_pages_and_can_be_filtered(api: Api) -> None:
    event_id = api.event(hold_seconds=60)
    newest_first = [refund(api, event_id, api.user())[0] for _ in range(5)][::-1]
    for payment_id in newest_first[1:3]:
        assert mark(api.organizer, event_id, payment_id, done=True).status == 200

    def pages(query: str) -> list[str]:
        found: list[str] = []
        more, after = True, ""
        while more:
            answer = refunds(api, event_id, f"?limit=2{query}{after}")
            assert 1 <= len(answer.data) <= 2
            found += [row["payment_id"] for row in answer.data]
            more, after = answer.body["has_more"], f"&starting_after={found[-1]}"
        return found

    assert pages("") == newest_first
    assert pages("&status=due") == [newest_first[0], *newest_first[3:]]
    assert pages("&status=done") == newest_first[1:3]


@pytest.mark.parametrize(
    ("query", "pointer"), [("status=open", "?status"), ("limit=0", "?limit"), ("starting_after=x", "?starting_after")]
)
def test_a_wrong_query_is_refused(api: Api, query: str, pointer: str) -> None:
    answer = api.organizer.get(f"/events/{api.event()}/refunds?{query}")
    assert (answer.verdict, answer.pointers) == ((422, "invalid_request"), {pointer})


def test_a_refund_is_marked_as_done_once_and_can_be_due_again(api: Api) -> None:
    event_id, buyer = api.event(hold_seconds=60), api.user()
    payment_id, _ = refund(api, event_id, buyer)
    done = mark(api.organizer, event_id, payment_id, done=True)
    assert done.data["done_by"] == "the-organizer"
    assert done.data["done_at"] >= done.data["due_at"]
    admin = api.bearer("boss", {**api.claims("boss"), "role": "admin"})
    assert mark(admin, event_id, payment_id, done=True).data == done.data, "the first one counts"
    assert refunds(api, event_id).data == [done.data]
    for _ in range(2):
        due = mark(admin, event_id, payment_id, done=False)
        assert (due.data["done_at"], due.data["done_by"]) == (None, None)
    assert mark(admin, event_id, payment_id, done=True).data["done_by"] == "boss"


def test_only_refunds_of_the_event_can_be_marked(api: Api) -> None:
    event_id, other_id, buyer = api.event(hold_seconds=60), api.event(), api.user()
    payment_id, _ = refund(api, event_id, buyer)
    assert mark(api.organizer, other_id, payment_id, done=True).verdict == (404, "refund_not_found")
    assert mark(api.organizer, event_id, "nothing", done=True).verdict == (404, "refund_not_found")
    assert mark(api.organizer, 999_999_999, payment_id, done=True).verdict == (404, "event_not_found")
    buyer.book(event_id)
    paid = buyer.post("/checkout", {"event_id": event_id}).data["payment_id"]
    assert buyer.post("/confirm", {"event_id": event_id, "payment_id": paid}).status == 200
    assert mark(api.organizer, event_id, paid, done=True).verdict == (404, "refund_not_found")
    assert [row["payment_id"] for row in refunds(api, event_id).data] == [payment_id]


@pytest.mark.parametrize("body", [{}, {"done": None}, {"done": 1}, {"done": True, "by": "me"}])
def test_a_wrong_mark_is_refused(api: Api, body: dict[str, object]) -> None:
    assert mark(api.organizer, api.event(), "nothing", **body).verdict == (422, "invalid_request")


def test_refunds_are_for_the_events_organizer_and_administrators(api: Api) -> None:
    event_id, buyer = api.event(hold_seconds=60), api.user()
    payment_id, _ = refund(api, event_id, buyer)
    for role, status in (("admin", 200), ("organizer", 403), ("service", 403), (None, 403)):
        user_id = fresh("who")
        caller = api.bearer(user_id, {**api.claims(user_id), **({"role": role} if role else {})})
        assert caller.get(f"/events/{event_id}/refunds").status == status, role
        assert mark(caller, event_id, payment_id, done=False).status == status, role
    assert api.organizer.get("/events/999999999/refunds").verdict == (404, "event_not_found")


def test_the_report_tells_what_was_due_and_what_is_done(api: Api) -> None:
    event_id = api.event(hold_seconds=60)
    payments = [refund(api, event_id, api.user())[0] for _ in range(3)]
    mark(api.organizer, event_id, payments[0], done=True)
    totals = api.organizer.get(f"/events/{event_id}/report").data["totals"]
    assert (totals["refunds_due"], totals["refunds_done"]) == (3, 1)


def test_a_buyers_own_list_tells_what_became_of_the_money(api: Api) -> None:
    event_id, buyer = api.event(hold_seconds=60), api.user()
    payment_id, booking_id = refund(api, event_id, buyer)
    buyer.book(event_id)

    def told() -> dict[str, object]:
        return {row["id"]: row.get("refund") for row in buyer.get("/bookings").data}

    later = buyer.booking(event_id).data["id"]
    assert told() == {booking_id: "due", later: None}
    mark(api.organizer, event_id, payment_id, done=True)
    assert told() == {booking_id: "done", later: None}
    assert "refund" not in api.organizer.get(f"/events/{event_id}/bookings").data[-1]


def test_a_late_payment_that_is_booked_again_is_no_refund(api: Api) -> None:
    event_id, buyer = api.event(hold_seconds=60), api.user()
    buyer.book(event_id)
    payment_id = buyer.post("/checkout", {"event_id": event_id}).data["payment_id"]
    buyer.cancel(event_id)
    late = buyer.post("/confirm", {"event_id": event_id, "payment_id": payment_id, "late": True})
    assert late.status == 200
    assert refunds(api, event_id).data == []
    assert [row.get("refund") for row in buyer.get("/bookings").data] == [None, None]
