"""What a page shows while a request is still under way: on a slow network each request that waits for another costs."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, Route, expect

from tests.contract.api import Api
from tests.contract.client import fresh

from .chromium import PATIENCE_MS
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def unanswered(page: Page, addresses: str) -> Iterator[list[Route]]:
    """The requests to these addresses, which get no answer until the end."""
    held: list[Route] = []
    page.route(addresses, lambda route: held.append(route))  # the driver marks what it calls, and cannot mark a method
    yield held
    for route in held:
        route.continue_()
    page.unroute(addresses)


@pytest.mark.parametrize("path", ["/", "/sale/{}", "/me", "/console", "/console/webhooks", "/account", "/reset"])
def test_no_file_of_a_page_is_asked_for_by_a_script(api: Api, sit: Sit, path: str) -> None:
    event_id = api.event()
    visitor = sit(fresh("organizer"), role="organizer")
    causes: dict[str, str] = {}
    session = visitor.page.context.new_cdp_session(visitor.page)
    session.send("Network.enable")
    session.on(
        "Network.requestWillBeSent",
        lambda sent: causes.__setitem__(sent["request"]["url"].rpartition("/")[2], sent["initiator"]["type"]),
    )
    visitor.go(path.format(event_id))
    files = {name: cause for name, cause in causes.items() if name.endswith((".js", ".css"))}
    assert len(files) >= 2
    assert set(files.values()) == {"parser"}


def test_a_sale_shows_its_state_and_the_form_before_its_stream_answers(api: Api, sit: Sit) -> None:
    event_id = api.event(hold_seconds=60)
    visitor = sit()
    page = visitor.page
    with unanswered(page, "**/live**") as asked:
        visitor.go(f"/sale/{event_id}")
        expect(page.locator("#state")).to_have_text("On sale")
        expect(page.locator("#rules")).to_contain_text("one ticket")
        expect(page.get_by_role("heading", name="Sign in to book")).to_be_visible()
        page.get_by_label("Email").fill("ada@example.com")
        assert len(asked) == 1
        expect(page.locator(".figure")).to_have_text("")
    expect(page.locator(".left")).to_contain_text("1 of 1 ticket left")
    expect(page.get_by_label("Email")).to_have_value("ada@example.com")


def test_a_page_shows_that_a_sale_is_sold_out_before_its_stream_answers(api: Api, sit: Sit) -> None:
    event_id, _ = api.sold_out()
    visitor = sit()
    with unanswered(visitor.page, "**/live**"):
        visitor.go(f"/sale/{event_id}")
        expect(visitor.page.locator("#state")).to_have_text("Sold out")
        expect(visitor.page.get_by_role("heading", name="Sign in to join the waiting list")).to_be_visible()


def test_nothing_is_offered_before_it_is_known_what_its_buyer_has(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=2)
    me = api.user()
    me.book(event_id)
    visitor = sit(me.id)
    with unanswered(visitor.page, "**/live**"):
        visitor.go(f"/sale/{event_id}")
        expect(visitor.page.locator("#state")).to_have_text("On sale")
        expect(visitor.page.locator(".ticket")).to_be_hidden()
    expect(visitor.page.get_by_role("heading", name="The ticket is yours")).to_be_visible()


def test_a_countdown_waits_for_the_services_clock(api: Api, sit: Sit) -> None:
    event_id = api.event(opens_at="2100-01-01T00:00:00Z")
    visitor = sit()
    page = visitor.page
    with unanswered(page, "**/live**"):
        visitor.go(f"/sale/{event_id}")
        expect(page.locator("#state")).to_have_text("Opens soon")
        expect(page.get_by_text("Do it now, so that you are ready")).to_be_visible()
        expect(page.locator("#countdown")).to_be_hidden()
        expect(page).to_have_title(api.look(event_id)["name"])
    expect(page.locator("#countdown")).to_contain_text("days")


def test_the_console_shows_a_sale_of_the_list_before_its_stream_answers(api: Api, sit: Sit) -> None:
    visitor = sit(fresh("organizer"), role="organizer")
    page = visitor.page
    visitor.go("/console")
    page.get_by_role("button", name="New sale").click()
    page.get_by_label("Name").fill("Slow")
    page.get_by_label("Tickets", exact=True).fill("7")
    page.get_by_role("button", name="Create the sale").click()
    expect(page.get_by_role("heading", name="Slow")).to_be_visible()
    with unanswered(page, "**/live**"):
        visitor.go("/console")
        expect(page.locator(".counters")).to_contain_text("Free7")
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
    with unanswered(page, "**/events?**"):
        page.reload()
        expect(page.locator(".counters")).to_contain_text("Free7")


def test_my_tickets_have_their_events_names_with_the_first_answer(api: Api, sit: Sit) -> None:
    name = fresh("Night")
    event_id = api.event(event_name=name, venue="Große Halle")
    me = api.user()
    me.book(event_id)
    visitor = sit(me.id)
    with unanswered(visitor.page, "**/events/**"):
        visitor.go("/me")
        expect(visitor.page.get_by_role("heading", name=name)).to_be_visible()
        expect(visitor.page.get_by_text("Große Halle")).to_be_visible()
