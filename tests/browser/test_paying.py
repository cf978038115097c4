"""A hold is paid for in a shop on another site; what became of the payment, and of a refund, is told on these pages."""

import hmac
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Route, expect

from tests.contract.api import Api
from tests.contract.client import Caller, fresh
from tests.fixtures.waiting import eventually

from .chromium import PATIENCE_MS, Visitor
from .conftest import Sit
from .test_my_tickets import ticket

expect.set_options(timeout=PATIENCE_MS)


class Shop(BaseHTTPRequestHandler):
    """A page at every address."""

    def do_GET(self) -> None:
        """Sends the page."""
        body = b'<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>Shop</title><h1>Pay here</h1>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@contextmanager
def open_shop() -> Iterator[str]:
    """The template of a shop's links."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/pay/{{event_id}}"
        yield address + "?user={user_id}&payment={payment_id}&signature={signature}"
        server.shutdown()


@pytest.fixture(scope="module")
def template() -> Iterator[str]:
    """The template of the links of a shop that is open."""
    with open_shop() as template:
        yield template


def payment_of(api: Api, visitor: Visitor, event_id: int, user_id: str) -> str:
    """The payment whose page in the shop the visitor sees. Its link is what the shop expects."""
    expect(visitor.page.get_by_role("heading", name="Pay here")).to_be_visible()
    url = urlsplit(visitor.page.url)
    assert url.path == f"/pay/{event_id}"
    told = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert told["user"] == user_id
    secret = api.organizer.get(f"/events/{event_id}/payment-secret").data["secret"]
    message = f"{event_id}\n{user_id}\n{told['payment']}".encode()
    assert told["signature"] == hmac.new(secret.encode(), message, "sha256").hexdigest()
    return told["payment"]


def paid(api: Api, event_id: int, user_id: str, payment_id: str) -> int:
    """The shop tells of a payment; the status of the answer."""
    body = {"event_id": event_id, "user_id": user_id, "payment_id": payment_id, "late": True}
    return api.organizer.post("/confirm", body).status


def paying(api: Api, sit: Sit, template: str, buyer: Caller) -> tuple[int, Visitor, str]:
    """A new event, a visitor who holds its ticket and sees the shop, and the payment."""
    event_id = api.event(hold_seconds=300, payment_url=template)
    buyer.book(event_id)
    visitor = sit(buyer.id)
    visitor.go(f"/sale/{event_id}")
    visitor.page.get_by_role("button", name="Pay for 1 ticket").click()
    return event_id, visitor, payment_of(api, visitor, event_id, buyer.id)


def refunded(api: Api, event_id: int, buyer: Caller) -> str:
    """A payment of a buyer that comes too late for the event's only ticket."""
    buyer.book(event_id)
    payment_id: str = buyer.post("/checkout", {"event_id": event_id}).data["payment_id"]
    buyer.cancel(event_id)
    api.user().book(event_id)
    assert paid(api, event_id, buyer.id, payment_id) == 409
    return payment_id


def test_pay_leads_to_the_signed_link_and_the_ticket_comes_by_itself(api: Api, sit: Sit, template: str) -> None:
    event_id, me = api.event(hold_seconds=300, payment_seconds=3_000, payment_url=template), fresh("payer")
    visitor = sit(me)
    page = visitor.page
    visitor.go(f"/sale/{event_id}")
    expect(page.get_by_text("Held for you for 5 minutes, until you pay.")).to_be_visible()
    page.get_by_role("button", name="Book 1 ticket").click()
    expect(page.get_by_role("heading", name="Your ticket is held")).to_be_visible()
    expect(page.get_by_role("button", name="Confirm")).to_have_count(0)
    expect(page.get_by_role("timer")).to_have_text(re.compile(r"^[45]:\d\d$"))
    page.get_by_role("button", name="Pay for 1 ticket").click()
    payment_id = payment_of(api, visitor, event_id, me)
    visitor.go(f"/sale/{event_id}")
    expect(page.get_by_text("You have begun to pay.")).to_be_visible()
    expect(page.get_by_role("timer")).to_have_text(re.compile(r"^(49|50):\d\d$"))
    page.get_by_role("button", name="Go on to the payment").click()
    assert payment_of(api, visitor, event_id, me) == payment_id
    visitor.go(f"/sale/{event_id}")
    expect(page.get_by_text("You have begun to pay.")).to_be_visible()
    page.evaluate("window.isSame = true")
    assert paid(api, event_id, me, payment_id) == 200
    expect(page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
    expect(page.locator("#news")).to_have_text("Your payment has arrived. See you there!")
    assert page.evaluate("window.isSame"), "without a reload"


def test_an_offer_from_the_waiting_list_is_paid_for_from_my_tickets(api: Api, sit: Sit, template: str) -> None:
    name = fresh("offer")
    event_id, (seller,) = api.sold_out(event_name=name, hold_seconds=0, offer_seconds=600, payment_url=template)
    me = api.user()
    me.book(event_id)
    visitor = sit(me.id)
    visitor.go("/me")
    mine = ticket(visitor.page, name)
    expect(mine).to_contain_text("Your place is 1.")
    seller.cancel(event_id)
    expect(mine).to_contain_text("Pay for it")
    mine.get_by_role("button", name="Pay for 1 ticket").click()
    payment_id = payment_of(api, visitor, event_id, me.id)
    visitor.go("/me")
    expect(mine).to_contain_text("You have begun to pay.")
    assert paid(api, event_id, me.id, payment_id) == 200
    expect(mine.get_by_role("button", name="Show the ticket")).to_be_visible()
    me.cancel(event_id)
    visitor.go(f"/sale/{event_id}")
    expect(visitor.page.get_by_role("button", name="Book 1 ticket")).to_be_visible()
    expect(visitor.page.locator("#news")).to_be_empty()  # the buyer saw on the other page that it arrived


def test_a_checkout_whose_answer_is_lost_is_repeated(api: Api, sit: Sit, template: str) -> None:
    event_id, me = api.event(hold_seconds=300, payment_url=template), api.user()
    me.book(event_id)
    visitor = sit(me.id)
    visitor.expected.append("ERR_CONNECTION_RESET")
    keys: list[str] = []

    def losing_the_first_answer(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.fetch()  # it was made: only the stream tells of it
            route.abort("connectionreset")
        else:
            route.continue_()

    visitor.page.route("**/checkout", losing_the_first_answer)
    visitor.go(f"/sale/{event_id}")
    visitor.page.get_by_role("button", name="Pay for 1 ticket").click()
    assert payment_of(api, visitor, event_id, me.id) == me.booking(event_id).data["payment_id"]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_payment_that_failed_is_explained_and_a_late_one_is_booked_again(api: Api, sit: Sit, template: str) -> None:
    me = api.user()
    event_id, visitor, payment_id = paying(api, sit, template, me)
    page = visitor.page
    visitor.go(f"/sale/{event_id}")
    expect(page.get_by_text("You have begun to pay.")).to_be_visible()
    me.cancel(event_id)  # as Stripe's event of a failed payment does
    expect(page.locator("#news")).to_contain_text("because the payment failed")
    assert paid(api, event_id, me.id, payment_id) == 200
    expect(page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
    expect(page.locator("#news")).to_contain_text("Your payment came late, but in time for your tickets")


def test_a_buyer_who_comes_back_to_no_hold_is_told_where_the_payment_is_shown(
    api: Api, sit: Sit, template: str
) -> None:
    me = api.user()
    event_id, visitor, payment_id = paying(api, sit, template, me)
    page = visitor.page
    me.cancel(event_id)  # it was not late: nothing is said of why the hold ended, because the page cannot know
    visitor.go(f"/sale/{event_id}")
    expect(page.locator("#news")).to_have_text(
        "What you began to pay for is not held for you any more. “My tickets” shows what became of your payment."
    )
    assert paid(api, event_id, me.id, payment_id) == 200
    expect(page.locator("#news")).to_contain_text("Your payment came late, but in time for your tickets")
    me.cancel(event_id)
    page.reload()
    expect(page.get_by_role("button", name="Book 1 ticket")).to_be_visible()
    expect(page.locator("#news")).to_be_empty()


@pytest.mark.parametrize("has_arrived", [True, False])
def test_a_booking_that_its_buyer_gave_up_is_no_late_payment(
    api: Api, sit: Sit, template: str, has_arrived: bool
) -> None:
    me = api.user()
    event_id, visitor, payment_id = paying(api, sit, template, me)
    page = visitor.page
    visitor.go(f"/sale/{event_id}")
    expect(page.get_by_text("You have begun to pay.")).to_be_visible()
    if has_arrived:
        assert paid(api, event_id, me.id, payment_id) == 200
    give_up = "Cancel the booking" if has_arrived else "Give it back"
    page.get_by_role("button", name=give_up).click()
    page.get_by_role("dialog").get_by_role("button", name=give_up).click()
    expect(page.get_by_role("button", name="Book 1 ticket")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Book 1 ticket")).to_be_visible()
    expect(page.locator("#news")).to_be_empty()


def test_a_ticket_that_was_paid_for_in_another_window_is_not_called_late(api: Api, sit: Sit, template: str) -> None:
    event_id, me = api.event(hold_seconds=300, payment_url=template), api.user()
    visitor = sit(me.id)
    page = visitor.page
    visitor.go(f"/sale/{event_id}")
    expect(page.get_by_role("button", name="Book 1 ticket")).to_be_visible()
    page.evaluate(HIDE, True)
    me.book(event_id)
    payment_id = me.post("/checkout", {"event_id": event_id}).data["payment_id"]
    assert paid(api, event_id, me.id, payment_id) == 200
    page.evaluate(HIDE, False)
    expect(page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
    expect(page.locator("#news")).to_be_empty()


def test_a_late_payment_is_told_of_after_its_booking_was_cancelled(api: Api, sit: Sit, template: str) -> None:
    name = fresh("late")
    event_id, me = api.event(event_name=name, hold_seconds=300, payment_url=template), api.user()
    first = me.book(event_id).data["id"]
    payment_id = me.post("/checkout", {"event_id": event_id}).data["payment_id"]
    me.cancel(event_id)
    assert paid(api, event_id, me.id, payment_id) == 200
    me.cancel(event_id)

    def as_expired(route: Route) -> None:
        """The shortest time to pay is a minute: the first booking is shown as if it had run out."""
        body = route.fetch().json()
        for booking in body["data"]:
            if booking["id"] == first:
                booking["status"] = "expired"
        route.fulfill(json=body)

    visitor = sit(me.id)
    visitor.page.route("**/bookings?*", as_expired)
    visitor.go("/me")
    expired = ticket(visitor.page, name).filter(has_text="Run out")
    expect(expired).to_contain_text("Your payment came later, and the tickets were booked again.")
    expect(ticket(visitor.page, name).filter(has_text="cancelled on")).to_have_count(1)


def test_a_refund_is_told_to_its_buyer_until_the_money_is_back(api: Api, sit: Sit, template: str) -> None:
    name = fresh("late")
    event_id, me = api.event(event_name=name, hold_seconds=300, payment_url=template), api.user()
    payment_id = refunded(api, event_id, me)
    visitor = sit(me.id)
    visitor.go("/me")
    mine = ticket(visitor.page, name)
    expect(mine).to_contain_text(
        "too late, and the tickets could not be booked any more. Your money is to be returned."
    )
    path = f"/events/{event_id}/refunds/{payment_id}"
    assert api.organizer.call("PATCH", path, {"done": True}).status == 200
    visitor.page.reload()
    expect(mine).to_contain_text("Your money was returned.")


def test_the_organizer_marks_a_refund_as_returned_and_undoes_a_slip(api: Api, sit: Sit) -> None:
    event_id, buyer = api.event(hold_seconds=300), api.user()
    payment_id = refunded(api, event_id, buyer)

    def is_done() -> bool:
        (row,) = api.organizer.get(f"/events/{event_id}/refunds").data
        return row["done_at"] is not None

    visitor = sit("the-organizer", "organizer")
    page = visitor.page
    visitor.go(f"/console#sale-{event_id}/records")
    row = page.get_by_role("row").filter(has_text=payment_id)
    expect(row).to_contain_text(buyer.id)
    expect(row).to_contain_text("due since")
    page.set_viewport_size({"width": 320, "height": 640})
    box = row.bounding_box()
    assert box is not None
    assert box["height"] < 300, "its words have room on a phone"
    row.get_by_role("button", name="Mark as returned").click()
    expect(row.get_by_role("button", name="Not returned after all")).to_be_focused()
    expect(row).to_contain_text("returned on")
    assert is_done()
    row.get_by_role("button", name="Not returned after all").click()
    expect(row).to_contain_text("due since")
    assert not is_done()
    row.get_by_role("button", name="Mark as returned").click()
    eventually(is_done, "it is marked")
    page.reload()
    expect(page.get_by_text("There are none.")).to_be_visible()
    page.get_by_role("button", name="Returned", exact=True).click()
    expect(row).to_contain_text("returned on")


def test_the_organizer_sets_the_payment_link_and_sees_its_secret(api: Api, sit: Sit) -> None:
    event_id = api.event(hold_seconds=300)
    visitor = sit("the-organizer", "organizer", permissions=["clipboard-read", "clipboard-write"])
    visitor.expected.append("status of 422")
    page = visitor.page
    visitor.go(f"/console#sale-{event_id}")
    page.get_by_role("button", name="Change", exact=True).click()
    link = page.get_by_label("Payment link", exact=True)
    link.fill("https://shop.example/{event_id}/{payment_id}/{signature}")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Lacks {user_id} in its path, query or fragment.")).to_be_visible()
    expect(link).to_be_focused()
    whole = "https://shop.example/{event_id}/{user_id}/{payment_id}/{signature}"
    link.fill(whole)
    unpaid = page.get_by_role("dialog").get_by_role("status").last
    expect(unpaid).to_be_empty()
    offer = page.get_by_label("Offer to those who wait, in seconds")
    offer.fill("0")
    expect(unpaid).to_have_text("Tickets for people from the waiting list count at once, unpaid.")
    offer.fill("")
    hold = page.get_by_label("Seconds to confirm")
    hold.fill("0")
    expect(unpaid).to_have_text("Without seconds to confirm, a booking counts at once, unpaid.")
    hold.fill("300")
    expect(unpaid).to_be_empty()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_text("5 minutes to pay")).to_be_visible()
    assert api.anyone.get(f"/events/{event_id}/details").data["payment_url"] == whole
    page.get_by_role("button", name="Change", exact=True).click()
    expect(link).to_have_value(whole)
    secret = api.organizer.get(f"/events/{event_id}/payment-secret").data["secret"]
    assert secret not in page.content()
    page.get_by_role("button", name="Show the secret of the payment link").click()
    expect(page.get_by_label("Secret of the payment link")).to_have_value(secret)
    page.get_by_role("button", name="Copy the secret").click()
    expect(page.get_by_text("The secret is copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
