"""Several tabs of one browser share one live connection, and none of them misses a change."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.contract.api import Api, open_api
from tests.contract.client import fresh
from tests.fixtures.front_proxies import nginx
from tests.fixtures.service import running_service
from tests.fixtures.waiting import eventually

from .chromium import PATIENCE_MS, Visitor
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)

TABS = 8
"""Two more than the connections that a browser opens to a server over HTTP/1.1."""

PROMISED_MS = 5_000

HIDE = """() => {
    window.isHidden = false;
    Object.defineProperty(document, "hidden", { get: () => window.isHidden });
}"""


@pytest.fixture(scope="module")
def own_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service for these tests alone."""
    with running_service(tmp_path_factory.mktemp("tabs") / "data") as service, open_api(service) as api:
        yield api


@pytest.fixture
def own_api(own_service: Api) -> Api:
    """A service to which no page listens yet."""
    eventually(lambda: listeners(own_service) == 0, "the pages of the last test are closed")
    return own_service


@contextmanager
def visiting(browser: Browser, api: Api, user: str, base_url: str | None = None) -> Iterator[Visitor]:
    visitor = Visitor.in_browser(browser, base_url or api.base_url)
    visitor.sign_in(api.user(user).authorization or "", f"{user}@example.com")
    yield visitor
    assert visitor.unexpected() == []
    visitor.leave()


def listeners(api: Api) -> int:
    """The open live streams."""
    (found,) = re.findall(r"^booking_live_listeners\{.*\} (\S+)$", api.http.get("/metrics").text, re.MULTILINE)
    return int(float(found))


def opened(visitor: Visitor, path: str) -> Page:
    """Another tab of the visitor's browser."""
    page = visitor.page.context.new_page()
    page.goto(path)
    return page


def shows(page: Page, left: str, timeout: int = PATIENCE_MS) -> None:
    """Asserts that a sale's page shows so many tickets."""
    expect(page.locator(".left")).to_contain_text(left, timeout=timeout)


def test_eight_tabs_of_a_sale_leave_a_connection_for_a_click(browser: Browser, own_api: Api, tmp_path: Path) -> None:
    port = int(own_api.base_url.rpartition(":")[2])
    event_id = own_api.event(available_tickets=5)
    with nginx(tmp_path, port, port) as url, visiting(browser, own_api, fresh("tabs"), url) as visitor:
        visitor.go(f"/sale/{event_id}")
        tabs = [visitor.page]
        for _ in range(TABS - 1):
            tabs.append(opened(visitor, f"/sale/{event_id}"))
            shows(tabs[-1], "5 of 5", PROMISED_MS)
        tabs[0].get_by_role("button", name="Book 1 ticket").click()
        for tab in tabs:
            expect(tab.get_by_role("heading", name="The ticket is yours")).to_be_visible(timeout=PROMISED_MS)
            shows(tab, "4 of 5")
        eventually(lambda: listeners(own_api) == 1, "all tabs share one connection")


def test_a_tab_takes_over_from_the_one_that_is_closed_and_no_change_is_missed(browser: Browser, own_api: Api) -> None:
    sales = [own_api.event(available_tickets=5) for _ in range(2)]
    with visiting(browser, own_api, "heir") as visitor:
        visitor.go(f"/sale/{sales[0]}")
        shows(visitor.page, "5 of 5")
        heirs = [opened(visitor, f"/sale/{sale}") for sale in sales]
        for heir in heirs:
            shows(heir, "5 of 5")
        visitor.page.close()
        own_api.user("heir").book(sales[0])
        own_api.user().book(sales[1])
        expect(heirs[0].get_by_role("heading", name="The ticket is yours")).to_be_visible()
        shows(heirs[1], "4 of 5")
        own_api.user("heir").book(sales[1])
        expect(heirs[1].get_by_role("heading", name="The ticket is yours")).to_be_visible()
        eventually(lambda: listeners(own_api) == 1, "all tabs share one connection")


def test_a_hidden_tab_listens_only_while_its_user_waits_for_something(browser: Browser, own_api: Api) -> None:
    event_id = own_api.event(available_tickets=1, hold_seconds=600)
    with visiting(browser, own_api, "hider") as visitor:
        page = visitor.page
        visitor.go(f"/sale/{event_id}")
        page.evaluate(HIDE)
        shows(page, "1 of 1")

        def hide(hidden: bool) -> None:
            page.evaluate(
                "(hidden) => { window.isHidden = hidden; document.dispatchEvent(new Event('visibilitychange')); }",
                hidden,
            )

        hide(True)
        eventually(lambda: listeners(own_api) == 0, "a hidden tab holds no connection")
        own_api.user("hider").book(event_id)
        hide(False)
        expect(page.get_by_role("heading", name="Your ticket is held")).to_be_visible()
        hide(True)
        own_api.user("hider").confirm(event_id)
        expect(page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
        eventually(lambda: listeners(own_api) == 0, "there is nothing more to wait for")


def test_another_user_of_the_same_browser_hears_nothing_of_the_first(browser: Browser, own_api: Api) -> None:
    event_id = own_api.event(available_tickets=5)
    with visiting(browser, own_api, "first") as visitor:
        visitor.go(f"/sale/{event_id}")
        other = opened(visitor, f"/sale/{event_id}")
        visitor.page.get_by_role("button", name="Book 1 ticket").click()
        expect(other.get_by_role("heading", name="The ticket is yours")).to_be_visible()
        other.get_by_role("button", name="Sign out").click()
        for tab in (visitor.page, other):
            expect(tab.get_by_role("heading", name="Sign in to book")).to_be_visible()
            shows(tab, "4 of 5")
        own_api.user().book(event_id)
        for tab in (visitor.page, other):
            shows(tab, "3 of 5")


@pytest.mark.parametrize("missing", ["locks", "BroadcastChannel"])
def test_a_browser_that_cannot_share_has_a_connection_for_each_tab(
    browser: Browser, own_api: Api, missing: str
) -> None:
    event_id = own_api.event(available_tickets=5)
    with visiting(browser, own_api, "alone") as visitor:
        owner = "Navigator.prototype" if missing == "locks" else "window"
        visitor.page.context.add_init_script(f"delete {owner}.{missing};")
        visitor.go(f"/sale/{event_id}")
        tabs = [visitor.page, opened(visitor, f"/sale/{event_id}")]
        for tab in tabs:
            shows(tab, "5 of 5")
        own_api.user("alone").book(event_id)
        for tab in tabs:
            expect(tab.get_by_role("heading", name="The ticket is yours")).to_be_visible()
        eventually(lambda: listeners(own_api) == 2, "each tab has its own")


def test_a_frozen_tab_does_not_keep_the_others_from_listening(api: Api, sit: Sit) -> None:
    """A phone freezes tabs that are not in front, and a frozen tab answers nothing."""
    event_id = api.event(available_tickets=5)
    visitor = sit(fresh("frozen"))
    visitor.go(f"/sale/{event_id}")
    shows(visitor.page, "5 of 5")
    session = visitor.page.context.new_cdp_session(visitor.page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    other = opened(visitor, f"/sale/{event_id}")
    shows(other, "5 of 5")
    api.user().book(event_id)
    shows(other, "4 of 5")
    session.send("Page.setWebLifecycleState", {"state": "active"})
    api.user().book(event_id)
    for tab in (visitor.page, other):
        shows(tab, "3 of 5")
