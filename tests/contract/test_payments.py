"""A buyer checks out, pays, and has a booking; a payment that comes too late books again or is to be refunded."""

import pytest

from tests.fixtures.waiting import eventually

from .api import Api
from .client import Answer, Caller, replayed


def check_out(caller: Caller, event_id: int, key: str | None = None) -> Answer:
    return caller.post("/checkout", {"event_id": event_id}, key=key)


def confirm(caller: Caller, event_id: int, payment_id: str, *, late: bool = False, key: str | None = None) -> Answer:
    return caller.post("/confirm", {"event_id": event_id, "payment_id": payment_id, "late": late}, key=key)


def test_a_buyer_checks_out_once_and_confirms_with_the_payment(api: Api) -> None:
    event_id, buyer = api.event(hold_seconds=60, payment_seconds=600), api.user()
    held = buyer.book(event_id)
    begun = check_out(buyer, event_id, "c")
    assert (begun.status, begun.data["status"], begun.data["id"]) == (200, "held", held.data["id"])
    assert begun.data["expires_at"] > held.data["expires_at"]
    assert check_out(buyer, event_id).data == begun.data == {**buyer.booking(event_id).data, "payment_url": None}
    assert replayed(check_out(buyer, event_id, "c"), begun)
    assert confirm(buyer, event_id, "another").verdict == (409, "payment_mismatch")
    assert confirm(buyer, event_id, begun.data["payment_id"]).data["status"] == "confirmed"
    assert check_out(buyer, event_id).data == {**buyer.booking(event_id).data, "payment_url": None}
    eventually(lambda: buyer.get("/bookings").data, "the database has the booking")
    assert buyer.get("/bookings").data[0]["payment_id"] == begun.data["payment_id"]


def test_a_checkout_is_refused_as_a_confirmation_is(api: Api) -> None:
    event_id, (buyer, waiting) = api.event(hold_seconds=60), api.users(2)
    assert check_out(buyer, event_id).verdict == (404, "booking_not_found")
    assert check_out(buyer, 999_999).verdict == (404, "event_not_found")
    assert [buyer.book(event_id).status, waiting.book(event_id).status] == [201, 202]
    assert check_out(waiting, event_id).verdict == (409, "still_waiting")


def test_a_late_payment_books_again_once_whatever_is_closed(api: Api) -> None:
    event_id, buyer = api.event(hold_seconds=60), api.user()
    buyer.book(event_id)
    begun = check_out(buyer, event_id).data
    assert buyer.cancel(event_id).status == 200
    assert api.organizer.change(event_id, paused=True, visibility="archived").status == 200
    booked = confirm(buyer, event_id, begun["payment_id"], late=True, key="k")
    assert (booked.status, booked.data["status"], booked.data["source"]) == (200, "confirmed", "sale")
    assert booked.data["id"] != begun["id"]
    assert replayed(confirm(buyer, event_id, begun["payment_id"], late=True, key="k"), booked)
    assert confirm(buyer, event_id, begun["payment_id"], late=True).data == booked.data


def test_a_late_payment_whose_ticket_is_gone_is_refunded_once(api: Api) -> None:
    event_id, (buyer, other) = api.event(hold_seconds=60), api.users(2)
    buyer.book(event_id)
    payment_id = check_out(buyer, event_id).data["payment_id"]
    buyer.cancel(event_id)
    assert other.book(event_id).status == 201
    before = api.look(event_id)["seq"]
    for _ in range(3):
        assert confirm(buyer, event_id, payment_id, late=True).verdict == (409, "refund_due")
    assert api.look(event_id)["seq"] == before + 1
    assert buyer.book(event_id).status == 202, "that buyer may book again"
    audit = api.organizer.get(f"/events/{event_id}/audit").data
    assert (audit["ok"], audit["differences"]) == (True, [])
    assert api.organizer.get(f"/events/{event_id}/report").data["totals"]["refunds_due"] == 1
    rows = api.organizer.get(f"/events/{event_id}/changes?limit=100").data
    assert [row["kind"] for row in rows] == ["created", "held", "checkout", "cancelled", "held", "refund_due", "joined"]
    assert (rows[5]["booking"]["payment_id"], rows[5]["booking"]["status"]) == (payment_id, "cancelled")


@pytest.mark.parametrize("fields", [{"payment_id": ""}, {"payment_id": "a b"}, {"payment_id": 5}, {"late": 1}])
def test_a_wrong_field_of_a_payment_is_refused(api: Api, fields: dict[str, object]) -> None:
    answer = api.user().post("/confirm", {"event_id": 1, **fields})
    assert (answer.verdict, answer.pointers) == ((422, "invalid_request"), {f"/{name}" for name in fields})
