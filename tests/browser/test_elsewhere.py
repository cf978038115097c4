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
