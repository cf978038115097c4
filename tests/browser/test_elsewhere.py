"""What the buyer's page makes of what happens elsewhere: on the waiting list, in another window, at the organizer's."""

from playwright.sync_api import Page, expect

from tests.contract.house import House

from .chromium import PATIENCE_MS
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)


def ticket_says(page: Page, name: str) -> None:
    """Asserts that the ticket's side comes to have this heading."""
    expect(page.locator("#ticket").get_by_role("heading", name=name)).to_be_visible()


def test_a_question_is_taken_back_when_a_place_becomes_a_ticket(house: House, sit: Sit) -> None:
    event_id, (buyer,) = house.sold_out(hold_seconds=600)
    me = house.user()
    me.book(event_id)
    visitor = sit(me.id)
    page = visitor.page
    visitor.go(f"/sale/{event_id}")
    page.get_by_role("button", name="Leave the waiting list").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    buyer.cancel(event_id)
    ticket_says(page, "Your ticket is held")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("heading", name="Your ticket is held")).to_be_focused()
    assert me.get(f"/events/{event_id}/booking").data["status"] == "held"


def book(page: Page) -> None:
    """Books one ticket that has to be confirmed, and waits until the stream has told of it, too."""
    with page.expect_response("**/book"):
        page.get_by_role("button", name="Book 1 ticket").click()
    ticket_says(page, "Your ticket is held")
    expect(page.locator(".left")).to_contain_text("1 held")


def test_what_was_done_in_another_window_is_called_so(house: House, sit: Sit) -> None:
    event_id = house.event(available_tickets=2, hold_seconds=600)
    me = house.user()
    page = (visitor := sit(me.id)).page
    visitor.go(f"/sale/{event_id}")
    book(page)
    expect(page.locator("#news")).to_have_text("Held for you. Confirm it in time.")
    me.cancel(event_id)
    expect(page.locator("#news")).to_contain_text("by you in another window")
    book(page)
    me.confirm(event_id)
    ticket_says(page, "The ticket is yours")
    expect(page.locator("#news")).to_be_empty()
