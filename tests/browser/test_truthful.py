"""What the buyer's page says is true at the moment, and can be perceived by everyone."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.contract.api import Api
from tests.contract.client import fresh

from .chromium import PATIENCE_MS
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)


def test_a_refusal_is_withdrawn_when_it_is_no_longer_true(api: Api, sit: Sit) -> None:
    event_id, _ = api.sold_out(waitlist_limit=1)
    visitor = sit(fresh("full"))
    visitor.expected.append("status of 409")
    page = visitor.page
    visitor.go(f"/sale/{event_id}")
    join = page.get_by_role("button", name="Join the waiting list")
    expect(join).to_be_visible()
    api.user().book(event_id)
    join.click()
    expect(page.locator("#trouble")).to_contain_text("the waiting list is full as well")
    api.organizer.change(event_id, capacity=214)
    expect(page.locator(".left")).to_contain_text("212 of 214 tickets left")
    expect(page.locator("#trouble")).to_be_empty()


@pytest.mark.parametrize(("waits", "words"), [(False, "would be on sale again"), (True, "would go to the next person")])
def test_a_ticket_goes_to_the_next_person_only_if_there_is_one(api: Api, sit: Sit, waits: bool, words: str) -> None:
    event_id = api.event(hold_seconds=600)
    me = api.user()
    me.book(event_id)
    if waits:
        api.user().book(event_id)
    page = (visitor := sit(me.id)).page
    visitor.go(f"/sale/{event_id}")
    page.get_by_role("button", name="Give it back").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(words)
    dialog.get_by_role("button", name="Give it back").click()
    expect(page.locator("#news")).to_contain_text("next person in line" if waits else "on sale again")


def test_the_end_of_a_hold_is_told_without_inventing_a_next_person(api: Api, sit: Sit) -> None:
    event_id = api.event(hold_seconds=2)
    page = (visitor := sit(fresh("slow"))).page
    visitor.go(f"/sale/{event_id}")
    page.get_by_role("button", name="Book 1 ticket").click()
    expect(page.locator("#news")).to_contain_text("Your time ran out at")
    expect(page.locator("#news")).not_to_contain_text("next person")


def test_signing_in_promises_only_what_is_possible(api: Api, sit: Sit) -> None:
    sold_out, _ = api.sold_out(waitlist_limit=0)
    full, _ = api.sold_out()
    paused = api.event()
    api.organizer.change(paused, paused=True)
    titles = {
        api.event(): "Sign in to book",
        full: "Sign in to join the waiting list",
        sold_out: "Sign in to see your booking",
        paused: "Sign in to see your booking",
    }
    page = (visitor := sit()).page
    for event_id, title in titles.items():
        visitor.go(f"/sale/{event_id}")
        expect(page.locator("#ticket").get_by_role("heading", name=title)).to_be_visible()


def test_an_hour_that_is_there_twice_is_told_apart(api: Api, sit: Sit) -> None:
    """Summer time in Berlin ended on 25 October 2026: the clock showed 2:30 twice."""
    page = (visitor := sit(timezone_id="Europe/Berlin")).page
    for closed, words in (("2026-10-25T00:30:00Z", "02:30 CEST"), ("2026-10-25T01:30:00Z", "02:30 CET")):
        event_id = api.event(closes_at=closed)
        visitor.go(f"/sale/{event_id}")
        expect(page.locator("#window")).to_contain_text(words)
        expect(page.locator("#rules")).to_contain_text(words)


@pytest.mark.parametrize(
    ("zone", "opens", "closes", "begins", "now"),
    [
        ("Asia/Kolkata", "23:30 GMT+5:30", "01:30 GMT+5:30", "23:30 IST (Asia/Kolkata)", r"GMT\+5:30"),
        (None, "14:00 GMT-4", "16:00 GMT-4", "14:00 GMT-4", "GMT-[45]"),
    ],
)
def test_times_are_told_in_the_events_zone_or_the_readers_and_it_is_named(
    api: Api, sit: Sit, zone: str | None, opens: str, closes: str, begins: str, now: str
) -> None:
    name = fresh("zone")
    event_id = api.event(
        event_name=name,
        time_zone=zone,
        opens_at="2030-05-01T18:00:00Z",
        closes_at="2030-05-01T20:00:00Z",
        starts_at="2030-05-02T18:00:00Z",
    )
    page = (visitor := sit("the-organizer", "organizer", timezone_id="America/New_York")).page
    visitor.go("/")
    expect(page.locator("#sales > li", has_text=name)).to_contain_text(opens)
    visitor.go(f"/sale/{event_id}")
    expect(page.locator("#window")).to_contain_text(opens)
    expect(page.locator("#rules")).to_contain_text(closes)
    expect(page.locator(".about")).to_contain_text(begins)
    visitor.go(f"/console#sale-{event_id}")
    rules = page.locator(".detail > .quiet").first
    expect(page.locator(".sentence")).to_contain_text(opens)
    expect(rules).to_contain_text(closes)
    expect(page.locator(".legend .zone")).to_have_text(re.compile(f"Times in {now}"))
    api.organizer.change(event_id, opens_at=None, hold_seconds=600)
    api.organizer.book(event_id)
    expect(rules).not_to_contain_text(opens)
    page.get_by_role("link", name="People").click()
    expect(page.get_by_role("table", name="People")).to_contain_text(re.compile(f"Held until .* {now}"))
    visitor.go("/me")
    expect(page.locator("li", has_text=name)).to_contain_text(re.compile(f"held for you until .* {now}"))


def test_a_zone_that_an_older_browser_lacks_does_not_break_the_page(api: Api, sit: Sit) -> None:
    event_id = api.event(opens_at="2030-05-01T18:00:00Z", time_zone="Asia/Kolkata")
    page = (visitor := sit(timezone_id="America/New_York")).page
    page.add_init_script(
        """const Format = Intl.DateTimeFormat;
        Intl.DateTimeFormat = function (locale, options) {
            if (options?.timeZone === "Asia/Kolkata") throw new RangeError("an unknown zone");
            return new Format(locale, options);
        };"""
    )
    visitor.go(f"/sale/{event_id}")
    expect(page.locator("#window")).to_contain_text("14:00 GMT-4")


@pytest.mark.parametrize("path", ["/", "/me", "/sale/{event_id}", "/nowhere"])
def test_the_first_key_leads_past_the_header(api: Api, sit: Sit, path: str) -> None:
    page = (visitor := sit()).page
    visitor.expected.append("status of 404")
    visitor.go(path.format(event_id=api.event()))
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def test_a_live_region_is_there_before_it_has_something_to_say(api: Api, sit: Sit) -> None:
    """A screen reader does not watch a region that is not displayed."""
    page = (visitor := sit(fresh("reader"))).page
    visitor.go(f"/sale/{api.event()}")
    expect(page.get_by_role("button", name="Book 1 ticket")).to_be_visible()
    shown = "[...document.querySelectorAll('[role=status], [role=alert]')].filter((one) => !one.closest('[hidden]'))"
    displays = page.evaluate(f"{shown}.map((one) => getComputedStyle(one).display)")
    assert len(displays) >= 4
    assert "none" not in displays


def test_high_contrast_shows_the_parts_of_the_bar_and_every_edge(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=3, hold_seconds=600)
    api.user().book(event_id)
    buyer = api.user()
    buyer.book(event_id)
    buyer.confirm(event_id)
    page = (visitor := sit(fresh("contrast"), forced_colors="active")).page
    visitor.go(f"/sale/{event_id}")
    expect(page.locator(".left")).to_contain_text("1 of 3")
    assert len({colour(page, part) for part in (".bar .sold", ".bar .held", ".bar .free")}) == 3
    for edge in (".bar", "#state", "#ticket button"):
        assert page.locator(edge).first.evaluate("(one) => getComputedStyle(one).borderTopStyle") == "solid"


def colour(page: Page, part: str) -> str:
    """The background of a part."""
    found: str = page.locator(part).first.evaluate("(one) => getComputedStyle(one).backgroundColor")
    return found


def test_a_german_visitor_books_waits_and_gives_back_in_german(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=1, hold_seconds=600)
    page = (visitor := sit(fresh("deutsch"), locale="de-AT")).page
    visitor.go(f"/sale/{event_id}")
    assert page.evaluate("document.documentElement.lang") == "de"
    page.get_by_role("button", name="1 Ticket buchen").click()
    expect(page.get_by_role("heading", name="Ihr Ticket ist vorgemerkt")).to_be_visible()
    page.get_by_role("button", name="1 Ticket bestätigen").click()
    expect(page.locator("#news")).to_have_text("Bestätigt. Bis dann!")
    page.get_by_role("link", name="Meine Tickets").first.click()
    page.get_by_role("button", name="Buchung stornieren").click()
    page.get_by_role("dialog").get_by_role("button", name="Buchung stornieren").click()
    expect(page.locator("#news")).to_contain_text("Storniert.")
    visitor.go("/")
    expect(page.get_by_role("heading", name="Verkäufe")).to_be_visible()
