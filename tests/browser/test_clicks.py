"""A click, from the wish to the proof: what is clicked meanwhile waits its turn, and what the stream shows counts."""

from playwright.sync_api import Route, expect

from tests.contract.api import Api
from tests.contract.client import fresh

from .chromium import PATIENCE_MS
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)

LOST = "ERR_CONNECTION_RESET"


def losing_the_answer(route: Route) -> None:
    """The service gets the request and decides; its answer never arrives."""
    route.fetch()
    route.abort("connectionreset")


def losing_the_request(route: Route) -> None:
    """The service gets nothing."""
    route.abort("connectionreset")


def test_a_booking_whose_answers_are_lost_is_proven_by_the_stream(api: Api, sit: Sit) -> None:
    event_id = api.event(hold_seconds=600)
    visitor = sit(fresh("proof"))
    visitor.expected.append(LOST)
    page = visitor.page
    page.route("**/book", losing_the_answer)
    visitor.go(f"/sale/{event_id}")
    page.get_by_role("button", name="Book 1 ticket").click()
    expect(page.get_by_role("heading", name="Your ticket is held")).to_be_visible()
    page.get_by_role("button", name="Confirm 1 ticket").click()
    expect(page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
    expect(page.locator("#news")).to_contain_text("Confirmed.")
    assert api.look(event_id)["tickets_sold"] == 1


def test_a_booking_that_the_stream_has_proven_is_not_sent_again(api: Api, sit: Sit) -> None:
    event_id = api.event(hold_seconds=600)
    visitor = sit(fresh("once"))
    visitor.expected.append(LOST)
    page = visitor.page
    tries: list[Route] = []

    def lose(route: Route) -> None:
        tries.append(route)
        losing_the_answer(route)

    page.route("**/book", lose)
    visitor.go(f"/sale/{event_id}")
    page.get_by_role("button", name="Book 1 ticket").click()
    expect(page.locator("#news")).to_have_text("Held for you. Confirm it in time.")
    expect(page.locator("#ticket")).not_to_have_attribute("aria-busy", "true")
    proven = len(tries)
    page.clock.install()
    page.clock.fast_forward(60_000)
    page.get_by_role("button", name="Confirm 1 ticket").click()
    expect(page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
    assert len(tries) == proven


def test_a_click_during_the_repetition_of_another_is_sent_after_it(api: Api, sit: Sit) -> None:
    event_id = api.event(hold_seconds=600)
    me = api.user()
    me.book(event_id)
    visitor = sit(me.id)
    visitor.expected.append(LOST)
    page = visitor.page
    page.route("**/confirm", losing_the_request)
    visitor.go(f"/sale/{event_id}")
    page.get_by_role("button", name="Confirm 1 ticket").click()
    expect(page.locator("#news")).to_contain_text("No answer yet.")
    page.get_by_role("button", name="Give it back").click()
    page.get_by_role("dialog").get_by_role("button", name="Give it back").click()
    sent: list[str] = []
    page.on("response", lambda response: sent.append(response.url.rpartition("/")[2]))
    page.unroute("**/confirm")
    expect(page.get_by_role("button", name="Book 1 ticket")).to_be_visible()
    assert [one for one in sent if one in ("confirm", "cancel")] == ["confirm", "cancel"]
    assert api.look(event_id)["available_tickets"] == 1


def test_a_refused_click_takes_back_the_clicks_that_rested_on_it(api: Api, sit: Sit) -> None:
    event_id = api.event(hold_seconds=600)
    me = api.user()
    me.book(event_id)
    visitor = sit(me.id)
    visitor.expected += [LOST, "status of 404", "status of 410"]
    page = visitor.page
    page.route("**/confirm", losing_the_request)
    visitor.go(f"/sale/{event_id}")
    page.get_by_role("button", name="Confirm 1 ticket").click()
    expect(page.locator("#news")).to_contain_text("No answer yet.")
    page.get_by_role("button", name="Give it back").click()
    page.get_by_role("dialog").get_by_role("button", name="Give it back").click()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url.rpartition("/")[2]))
    me.cancel(event_id)
    page.unroute("**/confirm")
    expect(page.locator("#trouble")).to_contain_text("You have no booking here.")
    page.get_by_role("button", name="Book 1 ticket").click()
    expect(page.get_by_role("heading", name="Your ticket is held")).to_be_visible()
    assert "cancel" not in sent


def test_a_connection_that_the_browser_knows_to_be_lost_is_told_at_once(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=5)
    visitor = sit(fresh("tunnel"))
    visitor.expected.append("ERR_INTERNET_DISCONNECTED")
    page = visitor.page
    visitor.go(f"/sale/{event_id}")
    expect(page.locator(".left")).to_contain_text("5 of 5")
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now() / 1000") + 1)
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_contain_text("The connection is lost.")
    api.user().book(event_id)
    page.context.set_offline(False)
    expect(page.locator(".left")).to_contain_text("4 of 5")
    expect(page.locator("#connection")).to_be_empty()


def test_a_stream_that_is_silent_for_twenty_seconds_is_opened_again(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=5)
    page = (visitor := sit(fresh("silence"))).page
    page.clock.install()
    visitor.go(f"/sale/{event_id}")
    expect(page.locator(".left")).to_contain_text("5 of 5")
    with page.expect_request("**/live?*"):
        page.clock.fast_forward(21_000)
    expect(page.locator("#connection")).to_be_empty()
