"""The page of one's own tickets: what became of each booking, and what can be done with it."""

from playwright.sync_api import Locator, Page, expect

from tests.contract.api import Api
from tests.contract.client import fresh

from .chromium import PATIENCE_MS
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)

NOTICES = """() => {
    window.asked = 0;
    window.told = [];
    window.isHidden = false;
    Object.defineProperty(document, "hidden", { get: () => window.isHidden });
    window.Notification = class {
        static permission = "default";
        static async requestPermission() {
            window.asked += 1;
            return (Notification.permission = "granted");
        }
        constructor(title, { body }) {
            window.told.push(`${title}. ${body}`);
        }
    };
}"""


def ticket(part: Page | Locator, name: str) -> Locator:
    """The booking of the event of this name, in a part of the page."""
    page = part.page if isinstance(part, Locator) else part
    return part.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))


def test_the_bar_of_a_hold_shows_how_much_of_it_is_left(api: Api, sit: Sit) -> None:
    event_id = api.event(hold_seconds=600)
    me = api.user()
    me.book(event_id)
    assert api.organizer.call("PATCH", f"/events/{event_id}", {"hold_seconds": 6_000}).status == 200
    visitor = sit(me.id)
    for path in ("/me", f"/sale/{event_id}"):
        visitor.go(path)
        shown = "() => [...document.querySelectorAll('progress')].some(({ value }) => value > 0 && value <= 0.1)"
        visitor.page.wait_for_function(shown)


def test_every_booking_is_listed_with_what_became_of_it(api: Api, sit: Sit) -> None:
    me = api.user()
    names = {kind: fresh(kind) for kind in ("kept", "held", "waited", "given", "lapsed", "offered")}
    kept = api.event(event_name=names["kept"], available_tickets=9, max_per_user=3)
    held = api.event(event_name=names["held"], hold_seconds=600)
    waited, _ = api.sold_out(event_name=names["waited"])
    given = api.event(event_name=names["given"])
    lapsed = api.event(event_name=names["lapsed"], hold_seconds=1)
    offered, (seller,) = api.sold_out(event_name=names["offered"], hold_seconds=600, offer_seconds=1)
    me.book(kept, 3)
    for event_id in (held, waited, given, lapsed, offered):
        me.book(event_id)
    me.cancel(given)
    seller.cancel(offered)
    visitor = sit(me.id)
    page = visitor.page
    visitor.go("/me")
    expect(ticket(page, names["kept"])).to_contain_text("3 tickets, booked on")
    expect(ticket(page, names["held"]).get_by_role("button", name="Confirm 1 ticket")).to_be_visible()
    expect(ticket(page, names["waited"])).to_contain_text("Your place is 1.")
    before = page.get_by_role("region", name="Before")
    expect(ticket(before, names["given"])).to_contain_text("1 ticket, cancelled on")
    expect(ticket(before, names["lapsed"])).to_contain_text("held for you until")
    expect(ticket(before, names["offered"])).to_contain_text("Your offer of 1 ticket ran out on")


def test_a_ticket_is_confirmed_shown_and_given_back(api: Api, sit: Sit) -> None:
    name = fresh("whole")
    event_id, (seller,) = api.sold_out(event_name=name, hold_seconds=600)
    seller.confirm(event_id)
    me = api.user()
    me.book(event_id)
    visitor = sit(me.id)
    page = visitor.page
    visitor.go("/me")
    mine = ticket(page, name)
    expect(mine).to_contain_text("Your place is 1.")
    seller.cancel(event_id)
    mine.get_by_role("button", name="Confirm 1 ticket").click()
    expect(page.locator("#news")).to_contain_text("Confirmed.")
    mine.get_by_role("button", name="Show the ticket").click()
    code = page.get_by_role("img", name="The code of your ticket")
    expect(code).to_be_visible()
    assert code.evaluate("async (code) => { await code.decode(); return code.naturalWidth; }") > 0
    page.get_by_role("button", name="Close").click()
    expect(mine.get_by_role("button", name="Show the ticket")).to_be_focused()
    mine.get_by_role("button", name="Cancel the booking").click()
    expect(page.get_by_role("dialog")).to_contain_text("The ticket would be on sale again at once.")
    page.get_by_role("dialog").get_by_role("button", name="Cancel the booking").click()
    expect(mine).to_contain_text("Cancelled")
    expect(page.locator("#news")).to_have_text("Cancelled. What you gave back is on sale again.")
    assert api.look(event_id)["available_tickets"] == 1


def test_what_happens_elsewhere_is_shown_at_once(api: Api, sit: Sit) -> None:
    name, other = fresh("one"), fresh("other")
    event_id, later = api.event(event_name=name), api.event(event_name=other)
    me = api.user()
    me.book(event_id)
    page = (visitor := sit(me.id)).page
    visitor.go("/me")
    expect(ticket(page, name)).to_contain_text("Yours")
    me.book(later)
    expect(ticket(page, other)).to_contain_text("Yours")
    me.cancel(event_id)
    expect(ticket(page, name)).to_contain_text("Cancelled")


def test_a_visitor_without_a_session_signs_in_and_sees_their_own(api: Api, sit: Sit) -> None:
    name = fresh("mine")
    event_id = api.event(event_name=name)
    visitor = sit()
    page = visitor.page
    visitor.go("/me")
    expect(page.get_by_role("heading", name="Sign in to see your tickets")).to_be_visible()
    visitor.register(f"{fresh('me')}@example.com")
    expect(page.get_by_text("You have not booked anything yet.")).to_be_visible()
    page.get_by_role("link", name="See what is on sale").click()
    page.get_by_role("link", name=name).click()
    page.get_by_role("button", name="Book 1 ticket").click()
    page.get_by_role("link", name="My tickets").first.click()
    expect(ticket(page, name)).to_contain_text("Yours")
    page.get_by_role("button", name="Sign out").click()
    expect(ticket(page, name)).to_have_count(0)
    expect(page.get_by_role("heading", name="Sign in to see your tickets")).to_be_visible()
    assert api.look(event_id)["tickets_sold"] == 1


def test_a_notice_is_given_to_those_who_asked_for_it_and_look_elsewhere(api: Api, sit: Sit) -> None:
    name = fresh("turn")
    event_id, (seller, second) = api.sold_out(event_name=name, available_tickets=2, hold_seconds=600)
    me = api.user()
    me.book(event_id)
    page = (visitor := sit(me.id)).page
    page.add_init_script(f"({NOTICES})()")
    visitor.go(f"/sale/{event_id}")
    switch = page.get_by_role("button", name="Tell me when it is my turn")
    expect(switch).to_be_visible()
    assert page.evaluate("window.asked") == 0, "a page that has just been opened asks for nothing"
    switch.click()
    expect(page.get_by_text("You are told with a sound and a notice")).to_be_visible()
    assert page.evaluate("window.asked") == 1
    page.evaluate("window.isHidden = true; document.dispatchEvent(new Event('visibilitychange'))")
    seller.cancel(event_id)
    expect(page.get_by_role("heading", name="Your ticket is held")).to_be_visible()
    assert page.evaluate("window.told") == [f"A ticket is held for you. {name}: confirm it in time."]
    expect(switch).to_be_hidden()
    assert second.get(f"/events/{event_id}/booking").data["status"] == "held"


def test_a_part_of_the_tickets_is_given_back(api: Api, sit: Sit) -> None:
    name = fresh("part")
    event_id = api.event(event_name=name, available_tickets=9, max_per_user=4)
    me = api.user()
    me.book(event_id, 4)
    page = (visitor := sit(me.id)).page
    visitor.go("/me")
    mine = ticket(page, name)
    mine.get_by_label("How many do you keep?").select_option("1")
    mine.get_by_role("button", name="Give back the rest").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Give back 3 tickets?")
    dialog.get_by_role("button", name="Give it back").click()
    expect(page.locator("#news")).to_have_text("Changed. You keep 1 ticket.")
    expect(mine).to_contain_text("1 ticket, booked on")
    assert api.look(event_id)["available_tickets"] == 8
    expect(mine.get_by_label("How many do you keep?")).to_have_count(0)


def test_a_ticket_says_when_and_where_and_goes_into_a_calendar(api: Api, sit: Sit) -> None:
    name = fresh("night")
    event_id = api.event(
        event_name=name, starts_at="2030-05-01T18:00:00Z", time_zone="Europe/Berlin", venue="Große Halle"
    )
    me = api.user()
    me.book(event_id)
    page = (visitor := sit(me.id, timezone_id="America/New_York")).page
    visitor.go("/me")
    mine = ticket(page, name)
    expect(mine).to_contain_text("Wednesday, 1 May 2030 at 20:00 CEST · Große Halle")
    with page.expect_download() as download:
        mine.get_by_role("link", name="Add to calendar").click()
    assert "DTSTART:20300501T180000Z" in download.value.path().read_text(encoding="utf-8")
