"""An event's organizer, and a shop's backend with the role `service`, act for the buyer whom they name."""

from typing import Any

import pytest

from .api import Api
from .client import Caller, fresh, replayed

COMMANDS = ("/book", "/confirm", "/cancel")


@pytest.fixture
def shop(api: Api) -> Caller:
    """A shop's backend."""
    return service(api)


def service(api: Api) -> Caller:
    user_id = fresh("shop")
    return api.bearer(user_id, {**api.claims(user_id), "role": "service"})


def for_buyer(caller: Caller, path: str, event_id: int, buyer: Caller, key: str | None = None, **more: Any) -> Any:
    return caller.post(path, {"event_id": event_id, "user_id": buyer.id, **more}, key=key)


@pytest.mark.parametrize("who", ["organizer", "service"])
def test_a_buyers_whole_sale_can_be_made_for_them(api: Api, who: str) -> None:
    event_id, buyer = api.event(available_tickets=4, max_per_user=4, hold_seconds=600), api.user()
    caller = api.organizer if who == "organizer" else service(api)
    held = for_buyer(caller, "/book", event_id, buyer, quantity=3)
    assert (held.status, held.data["user_id"], held.data["status"]) == (201, buyer.id, "held")
    assert buyer.booking(event_id).data == held.data
    assert for_buyer(caller, "/confirm", event_id, buyer).data["status"] == "confirmed"
    rest = for_buyer(caller, "/cancel", event_id, buyer, quantity=1)
    assert (rest.status, rest.data["quantity"], rest.data["id"]) == (200, 2, held.data["id"])
    assert for_buyer(caller, "/cancel", event_id, buyer).status == 200
    assert buyer.booking(event_id).verdict == (404, "booking_not_found")


@pytest.mark.parametrize("path", COMMANDS)
def test_a_user_who_names_another_is_refused_and_one_who_names_themselves_is_not(api: Api, path: str) -> None:
    event_id, buyer, stranger = api.event(available_tickets=2, hold_seconds=600), api.user(), api.user()
    assert buyer.book(event_id).status == 201
    assert for_buyer(stranger, path, event_id, buyer).verdict == (403, "forbidden")
    assert buyer.booking(event_id).data["status"] == "held"
    assert stranger.booking(event_id).status == 404
    own = for_buyer(buyer, path, event_id, buyer)
    assert own.verdict == ((409, "already_booked") if path == "/book" else (200, None))


@pytest.mark.parametrize("path", COMMANDS)
def test_an_organizer_acts_only_at_their_own_events_and_an_administrator_at_all(api: Api, path: str) -> None:
    event_id, buyer = api.event(available_tickets=2, hold_seconds=600), api.user()
    assert buyer.book(event_id).status == 201
    other_id, admin_id = fresh("other"), fresh("admin")
    other = api.bearer(other_id, {**api.claims(other_id), "role": "organizer"})
    admin = api.bearer(admin_id, {**api.claims(admin_id), "role": "admin"})
    assert for_buyer(other, path, event_id, buyer).verdict == (403, "forbidden")
    assert buyer.booking(event_id).data["status"] == "held"
    assert for_buyer(admin, path, event_id, buyer).status == (409 if path == "/book" else 200)


@pytest.mark.parametrize("path", COMMANDS)
def test_a_service_has_to_name_a_user(api: Api, shop: Caller, path: str) -> None:
    answer = shop.post(path, {"event_id": api.event()})
    assert (answer.verdict, answer.pointers) == ((422, "invalid_request"), {"/user_id"})


def test_a_service_may_do_nothing_else(api: Api, shop: Caller) -> None:
    event_id = api.event()
    private = (f"/events/{event_id}/booking", "/bookings", f"/events/{event_id}/live", f"/events/{event_id}/bookings",
               f"/events/{event_id}/report", f"/events/{event_id}/audit")  # fmt: skip
    assert [shop.get(path).verdict for path in private] == [(403, "forbidden")] * len(private)
    assert shop.post("/initialize", {"event_name": "Mine", "available_tickets": 1}).verdict == (403, "forbidden")
    assert shop.change(event_id, capacity=5).verdict == (403, "forbidden")
    assert shop.get(f"/status/{event_id}").status == 200


def test_idempotency_keys_are_the_callers_and_name_the_buyer(api: Api, shop: Caller) -> None:
    event_id, (first, second) = api.event(available_tickets=2), api.users(2)
    booked = for_buyer(shop, "/book", event_id, first, "order-1")
    assert replayed(for_buyer(shop, "/book", event_id, first, "order-1"), booked)
    assert for_buyer(shop, "/book", event_id, second, "order-1").verdict == (422, "idempotency_key_reused")
    own = second.book(event_id, key="order-1")
    assert (own.status, own.headers.get("idempotent-replayed")) == (201, None)
