"""Stripe's events confirm bookings and release holds. Stripe's own library signs the events of these tests."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from .api import Api, serving
from .client import Answer, Caller

SECRET = "whsec_test_secret_of_this_endpoint"  # of the test's own service
PATH = "/payments/stripe"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service that takes Stripe's events."""
    environment = {"BOOKING_STRIPE_SECRET": SECRET, "BOOKING_RATE_LIMIT": "off"}
    with serving(tmp_path_factory.mktemp("stripe") / "data", environment) as api:
        yield api


@pytest.fixture
def paying(shop: Api) -> tuple[int, Caller, dict[str, str]]:
    """An event with one ticket, the buyer who pays for it, and the metadata of the payment."""
    event_id, buyer = shop.event(hold_seconds=600), shop.user()
    assert buyer.book(event_id).status == 201
    payment_id = buyer.post("/checkout", {"event_id": event_id}).data["payment_id"]
    return event_id, buyer, {"event_id": str(event_id), "user_id": buyer.id, "payment_id": payment_id}


def event(kind: str, metadata: dict[str, str] | None, **fields: Any) -> bytes:
    told = {"object": "checkout.session", "metadata": metadata, **fields}
    return json.dumps({"id": "evt_1", "object": "event", "type": kind, "data": {"object": told}}).encode()


def signed(body: bytes, secret: str = SECRET, at: int | None = None) -> str:
    """The header that Stripe would send."""
    at = int(time.time()) if at is None else at
    signature = stripe.WebhookSignature._compute_signature(f"{at}.{body.decode()}", secret)  # its only signer
    return f"t={at},v1={signature}"


def send(api: Api, body: bytes, signature: str | None) -> Answer:
    headers = {} if signature is None else {"Stripe-Signature": signature}
    return api.anyone.call("POST", PATH, content=body, headers={"Content-Type": "application/json", **headers})


def paid(metadata: dict[str, str]) -> bytes:
    return event("checkout.session.completed", metadata, payment_status="paid")


def test_a_paid_session_confirms_the_booking_however_often_it_is_told(
    shop: Api, paying: tuple[int, Caller, dict[str, str]]
) -> None:
    event_id, buyer, metadata = paying
    body = paid(metadata)
    stripe.Webhook.construct_event(body, signed(body), SECRET)  # their library accepts what the test sends
    for _ in range(3):
        answer = send(shop, body, signed(body))
        assert (answer.status, answer.data) == (200, {"outcome": "confirmed"})
    booking = buyer.booking(event_id).data
    assert (booking["status"], booking["payment_id"]) == ("confirmed", metadata["payment_id"])
    late = event("checkout.session.expired", metadata)
    assert send(shop, late, signed(late)).data == {"outcome": "booking_not_found"}
    assert buyer.booking(event_id).data == booking, "an event that comes out of order releases nothing"


@pytest.mark.parametrize("kind", ["checkout.session.expired", "payment_intent.payment_failed"])
def test_a_failed_payment_releases_the_hold_and_one_that_succeeds_later_books_or_is_refunded(
    shop: Api, paying: tuple[int, Caller, dict[str, str]], kind: str
) -> None:
    event_id, buyer, metadata = paying
    failed = event(kind, metadata)
    assert send(shop, failed, signed(failed)).data == {"outcome": "cancelled"}
    assert buyer.booking(event_id).status == 404
    if kind.startswith("payment"):
        assert shop.user().book(event_id).status == 201
        assert [send(shop, paid(metadata), signed(paid(metadata))).data["outcome"] for _ in "ab"] == ["refund_due"] * 2
    else:
        assert send(shop, paid(metadata), signed(paid(metadata))).data == {"outcome": "confirmed"}
        assert buyer.booking(event_id).data["status"] == "confirmed"


def test_only_a_fresh_signature_of_this_endpoint_is_accepted(
    shop: Api, paying: tuple[int, Caller, dict[str, str]]
) -> None:
    event_id, buyer, metadata = paying
    body, now = paid(metadata), int(time.time())
    right = signed(body, at=now).partition("v1=")[2]
    wrong = {
        "missing": None,
        "empty": "",
        "nonsense": "t=,v1=",
        "forged": signed(body)[:-1] + ("0" if right[-1] != "0" else "1"),
        "of another body": signed(body + b" "),
        "another secret": signed(body, "whsec_of_somebody_else"),
        "old": signed(body, at=now - 310),
        "replayed under a new time": f"t={now + 1},v1={right}",
        "two times": f"t={now},{signed(body)}",
        "an older scheme": signed(body).replace("v1=", "v0="),
        "not ASCII": "t=\xe9,v1=\xe9",
    }
    for name, header in wrong.items():
        assert send(shop, body, header).verdict == (400, "invalid_signature"), name
    assert buyer.booking(event_id).data["status"] == "held"
    rolled = f"{signed(body, 'whsec_the_old_secret', now)},v1={right}"  # both secrets sign while one is rolled
    assert send(shop, body, rolled).status == 200
    assert buyer.booking(event_id).data["status"] == "confirmed"


def test_what_does_not_concern_a_booking_is_answered_and_ignored(
    shop: Api, paying: tuple[int, Caller, dict[str, str]]
) -> None:
    event_id, buyer, metadata = paying
    ignored = [
        event("customer.created", metadata),
        event("checkout.session.completed", metadata, payment_status="unpaid"),
        event("checkout.session.completed", metadata),
        event("checkout.session.completed", None, payment_status="paid"),
        event("checkout.session.completed", {**metadata, "event_id": "x"}, payment_status="paid"),
        event("checkout.session.completed", {**metadata, "user_id": ""}, payment_status="paid"),
        event("checkout.session.completed", {**metadata, "payment_id": "a b"}, payment_status="paid"),
        b"[]",
        b'{"type": 1, "data": []}',
    ]
    for body in ignored:
        answer = send(shop, body, signed(body))
        assert (answer.status, answer.data) == (200, None), body
    for unknown in ({**metadata, "payment_id": "another"}, {**metadata, "event_id": "999999"}):
        assert send(shop, paid(unknown), signed(paid(unknown))).status == 200
    assert buyer.booking(event_id).data["status"] == "held"


def test_an_event_of_64_kib_is_taken_here_and_a_larger_one_nowhere(
    shop: Api, paying: tuple[int, Caller, dict[str, str]]
) -> None:
    event_id, buyer, metadata = paying
    largest = paid(metadata).ljust(64 * 1024)
    assert send(shop, largest + b" ", signed(largest + b" ")).verdict == (413, "body_too_large")
    order = json.dumps({"event_id": event_id}).encode().ljust(20_000)
    assert buyer.call("POST", "/confirm", content=order).verdict == (413, "body_too_large")
    assert buyer.booking(event_id).data["status"] == "held"
    assert send(shop, largest, signed(largest)).data == {"outcome": "confirmed"}


def test_without_the_secret_there_is_no_such_page(api: Api) -> None:
    assert send(api, b"{}", signed(b"{}")).verdict == (404, "not_found")
