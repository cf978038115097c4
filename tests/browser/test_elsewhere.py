"""What the buyer's page shows of changes made elsewhere: on the waiting list, in another window, by the organizer."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

from playwright.sync_api import Page, Route, expect

from tests.contract.api import Api
from tests.contract.client import fresh

from .chromium import PATIENCE_MS
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)

TIDINGS_MS = 20_000
"""Longer than the page delays announcements of the waiting list or waits for the stream after its own action."""


def ticket_says(page: Page, name: str) -> None:
    """Asserts that the part of the page about the ticket gets this heading."""
    expect(page.locator("#ticket").get_by_role("heading", name=name)).to_be_visible()


def test_a_question_is_withdrawn_if_a_waiting_place_becomes_a_ticket(api: Api, sit: Sit) -> None:
    event_id, (buyer,) = api.sold_out(hold_seconds=600)
    me = api.user()
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
    """Books one ticket that has to be confirmed, and waits until the stream has sent it, too."""
    with page.expect_response("**/book"):
        page.get_by_role("button", name="Book 1 ticket").click()
    ticket_says(page, "Your ticket is held")
    expect(page.locator(".left")).to_contain_text("1 held")


def test_an_action_in_another_window_is_described_as_such(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=2, hold_seconds=600)
    me = api.user()
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


def test_signing_out_hides_a_booking_in_progress(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=2)
    visitor = sit((me := api.user()).id)
    page = visitor.page
    under_way: list[Route] = []
    page.route("**/book", lambda route: under_way.append(route))
    visitor.go(f"/sale/{event_id}")
    with page.expect_request("**/book"):
        page.get_by_role("button", name="Book 1 ticket").click()
    page.get_by_role("button", name="Sign out").click()
    ticket_says(page, "Sign in to book")
    with page.expect_response("**/book"):
        under_way[0].continue_()
    expect(page.locator(".left")).to_contain_text("1 of 2")
    ticket_says(page, "Sign in to book")
    expect(page.locator("#news")).to_be_empty()
    assert me.get(f"/events/{event_id}/booking").data["status"] == "confirmed"


def test_a_booking_is_not_asked_for_again_in_the_name_of_the_next_person(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=2)
    visitor = sit(fresh("first"))
    visitor.expected.append("ERR_CONNECTION_RESET")
    page = visitor.page
    asked: list[str] = []

    def lose(route: Route) -> None:
        asked.append(route.request.url)
        route.abort("connectionreset")

    page.route("**/book", lose)
    visitor.go(f"/sale/{event_id}")
    page.get_by_role("button", name="Book 1 ticket").click()
    expect(page.locator("#news")).to_contain_text("No answer yet.")
    page.get_by_role("button", name="Sign out").click()
    visitor.register(f"{fresh('next')}@example.com")
    tried = len(asked)
    page.unroute("**/book")
    ticket_says(page, "Your ticket")
    page.get_by_role("button", name="Book 1 ticket").click()
    ticket_says(page, "The ticket is yours")
    assert len(asked) == tried
    assert api.look(event_id)["tickets_sold"] == 1


def test_a_booking_undone_before_the_stream_sent_it_disappears(api: Api, sit: Sit) -> None:
    """The stream sends changes. Between two of its reads a user may book and lose the booking again."""
    event_id = api.event(available_tickets=2, hold_seconds=600)
    me = api.user()
    visitor = sit(me.id)
    visitor.expected.append("status of 404")  # no booking any more
    page = visitor.page
    page.clock.install()

    def undo(route: Route) -> None:
        answer = route.fetch()
        me.cancel(event_id)
        route.fulfill(response=answer)

    page.route("**/book", undo)
    visitor.go(f"/sale/{event_id}")
    page.get_by_role("button", name="Book 1 ticket").click()
    ticket_says(page, "Your ticket is held")
    page.clock.fast_forward(TIDINGS_MS)
    expect(page.get_by_role("button", name="Book 1 ticket")).to_be_visible()


def test_position_updates_are_announced_sparingly_and_the_last_is_right(api: Api, sit: Sit) -> None:
    """Otherwise a screen reader would read nothing else while a long waiting list moves."""
    event_id, buyers = api.sold_out(available_tickets=4)
    for other in api.users(4):
        other.book(event_id)
    me = api.user()
    me.book(event_id)
    page = (visitor := sit(me.id)).page
    page.clock.install()
    visitor.go(f"/sale/{event_id}")
    place = page.locator("#ticket .time")
    expect(place).to_have_text("5")
    page.clock.pause_at(page.evaluate("Date.now() / 1000") + 1)
    news = page.locator("#news")
    for left, buyer in enumerate(buyers):
        buyer.cancel(event_id)
        expect(place).to_have_text(str(4 - left))
        expect(news).to_have_text("You moved up to place 4.")
    page.clock.fast_forward(TIDINGS_MS)
    expect(news).to_have_text("You moved up to place 1.")


def test_the_headline_of_the_form_follows_the_state_of_the_sale(api: Api, sit: Sit) -> None:
    event_id = api.event(opens_at="2099-01-01T00:00:00Z")
    page = (visitor := sit()).page
    visitor.go(f"/sale/{event_id}")
    lead = page.locator("#ticket .quiet")
    expect(lead).to_contain_text("ready when the sale opens")
    page.get_by_label("Email").fill("somebody")
    api.organizer.call("PATCH", f"/events/{event_id}", {"opens_at": None})
    expect(lead).to_have_text("It takes a moment.")
    api.organizer.call("PATCH", f"/events/{event_id}", {"closes_at": "2020-01-01T00:00:00Z"})
    ticket_says(page, "Sign in to see your booking")
    expect(lead).to_have_text("The sale is over.")
    expect(page.get_by_label("Email")).to_have_value("somebody")


def test_a_buyer_who_wants_too_many_tickets_sees_how_many_are_left(api: Api, sit: Sit) -> None:
    for limit, name in ((0, "Book 2 tickets"), (None, "Join the waiting list")):
        event_id = api.event(available_tickets=3, max_per_user=2, waitlist_limit=limit)
        api.user().book(event_id, 2)
        page = (visitor := sit(fresh("many"))).page
        visitor.go(f"/sale/{event_id}")
        page.get_by_label("How many?").select_option("2")
        expect(page.get_by_role("button", name=name)).to_be_visible()
        expect(page.locator("#why")).to_contain_text("Only 1 ticket is left.")
        page.get_by_label("How many?").select_option("1")
        page.get_by_role("button", name="Book 1 ticket").click()
        ticket_says(page, "The ticket is yours")


def test_every_phase_of_a_sale_is_announced(api: Api, sit: Sit) -> None:
    """Also a phase that the page's own clock shows before the service has sent it."""
    event_id = api.event(opens_at=(datetime.now(UTC) + timedelta(seconds=6)).isoformat())
    stream = f"event: availability\ndata: {json.dumps(api.look(event_id))}\n\n"
    page = (visitor := sit()).page
    page.route("**/live?*", lambda route: route.fulfill(body=stream, headers={"Date": formatdate(usegmt=True)}))
    visitor.go(f"/sale/{event_id}")
    expect(page.locator("#state")).to_have_text("Opens soon")
    spoken = page.locator("#milestone")
    expect(spoken).to_have_text("The sale is open.")
    page.unroute("**/live?*")
    for change, words in (
        ({"paused": True}, "The sale is paused."),
        ({"paused": False}, "The sale is open."),
        ({"closes_at": "2099-01-01T00:00:00Z", "opens_at": "2098-01-01T00:00:00Z"}, "The sale is not open yet."),
        ({"opens_at": None, "closes_at": "2020-01-01T00:00:00Z"}, "The sale is over."),
    ):
        api.organizer.call("PATCH", f"/events/{event_id}", change)
        expect(spoken).to_have_text(words)


def test_a_computer_that_wakes_up_reads_the_state_again(api: Api, sit: Sit) -> None:
    """Its connection may be broken without a sign, and the clock of the countdowns may have stopped meanwhile."""
    event_id = api.event()
    page = (visitor := sit()).page
    page.add_init_script("window.slept = 0; const clock = Date.now; Date.now = () => clock() + window.slept;")
    visitor.go(f"/sale/{event_id}")
    expect(page.locator(".left")).to_contain_text("1 of 1")
    for ends in ("window.slept = 600_000", "dispatchEvent(new Event('online'))"):
        with page.expect_response("**/live?*"):
            page.evaluate(ends)
    expect(page.locator("#connection")).to_be_empty()
