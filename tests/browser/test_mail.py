"""The links of mails, followed in a browser: to a new password, and to a ticket that waits to be confirmed."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.contract.client import fresh
from tests.contract.test_accounts import log_in
from tests.fixtures.mail_server import TAKEN
from tests.outbox.mailing import Mailing, mailing, text_of

from .chromium import PATIENCE_MS, PHONE, WIDE, Visitor
from .test_looks import faults, small_targets

expect.set_options(timeout=PATIENCE_MS)

PASSWORD = "correct horse battery"
NEW_PASSWORD = "another horse battery"
PUBLIC_URL = "http://tickets.test"


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailing]:
    with mailing(tmp_path_factory.mktemp("mail") / "data", PUBLIC_URL) as running:
        running.server.on_data = lambda _: TAKEN
        yield running


@pytest.fixture
def windows(mails: Mailing, browser: Browser) -> Iterator[list[Visitor]]:
    """The windows that a test opens; none may have reported an error."""
    opened: list[Visitor] = []
    yield opened
    complaints = [complaint for visitor in opened for complaint in visitor.unexpected()]
    for visitor in opened:
        visitor.leave()
    assert complaints == []


def new_window(mails: Mailing, browser: Browser, windows: list[Visitor]) -> Visitor:
    """A window of a browser that nobody has signed in with."""
    windows.append(Visitor.in_browser(browser, mails.api.base_url))
    return windows[-1]


def link_in(mails: Mailing, text: str) -> str:
    """The link of a mail, at the address at which the service really listens."""
    (link,) = re.findall(rf"^{PUBLIC_URL}/(?:sale|reset)\S*$", text, re.MULTILINE)
    return str(link).replace(PUBLIC_URL, mails.api.base_url)


def test_a_forgotten_password_is_chosen_anew_by_the_link_of_a_mail(
    mails: Mailing, browser: Browser, windows: list[Visitor]
) -> None:
    buyer = mails.buyer()
    asking = new_window(mails, browser, windows).page
    asking.goto(f"/sale/{mails.api.event()}")
    asking.get_by_role("button", name="Forgot your password?").click()
    asking.get_by_label("Email").fill(buyer.email)
    asking.get_by_role("button", name="Send me a link").click()
    expect(asking.get_by_role("status").filter(has_text="is on its way")).to_be_visible()
    link = link_in(mails, text_of(mails.server.wait_for(buyer.email)))
    visitor = new_window(mails, browser, windows)
    page = visitor.page
    page.goto(link)
    page.get_by_label("New password").fill("short")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_text("At least 8 characters, please.")).to_be_visible()
    for size, colours in ((PHONE, "dark"), (WIDE, "light")):
        page.set_viewport_size(size)  # type: ignore[arg-type]  # a mapping with these very keys
        page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]  # one of two words
        assert (faults(page), small_targets(page), visitor.overflows()) == ([], [], False)
    page.get_by_label("New password").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_text(f"you are signed in as {buyer.email}")).to_be_visible()
    assert "token" not in page.url
    assert log_in(mails.api, buyer.email, NEW_PASSWORD).status == 200
    again = new_window(mails, browser, windows)
    again.expected.append("status of 401")
    again.page.goto(link)
    again.page.get_by_label("New password").fill(NEW_PASSWORD)
    again.page.get_by_role("button", name="Set the password").click()
    expect(again.page.get_by_text("This link does not work any more")).to_be_visible()
    expect(again.page.get_by_role("button", name="Send me a link")).to_be_visible()


def test_a_buyer_whom_the_organizer_cancels_is_told_the_reason(
    mails: Mailing, browser: Browser, windows: list[Visitor]
) -> None:
    buyer = mails.buyer()
    event_id = mails.api.event()
    buyer.caller.book(event_id)
    visitor = new_window(mails, browser, windows)
    claims = {**mails.api.claims("the-organizer"), "role": "organizer"}
    visitor.sign_in(mails.api.bearer("the-organizer", claims).authorization or "", "organizer@example.com")
    visitor.go(f"/console#sale-{event_id}/people")
    page = visitor.page
    page.get_by_role("button", name=f"Cancel {buyer.email}").click()
    page.get_by_label("Reason").fill("The hall is smaller than we thought.")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
    expect(page.get_by_text(f"{buyer.email}: cancelled.")).to_be_visible()
    told = text_of(mails.server.wait_for(buyer.email))
    assert "The reason: The hall is smaller than we thought." in told
    changes = mails.api.organizer.get(f"/events/{event_id}/changes").data
    assert [one.get("reason") for one in changes][-1] == "The hall is smaller than we thought."


def test_a_promoted_buyer_without_a_tab_follows_the_mail_and_confirms_in_time(
    mails: Mailing, browser: Browser, windows: list[Visitor]
) -> None:
    event_id, (holder,) = mails.api.sold_out(hold_seconds=300, event_name=fresh("Encore"))
    email = f"{fresh('waiting')}@example.com"
    first = new_window(mails, browser, windows)
    first.go(f"/sale/{event_id}")
    first.register(email)
    first.page.get_by_role("button", name="Join the waiting list").click()
    expect(first.page.get_by_text("You are next.")).to_be_visible()
    first.page.close()
    holder.cancel(event_id)
    message = mails.server.wait_for(email)
    assert message["Subject"].startswith("Confirm now: 1 ticket for Encore")
    page = new_window(mails, browser, windows).page
    page.goto(link_in(mails, text_of(message)))
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Your ticket is held")).to_be_visible()
    page.get_by_role("button", name="Confirm 1 ticket").click()
    expect(page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
    assert mails.api.look(event_id)["tickets_sold"] == 1
