"""The pages if a proxy serves them below a path and leaves it in the requests."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.contract.api import open_api
from tests.contract.client import fresh
from tests.fixtures.service import running_service

from .chromium import PATIENCE_MS, Visitor

expect.set_options(timeout=PATIENCE_MS)


PUBLIC_URL = "https://example.com/tickets"


def test_a_sale_is_found_bought_and_watched_below_a_path(browser: Browser, tmp_path: Path) -> None:
    settings = {"BOOKING_ROOT_PATH": "/tickets", "BOOKING_PUBLIC_URL": PUBLIC_URL}
    with running_service(tmp_path / "data", settings) as service, open_api(service) as api:
        name = fresh("night")
        event_id = api.event(event_name=name, available_tickets=5)
        visitor = Visitor.in_browser(browser, service.base_url)
        page = visitor.page
        visitor.go("/tickets/")
        page.get_by_role("link", name=name).click()
        page.wait_for_url(f"**/tickets/sale/{event_id}")
        assert page.locator("meta[property='og:url']").get_attribute("content") == f"{PUBLIC_URL}/sale/{event_id}"
        visitor.register(f"{fresh('ada')}@example.com")
        page.get_by_role("button", name="Book 1 ticket").click()
        expect(page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
        api.user().book(event_id)
        expect(page.locator("#stock")).to_contain_text("3 of 5 tickets left")
        visitor.go("/tickets/docs")
        expect(page.get_by_role("heading", name="Booking").first).to_be_visible()
        assert visitor.unexpected() == []
        visitor.leave()
