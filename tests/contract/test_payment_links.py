"""The link behind which a buyer pays: what an organizer may set, what a checkout answers, how a shop checks it."""

import hmac
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from .api import Api
from .client import Answer, Caller, fresh, replayed

TEMPLATE = "https://shop.example/pay/{event_id}?user={user_id}&payment={payment_id}#{signature}"
PLACES = "{event_id}/{user_id}/{payment_id}/{signature}"


def check_out(caller: Caller, event_id: int, key: str | None = None, **more: Any) -> Answer:
    return caller.post("/checkout", {"event_id": event_id, **more}, key=key)


def secret(api: Api, event_id: int) -> str:
    answer = api.organizer.get(f"/events/{event_id}/payment-secret")
    assert answer.status == 200
    assert answer.data.keys() == {"event_id", "secret"}
    assert answer.data["event_id"] == event_id
    found: str = answer.data["secret"]
    return found


def expected(api: Api, event_id: int, user_id: str, payment_id: str) -> str:
    """The signature, as a shop works it out that has only the documentation."""
    message = f"{event_id}\n{user_id}\n{payment_id}".encode()
    return hmac.new(secret(api, event_id).encode("ascii"), message, "sha256").hexdigest()


@pytest.mark.parametrize("user_id", ["ann", "ü & /?#=%{payment_id}", "account:987654322"])
def test_a_checkout_answers_the_events_link_filled_in_and_signed(api: Api, user_id: str) -> None:
    event_id, buyer = api.event(hold_seconds=60, payment_url=TEMPLATE), api.user(user_id)
    assert api.look(event_id)["takes_payment"] is True
    buyer.book(event_id)
    begun = check_out(buyer, event_id)
    link, payment_id = begun.data["payment_url"], begun.data["payment_id"]
    assert link.startswith(f"https://shop.example/pay/{event_id}?user={quote(user_id, safe='')}&payment=")
    parts = urlsplit(link)
    assert parse_qs(parts.query) == {"user": [user_id], "payment": [payment_id]}
    assert parts.fragment == expected(api, event_id, user_id, payment_id)
    assert check_out(buyer, event_id).data == begun.data
    assert "payment_url" not in buyer.booking(event_id).data, "only a checkout gives the link"


def test_an_event_without_a_link_answers_none(api: Api) -> None:
    event_id, buyer = api.event(hold_seconds=60), api.user()
    assert api.look(event_id)["takes_payment"] is False
    buyer.book(event_id)
    assert check_out(buyer, event_id).data["payment_url"] is None
    assert api.organizer.change(event_id, payment_url=TEMPLATE).data["takes_payment"] is True
    assert check_out(buyer, event_id).data["payment_url"].startswith("https://shop.example/pay/")
    assert api.organizer.change(event_id, payment_url=None).data["takes_payment"] is False
    assert check_out(buyer, event_id).data["payment_url"] is None


def test_a_shop_that_acts_for_a_buyer_gets_the_buyers_link(api: Api) -> None:
    event_id, buyer, shop_id = api.event(hold_seconds=60, payment_url=TEMPLATE), api.user(), fresh("shop")
    shop = api.bearer(shop_id, {**api.claims(shop_id), "role": "service"})
    buyer.book(event_id)
    given = check_out(shop, event_id, user_id=buyer.id)
    assert given.data == check_out(buyer, event_id).data
    assert urlsplit(given.data["payment_url"]).fragment == expected(api, event_id, buyer.id, given.data["payment_id"])


def test_a_replayed_checkout_has_the_link_of_the_first_answer(api: Api) -> None:
    event_id, buyer = api.event(hold_seconds=60, payment_url=TEMPLATE), api.user()
    buyer.book(event_id)
    first = check_out(buyer, event_id, "k")
    assert api.organizer.change(event_id, payment_url=TEMPLATE.replace("shop", "other")).status == 200
    assert replayed(check_out(buyer, event_id, "k"), first)
    assert check_out(buyer, event_id, "another").data["payment_url"].startswith("https://other.example/")


def test_a_confirmed_booking_has_nothing_left_to_pay(api: Api) -> None:
    event_id, buyer = api.event(hold_seconds=60, payment_url=TEMPLATE), api.user()
    buyer.book(event_id)
    payment_id = check_out(buyer, event_id).data["payment_id"]
    paid = {"event_id": event_id, "user_id": buyer.id, "payment_id": payment_id}
    assert api.organizer.post("/confirm", paid).status == 200
    assert buyer.confirm(event_id).status == 200, "it stays confirmed"
    assert check_out(buyer, event_id).data["payment_url"] is None


def test_a_buyer_cannot_confirm_what_a_payment_has_to_confirm(api: Api) -> None:
    event_id, buyer = api.event(hold_seconds=60, payment_url=TEMPLATE), api.user()
    buyer.book(event_id)
    own = {"event_id": event_id, "payment_id": check_out(buyer, event_id).data["payment_id"]}
    for told in ({"event_id": event_id}, own, {**own, "late": True}, {**own, "user_id": buyer.id}):
        assert buyer.post("/confirm", told).verdict == (402, "payment_required")
    assert buyer.cancel(event_id).status == 200
    assert buyer.post("/confirm", {**own, "late": True}).verdict == (402, "payment_required")
    shop_id = fresh("shop")
    shop = api.bearer(shop_id, {**api.claims(shop_id), "role": "service"})
    assert shop.post("/confirm", {**own, "user_id": buyer.id, "late": True}).data["status"] == "confirmed"


def test_a_changed_link_is_told_in_the_feed(api: Api) -> None:
    event_id = api.event()
    api.organizer.change(event_id, payment_url=TEMPLATE)
    rows = api.organizer.get(f"/events/{event_id}/changes?wait=5&after=1").data
    assert [(row["kind"], row["event"]["payment_url"], row["event"]["takes_payment"]) for row in rows] == [
        ("changed", TEMPLATE, True)
    ]


@pytest.mark.parametrize(
    "template",
    [
        f"https://shop.example/{PLACES}",
        f"https://shop.example:8443/pay?a={PLACES}",
        f"https://shop.example/#{PLACES}",
        f"http://localhost/{PLACES}",
        f"http://127.0.0.1:9000/{PLACES}",
        f"http://[::1]:9000/{PLACES}",
        f"https://shop.example/{PLACES}{PLACES}",
        f"https://shop.example/{PLACES}".ljust(2_000, "x"),
    ],
)
def test_an_absolute_https_url_with_all_places_is_a_template(api: Api, template: str) -> None:
    assert api.initialize(payment_url=template).status == 201


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("https://shop.example/{event_id}/{payment_id}/{signature}", "{user_id}"),
        ("https://shop.example/{event_id}", "{user_id} and {payment_id} and {signature}"),
        ("https://shop.example/", "{event_id}"),
        (f"https://shop.example/{PLACES}/{{order}}", "in braces only"),
        (f"https://shop.example/{PLACES}/{{", "in braces only"),
        (f"http://shop.example/{PLACES}", "https://"),
        (f"http://localhost.example/{PLACES}", "https://"),
        (f"javascript:alert(1)//{PLACES}", "https://"),
        (f"//shop.example/{PLACES}", "https://"),
        (f"/pay/{PLACES}", "https://"),
        (f"https:///{PLACES}", "host"),
        (f"https://ada:secret@shop.example/{PLACES}", "host"),
        (f"https://{{user_id}}.example/{PLACES}", "host"),
        (f"https://shop.example:99999/{PLACES}", "not a URL"),
        (f"https://shop.example/ü/{PLACES}", "percent-encoded"),
        (f"https://shop.example/ /{PLACES}", "percent-encoded"),
        (f"https://shop.example/\n/{PLACES}", "percent-encoded"),
        (f'https://shop.example/"/{PLACES}', "percent-encoded"),
        (f"https://shop.example/{PLACES}".ljust(2_001, "x"), "2,000"),
        ("", "https"),
        (5, "string"),
    ],
)
def test_any_other_template_is_refused_with_what_is_wrong(api: Api, template: object, says: str) -> None:
    event_id = api.event()
    for answer in (api.initialize(payment_url=template), api.organizer.change(event_id, payment_url=template)):
        assert (answer.verdict, answer.pointers) == ((422, "invalid_request"), {"/payment_url"})
        assert says in answer.body["errors"][0]["detail"]


def test_each_event_has_a_secret_of_its_own_that_stays(api: Api) -> None:
    one, other = api.event(), api.event()
    assert secret(api, one) == secret(api, one) != secret(api, other)
    assert len(secret(api, one)) == 64
    assert secret(api, one) == hmac.new(api.secret.encode(), f"payment-url:{one}".encode(), "sha256").hexdigest()


def test_only_the_events_organizer_and_administrators_read_its_secret(api: Api) -> None:
    event_id = api.event()
    path = f"/events/{event_id}/payment-secret"
    for role, status in (("admin", 200), ("organizer", 403), ("service", 403), (None, 403)):
        user_id = fresh("who")
        caller = api.bearer(user_id, {**api.claims(user_id), **({"role": role} if role else {})})
        assert caller.get(path).status == status, role
    assert api.anyone.get(path).verdict == (401, "unauthenticated")
    assert api.organizer.get("/events/999999999/payment-secret").verdict == (404, "event_not_found")
    assert api.organizer.get(path).headers["cache-control"] == "no-store"
