"""What the buyer's page does if the network, the clock or the session fails."""

import time
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from booking.web.problems import KINDS
from tests.contract.api import TOKEN_SECONDS, Api
from tests.contract.client import fresh

from .chromium import PATIENCE_MS, Visitor
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)

FOR_PROGRAMS = {
    "malformed_json",
    "malformed_request",
    "transfer_encoding_unsupported",
    "not_found",
    "invalid_signature",
    "payment_mismatch",
    "refund_due",
    "refund_not_found",
    "method_not_allowed",
    "body_too_large",
    "unsupported_media_type",
    "capacity_below_sold",  # the console says it beside the field
    "precondition_failed",
    "too_many_webhooks",
    "webhook_not_found",
}
"""Codes that no click of a buyer can bring about."""


def test_every_refusal_that_a_buyer_can_meet_has_words_of_its_own(api: Api, sit: Sit) -> None:
    visitor = sit()
    visitor.go("/")
    told: dict[str, str] = visitor.page.evaluate(
        """async (codes) => {
            const { inWords, hasWords } = await import("/static/words.js");
            const refusal = (code) => ({ code, message: "", data: {}, faults: [], requestId: "an-id", retryAfter: 3 });
            return Object.fromEntries(codes.map((code) => [code, hasWords(code) ? inWords(refusal(code)) : ""]));
        }""",
        sorted(KINDS),
    )
    assert {code for code, words in told.items() if not words} == FOR_PROGRAMS
    for code, words in told.items():
        assert "undefined" not in words, code
        assert code not in words
        assert "Idempotency" not in words


def test_from_sign_up_to_giving_back_by_keyboard_alone(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=5, max_per_user=3, hold_seconds=600)
    visitor = sit()
    visitor.go(f"/sale/{event_id}")
    page, keys = visitor.page, visitor.page.keyboard
    expect(page.get_by_label("Email")).to_be_visible()
    walk_to(visitor, "I need an account")
    keys.press("Enter")
    walk_to(visitor, "Email", backwards=True)
    keys.type(f"{fresh('keys')}@example.com")
    keys.press("Tab")
    keys.type("correct horse battery staple")
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Your tickets")).to_be_focused()
    walk_to(visitor, "How many?")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    walk_to(visitor, "Book 3 tickets")
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Your 3 tickets are held")).to_be_focused()
    walk_to(visitor, "Confirm 3 tickets")
    keys.press("Space")
    expect(page.get_by_role("heading", name="3 tickets are yours")).to_be_focused()
    walk_to(visitor, "Cancel the booking")
    keys.press("Enter")
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    keys.press("Escape")
    assert api.look(event_id)["tickets_sold"] == 3
    expect(page.get_by_role("button", name="Cancel the booking")).to_be_focused()
    walk_to(visitor, "My tickets")
    keys.press("Enter")
    name = page.locator("h3 a")
    expect(page.get_by_label("How many do you keep?")).to_be_visible()
    walk_to(visitor, "How many do you keep?")
    keys.press("ArrowDown")
    walk_to(visitor, "Give back the rest")
    keys.press("Enter")
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    walk_to(visitor, "Give it back")
    keys.press("Enter")
    expect(page.locator("#news")).to_have_text("Changed. You keep 1 ticket.")
    assert api.look(event_id)["tickets_sold"] == 1
    expect(name).to_be_focused()
    walk_to(visitor, "Cancel the booking")
    keys.press("Enter")
    walk_to(visitor, "Cancel the booking")
    keys.press("Enter")
    expect(page.locator("#before").get_by_text("Cancelled", exact=True)).to_be_visible()
    expect(name).to_be_focused()
    assert api.look(event_id)["tickets_sold"] == 0


def walk_to(visitor: Visitor, name: str, *, backwards: bool = False) -> None:
    """Presses Tab until the control of that name has the focus, and asserts that this can be seen."""
    for _ in range(20):
        visitor.page.keyboard.press("Shift+Tab" if backwards else "Tab")
        focused = visitor.page.evaluate(
            """() => {
                const at = document.activeElement;
                const style = getComputedStyle(at);
                return [(at.labels?.[0] ?? at).textContent, style.outlineStyle, parseFloat(style.outlineWidth)];
            }"""
        )
        if focused[0] == name:
            assert focused[1] == "solid"
            assert focused[2] >= 2
            return
    raise AssertionError(f"no way to {name!r} by keyboard")


def losing_the_request(route: Route) -> None:
    """The service gets nothing, which the page cannot tell from a lost answer."""
    route.abort("connectionreset")


def unknown(route: Route) -> None:
    """The service answers that it does not know."""
    body = '{"code": "outcome_unknown", "detail": "…", "error": true}'
    route.fulfill(status=503, headers={"Retry-After": "1"}, content_type="application/problem+json", body=body)


@pytest.mark.parametrize(
    ("fails", "words"), [(losing_the_request, "No answer yet."), (unknown, "its answer got lost.")]
)
def test_a_click_whose_answer_is_lost_is_repeated_and_counts_once(api: Api, sit: Sit, fails: Any, words: str) -> None:
    event_id = api.event(available_tickets=3)
    visitor = sit(fresh("lost"))
    visitor.expected += ["ERR_CONNECTION_RESET", "status of 503"]
    keys: list[str] = []

    def first_time(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            fails(route)
        else:
            route.continue_()

    visitor.page.route("**/book", first_time)
    visitor.go(f"/sale/{event_id}")
    visitor.page.evaluate(
        """() => {
            window.said = [];
            new MutationObserver(() => said.push(document.querySelector("#news").textContent))
                .observe(document.querySelector("#news"), {childList: true, characterData: true, subtree: true});
        }"""
    )
    with visitor.page.expect_response(lambda response: response.url.endswith("/book") and response.ok) as answer:
        visitor.page.get_by_role("button", name="Book 1 ticket").click()
    expect(visitor.page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert answer.value.status == 201
    assert api.look(event_id)["tickets_sold"] == 1
    said = visitor.page.evaluate("window.said.join(' ')")
    assert words in said
    assert "it counts only once" in said


def test_the_end_of_a_hold_is_explained(api: Api, sit: Sit) -> None:
    event_id = api.event(hold_seconds=2)
    visitor = sit(fresh("slow"))
    visitor.go(f"/sale/{event_id}")
    visitor.page.get_by_role("button", name="Book 1 ticket").click()
    expect(visitor.page.get_by_role("heading", name="Your ticket is held")).to_be_visible()
    expect(visitor.page.locator("#news")).to_contain_text("Your time ran out at")
    expect(visitor.page.get_by_role("button", name="Book 1 ticket")).to_be_visible()


def test_the_countdown_uses_the_servers_clock(api: Api, sit: Sit) -> None:
    """With a browser whose clock is five hours slow, and set while the page is open."""
    event_id = api.event(opens_at="2099-01-01T00:00:00Z")
    opens_ms = 4_070_908_800_000
    visitor = sit()
    visitor.page.add_init_script("Date.now = () => performance.timeOrigin - 5 * 3600e3;")
    visitor.go(f"/sale/{event_id}")
    expect(visitor.page.get_by_role("timer")).to_contain_text("days")
    text = visitor.page.get_by_role("timer").inner_text()
    days, clock = text.replace(",", "").split(" days ")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    shown = ((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds
    assert abs(opens_ms / 1000 - time.time() - shown) < 60


def test_a_sale_is_shown_open_only_if_it_certainly_is(sit: Sit) -> None:
    """A Date header is exact to two seconds only, and a click in the first of them would be refused."""
    visitor = sit()
    visitor.go("/")
    states: list[str] = visitor.page.evaluate(
        """async () => {
            const { addSample } = await import("/static/clock.js"); // not the page's own, which is versioned
            const { stateOf } = await import("/static/sale_state.js");
            const at = (time) => new Date(time).toISOString();
            const sale = (opens, state) => ({ paused: false, closes_at: null, opens_at: at(opens), state });
            const [said, moment] = [1e12, performance.now()];
            addSample(moment, moment, said, 2000);
            return [sale(said, "scheduled"), sale(said + 999, "scheduled"), sale(said + 999, "open")].map(stateOf);
        }"""
    )
    assert states == ["open", "scheduled", "open"]


def test_an_ended_session_is_resumed(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=3)
    visitor = sit()
    visitor.expected.append("status of 401")
    email = f"{fresh('again')}@example.com"
    visitor.go(f"/sale/{event_id}")
    visitor.register(email)
    visitor.page.get_by_role("button", name="Book 1 ticket").click()
    expect(visitor.page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
    expired = api.bearer("nobody", {"sub": "nobody", "exp": 1}).authorization
    visitor.page.evaluate(
        "([token, email]) => localStorage.setItem('booking.session', JSON.stringify({token, email}))",
        [(expired or "").removeprefix("Bearer "), email],
    )
    visitor.page.reload()
    expect(visitor.page.get_by_role("alert").first).to_contain_text("Your sign-in has ended.")
    expect(visitor.page.locator(".left")).to_contain_text("2 of 3 tickets left")
    expect(visitor.page.get_by_label("Email")).to_have_value(email)
    visitor.page.get_by_label("Password").fill("correct horse battery")
    visitor.page.get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_role("heading", name="The ticket is yours")).to_be_visible()


def test_a_sign_in_is_said_to_end_soon_and_then_to_have_ended(api: Api, sit: Sit) -> None:
    event_id = api.event()
    visitor = sit(fresh("late"))
    page = visitor.page
    page.clock.install()
    visitor.go(f"/sale/{event_id}")
    account = page.locator("#account")
    expect(page.get_by_role("button", name="Book 1 ticket")).to_be_visible()
    expect(account).not_to_contain_text("ends in")
    page.clock.fast_forward((TOKEN_SECONDS - 115) * 1000)
    expect(account).to_contain_text("Sign-in ends in 2 minutes")
    page.clock.fast_forward(120_000)
    expect(account).to_contain_text("Sign-in has ended")
    page.get_by_role("button", name="Sign in again").click()
    expect(page.get_by_label("Password")).to_be_focused()


def test_a_connection_that_breaks_is_made_again(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=3)
    visitor = sit()
    visitor.expected.append("ERR_FAILED")
    tries: list[str] = []
    visitor.page.route("**/live?*", lambda route: route.abort() if len(tries) < 3 else route.continue_())
    visitor.page.on("requestfailed", lambda request: tries.append(request.url))
    visitor.go(f"/sale/{event_id}")
    expect(visitor.page.locator("#connection")).to_contain_text("The sale cannot be read at the moment.")
    expect(visitor.page.get_by_role("heading", name="Sign in to book")).to_be_visible()
    expect(visitor.page.locator(".left")).to_contain_text("3 of 3 tickets left")
    expect(visitor.page.locator("#connection")).to_be_empty()
    api.user().book(event_id)
    expect(visitor.page.locator(".left")).to_contain_text("2 of 3 tickets left")
    assert len(tries) == 3


def test_a_page_that_gets_no_stream_asks_instead(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=3)
    visitor = sit(fresh("crowd"))
    visitor.expected.append("status of 503")
    body = '{"code": "overloaded", "detail": "…"}'
    visitor.page.route("**/live?*", lambda route: route.fulfill(status=503, body=body))
    visitor.expected.append("status of 404")  # no booking yet
    visitor.go(f"/sale/{event_id}")
    visitor.page.get_by_role("button", name="Book 1 ticket").click()
    expect(visitor.page.get_by_role("heading", name="The ticket is yours")).to_be_visible()
    expect(visitor.page.locator(".left")).to_contain_text("2 of 3 tickets left")


def test_a_wrong_password_and_a_taken_email_are_explained(api: Api, sit: Sit) -> None:
    event_id = api.event()
    visitor = sit()
    visitor.expected += ["status of 401", "status of 409", "status of 422"]
    email = f"{fresh('taken')}@example.com"
    visitor.go(f"/sale/{event_id}")
    visitor.register("not an address")
    expect(visitor.page.get_by_text("Enter an email address")).to_be_visible()
    expect(visitor.page.get_by_label("Email")).to_be_focused()
    visitor.page.get_by_label("Email").fill("somebody@nowhere")  # good enough for a browser
    visitor.page.get_by_role("button", name="Create account").click()
    expect(visitor.page.get_by_text("Enter an email address")).to_be_visible()
    expect(visitor.page.get_by_label("Email")).to_be_focused()
    visitor.page.get_by_label("Email").fill(email)
    visitor.page.get_by_role("button", name="Create account").click()
    visitor.page.get_by_role("button", name="Sign out").click()
    visitor.register(email)
    expect(visitor.page.get_by_text("There is an account with this email already.")).to_be_visible()
    visitor.page.get_by_label("Password").fill("another one")
    visitor.page.get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_text("That email and password do not belong together.")).to_be_visible()
    assert visitor.page.evaluate("localStorage.length") == 0
