"""A user's account in the browser: a session that renews itself, a new password, the account's removal."""

import json
import re
import time
from typing import Any

import jwt
import pytest
from playwright.sync_api import Page, expect

from tests.contract.api import Api
from tests.contract.client import fresh
from tests.contract.test_accounts import PASSWORD, log_in, register

from .chromium import PATIENCE_MS, Visitor
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)

NEW_PASSWORD = "another horse battery"
LOOK_MS = 31_000
"""A little longer than the pause between two looks at the session's end."""


def account(api: Api, sit: Sit, **claims: int) -> tuple[str, Visitor]:
    """The email of a new account, and a window in which it is signed in with a token that expires in ten minutes."""
    email = f"{fresh('ann')}@example.com"
    user_id = f"account:{register(api, email).data['user']['id']}"
    now = int(time.time())
    token = api.bearer(user_id, {"sub": user_id, "iat": now, "exp": now + 600, "auth_time": now, **claims})
    visitor = sit()
    visitor.sign_in(token.authorization or "", email)
    return email, visitor


def claims_of(page: Page) -> dict[str, Any]:
    """The claims of the token that the page has stored."""
    stored = json.loads(page.evaluate("localStorage.getItem('booking.session')"))
    claims: dict[str, Any] = jwt.decode(stored["token"], options={"verify_signature": False})
    return claims


def test_a_page_that_stays_open_renews_its_session(api: Api, sit: Sit) -> None:
    event_id = api.event(max_per_user=4, available_tickets=9)
    _, visitor = account(api, sit)
    page = visitor.page
    page.clock.install()
    visitor.go(f"/sale/{event_id}")
    page.get_by_label("How many?").select_option("3")
    page.clock.fast_forward(LOOK_MS)
    page.wait_for_function(
        "(end) => JSON.parse(atob(localStorage['booking.session'].split('.')[1])).exp > end", arg=time.time() + 1_800
    )
    expect(page.get_by_label("How many?")).to_have_value("3")
    with page.expect_request("**/book") as booking:
        page.get_by_role("button", name="Book 3 tickets").click()
    used = (booking.value.headers["authorization"]).removeprefix("Bearer ")
    assert jwt.decode(used, options={"verify_signature": False}) == claims_of(page)
    expect(page.get_by_role("heading", name="3 tickets are yours")).to_be_visible()


def test_a_session_is_not_renewed_a_day_after_the_login(api: Api, sit: Sit) -> None:
    now = int(time.time())
    _, visitor = account(api, sit, exp=now + 240, auth_time=now + 240 - 86_400)
    page = visitor.page
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visitor.go(f"/sale/{api.event()}")
    expect(page.get_by_role("button", name="Book 1 ticket")).to_be_visible()
    page.clock.fast_forward(LOOK_MS)
    expect(page.locator("#account")).to_contain_text("Sign-in ends in")
    assert not [url for url in asked if url.endswith("/auth/renew")]


def test_a_password_is_changed_and_other_devices_are_signed_out(api: Api, sit: Sit) -> None:
    email, visitor = account(api, sit)
    other = api.with_token(log_in(api, email).data["token"])
    visitor.expected.append("status of 401")
    page = visitor.page
    visitor.go("/account")
    change = page.locator("form", has_text="Change your password")
    change.get_by_label("Your password").fill("not my password")
    change.get_by_label("New password").fill("short")
    change.get_by_role("button", name="Change the password").click()
    expect(change.get_by_text("At least 8 characters, please.")).to_be_visible()
    change.get_by_label("New password").fill(NEW_PASSWORD)
    change.get_by_role("button", name="Change the password").click()
    expect(change.get_by_role("alert")).to_have_text("That is not your password.")
    expect(change.get_by_label("Your password")).to_be_focused()
    change.get_by_label("Your password").fill(PASSWORD)
    change.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("status").first).to_contain_text("Your new password is set.")
    assert other.get("/bookings").status == 401
    assert log_in(api, email, NEW_PASSWORD).status == 200
    visitor.go(f"/sale/{api.event()}")
    page.get_by_role("button", name="Book 1 ticket").click()
    expect(page.get_by_role("heading", name="The ticket is yours")).to_be_visible()


def test_an_account_is_removed_once_its_bookings_are_given_back(api: Api, sit: Sit) -> None:
    email, visitor = account(api, sit)
    visitor.expected.append("status of 409")
    page = visitor.page
    caller = api.with_token(log_in(api, email).data["token"])
    event_id = api.event()
    caller.book(event_id)
    visitor.go("/account")
    remove = page.locator("form", has_text="Remove your account")
    for answer in ("Keep it", "Remove it"):
        remove.get_by_label("Your password").fill(PASSWORD)
        remove.get_by_role("button", name="Remove the account").click()
        page.get_by_role("button", name=answer).click()
    expect(remove.get_by_role("alert")).to_contain_text("Give them back first")
    caller.cancel(event_id)
    remove.get_by_label("Your password").fill(PASSWORD)
    remove.get_by_role("button", name="Remove the account").click()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_role("status").first).to_contain_text("Your account is removed.")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert log_in(api, email).status == 401


def test_an_account_of_another_provider_is_not_changed_here(api: Api, sit: Sit) -> None:
    visitor = sit(fresh("user"))
    visitor.go("/account")
    expect(visitor.page.get_by_text("Your account is not kept by this service")).to_be_visible()
    expect(visitor.page.locator("#content form")).to_have_count(0)


@pytest.mark.parametrize("path", ["/sale/{event_id}", "/reset", "/console"])
def test_without_mail_no_link_is_offered_and_the_console_says_so(api: Api, sit: Sit, path: str) -> None:
    visitor = sit("the-organizer", "organizer") if path == "/console" else sit()
    page = visitor.page
    visitor.go(path.format(event_id=api.event()))
    if path == "/console":
        expect(page.get_by_text("No mail is sent")).to_be_visible()
    elif path == "/reset":
        expect(page.get_by_text("This service sends no mail")).to_be_visible()
    else:
        expect(page.get_by_role("button", name="I need an account")).to_be_visible()
    expect(page.get_by_role("button", name="Forgot your password?")).to_have_count(0)


def test_the_console_says_how_an_account_becomes_an_organizers(api: Api, sit: Sit) -> None:
    _, visitor = account(api, sit)
    visitor.go("/console")
    expect(visitor.page.get_by_text("booking user add EMAIL --organizer")).to_be_visible()


@pytest.mark.parametrize("pays", [False, True])
def test_the_time_of_a_hold_stays_in_sight_while_its_user_signs_in_again(api: Api, sit: Sit, pays: bool) -> None:
    link = "https://shop.example/{event_id}/{user_id}/{payment_id}/{signature}"
    event_id = api.event(hold_seconds=3_600, payment_url=link if pays else None)
    now = int(time.time())
    _, visitor = account(api, sit, exp=now + 240, auth_time=now + 240 - 86_400)  # so soon that the page offers it
    page = visitor.page
    visitor.go(f"/sale/{event_id}")
    page.get_by_role("button", name="Book 1 ticket").click()
    expect(page.get_by_role("heading", name="Your ticket is held")).to_be_visible()
    page.get_by_role("button", name="Sign in again").click()
    ticket = page.locator("#ticket")
    expect(ticket.get_by_role("heading", name="Sign in to pay" if pays else "Sign in to confirm")).to_be_visible()
    expect(ticket.get_by_text("Pay within" if pays else "Confirm within")).to_be_visible()
    expect(ticket.get_by_role("timer")).to_have_text(re.compile(r"^5\d:\d\d$"))
    expect(page.get_by_label("Password")).to_be_focused()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("button", name="Pay for 1 ticket" if pays else "Confirm 1 ticket")).to_be_visible()
