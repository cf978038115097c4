"""A whole sale, played by three browsers at once: an organizer in the console, and two buyers who want one ticket."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.contract.api import Api
from tests.contract.client import fresh
from tests.fixtures.commands import run_command

from .chromium import PATIENCE_MS, launch
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)

TEN_MINUTES = re.compile(r"(10:00|9:\d\d)")
"""The values that a hold's countdown may show during a test."""

PASSWORD = "correct horse battery staple"  # an account of this test's own


@pytest.fixture
def browsers(driver: Playwright) -> Iterator[list[Browser]]:
    """Three browsers, each a process with a profile of its own."""
    running = [launch(driver) for _ in range(3)]
    yield running
    for browser in running:
        browser.close()


def organizer_account(api: Api) -> str:
    """The email of an organizer made with the service's own command."""
    email = f"{fresh('organizer')}@example.com"
    added = run_command(["user", "add", email, "--organizer"], api.environment, f"{PASSWORD}\n")
    assert added.returncode == 0, added.stderr
    return email


def local(moment: datetime) -> str:
    """What a person in UTC types into a field for a date and a time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def shows(page: Page, name: str, value: str) -> None:
    """Asserts that the console's counter shows `value` in the end."""
    expect(page.locator(".counters > div", has_text=name).locator("dd")).to_have_text(value)


def test_a_whole_sale_played_by_three_browsers(api: Api, sit: Sit, browsers: list[Browser], tmp_path: Path) -> None:
    email, name = organizer_account(api), f"{fresh('Sale')} <img src=x onerror=alert(1)>"
    organizer, ada, grace = (sit(at=browser, timezone_id="UTC") for browser in browsers)

    # The organizer signs in, and creates a sale that opens in an hour.
    cached = organizer.page
    organizer.go("/console")
    cached.get_by_label("Email").fill(email)
    cached.get_by_label("Password").fill(PASSWORD)
    cached.get_by_role("button", name="Sign in").click()
    cached.get_by_role("button", name="New sale").click()
    cached.get_by_label("Name").fill(name)
    cached.get_by_label("Tickets", exact=True).fill("1")
    cached.get_by_label("Seconds to confirm").fill("600")
    cached.get_by_label("Waiting list, in tickets").fill("2")
    cached.get_by_label("Opens").fill(local(datetime.now(UTC) + timedelta(hours=1)))
    cached.get_by_role("button", name="Create the sale").click()
    expect(cached.get_by_role("heading", name=name)).to_be_visible()
    shows(cached, "Free", "1")
    event_id = int(cached.url.rpartition("-")[2])

    # Both buyers come early, and make accounts while the countdown runs.
    for buyer, who in ((ada, "ada"), (grace, "grace")):
        buyer.go(f"/sale/{event_id}")
        expect(buyer.page.get_by_role("heading", level=1)).to_have_text(name)
        expect(buyer.page.locator("#state")).to_have_text("Opens soon")
        expect(buyer.page.get_by_role("timer")).to_contain_text(":")
        buyer.register(f"{fresh(who)}@example.com")
        book = buyer.page.get_by_role("button", name="Book 1 ticket")
        expect(book).to_have_attribute("aria-disabled", "true")

    # The organizer opens it in a moment; no page is reloaded.
    cached.get_by_role("button", name="Change").click()
    cached.get_by_label("Opens").fill(local(datetime.now(UTC) + timedelta(seconds=3)))
    cached.get_by_role("button", name="Save").click()
    expect(ada.page.locator("#state")).to_have_text("On sale")
    ada.page.get_by_role("button", name="Book 1 ticket").click()
    expect(ada.page.get_by_role("heading", name="Your ticket is held")).to_be_visible()
    expect(ada.page.get_by_role("timer")).to_have_text(TEN_MINUTES)
    shows(cached, "Held", "1")

    # Another user is on the waiting list before Grace, and a third finds it full.
    linus = api.user()
    assert linus.book(event_id).data["position"] == 1
    expect(grace.page.locator("#state")).to_have_text("Sold out")
    grace.page.get_by_role("button", name="Join the waiting list").click()
    expect(grace.page.locator("#ticket .time")).to_have_text("2")
    expect(grace.page.get_by_text("1 person is ahead of you.")).to_be_visible()
    shows(cached, "Waiting", "2")
    late = sit(fresh("late"), at=browsers[1])
    late.expected.append("status of 409")
    late.go(f"/sale/{event_id}")
    late.page.get_by_role("button", name="Join the waiting list").click()
    expect(late.page.get_by_role("alert")).to_contain_text("the waiting list is full as well")

    # Ada confirms, and then changes her mind: one moves up, and then it is Grace's turn.
    ada.page.get_by_role("button", name="Confirm 1 ticket").click()
    expect(ada.page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
    shows(cached, "Sold", "1")
    ada.page.get_by_role("button", name="Cancel the booking").click()
    ada.page.get_by_role("dialog").get_by_role("button", name="Cancel the booking").click()
    expect(ada.page.locator("#news")).to_contain_text("Cancelled.")
    expect(grace.page.locator("#ticket .time")).to_have_text("1")
    expect(grace.page.locator("#news")).to_have_text("You moved up to place 1.")
    assert linus.cancel(event_id).status == 200
    expect(grace.page.get_by_role("heading", name="Your ticket is held")).to_be_visible()
    expect(grace.page).to_have_title(re.compile(f"Confirm {TEN_MINUTES.pattern} · {re.escape(name)}"))
    grace.page.get_by_role("button", name="Confirm 1 ticket").click()
    expect(grace.page.get_by_role("heading", name="The ticket is yours")).to_be_visible()

    # The organizer sees what came of it, takes the list along, and ends it.
    cached.get_by_role("link", name="Records").click()
    totals = cached.locator(".figures > div")
    expect(totals.filter(has_text="From the waiting list").locator("dd")).to_have_text("2")
    expect(totals.filter(has_text="Cancelled").locator("dd")).to_have_text("2")
    expect(cached.locator(".ranking")).to_contain_text("Waiting list full")
    expect(cached.get_by_role("img", name="The whole sale").locator("rect.promoted")).not_to_have_count(0)
    cached.get_by_role("button", name="Audit again").click()
    expect(cached.get_by_text("The books balance")).to_be_visible()
    with cached.expect_download() as download:
        cached.get_by_role("button", name="Export as CSV").click()
    download.value.save_as(tmp_path / "bookings.csv")
    lines = (tmp_path / "bookings.csv").read_text().splitlines()
    assert lines[0].startswith("id,event_id,user_id")
    assert sorted(line.split(",")[4] for line in lines[1:]) == ["cancelled", "cancelled", "confirmed"]
    cached.get_by_role("link", name="Sale", exact=True).click()
    cached.get_by_role("button", name="Pause").click()
    expect(late.page.locator("#state")).to_have_text("Paused")
    expect(ada.page.get_by_text("The organizer has paused the sale.")).to_be_visible()
    assert api.look(event_id)["tickets_sold"] == 1
