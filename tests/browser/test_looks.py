"""Every page in every state: on a phone of 320 px and on a wide screen, light and dark, seen and read aloud."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.contract.api import Api
from tests.contract.client import Caller, fresh

from .chromium import PATIENCE_MS, PHONE, WIDE
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

TOUCH_PX_MIN = 44
LONG = "Supercalifragilistischexpialigetisch und noch viel länger " * 3

LOOKS = [("phone", PHONE, "dark"), ("wide", WIDE, "light")]
"""Each screen and each set of colours once: neither changes what the other does."""


def faults(page: Page) -> list[str]:
    """What axe finds wrong: contrast, names, roles, order of headings, landmarks."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate("(rules) => axe.run(document, {runOnly: rules})", RULES)
    assert found["passes"], "axe has looked at nothing"
    return [f"{one['id']}: {node['html']} {node['any']}" for one in found["violations"] for node in one["nodes"]]


def small_targets(page: Page) -> list[str]:
    """Buttons and fields that are hard to hit with a thumb. A link within a sentence is as high as its line."""
    small: list[str] = page.evaluate(
        """(least) => [...document.querySelectorAll("button, input, select, summary, .button, header a")]
            .map((one) => one.closest("label") ?? one) // a click on a label around a field is one on the field
            .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < least - 0.5)
            .map((one) => `${one.outerHTML} is ${one.getBoundingClientRect().height} px high`)""",
        TOUCH_PX_MIN,
    )
    return small


@dataclass(frozen=True)
class View:
    """A page in one state: its path, what is there once it is drawn, and who looks at it."""

    path: str
    drawn: str
    user: str | None = None
    role: str | None = None
    german: str = ""
    """What is there in German; empty if it is the same: a name, or a page about the API, which is in English."""
    opens: tuple[str, str] | None = None
    """The button that opens a dialog on the page, in English and in German."""


def scheduled(api: Api) -> View:
    event_id = api.event(opens_at="2099-01-01T00:00:00Z", event_name=LONG, max_per_user=4, available_tickets=9)
    return View(f"/sale/{event_id}", "How many?", fresh("me"), german="Wie viele?")


def waiting(api: Api) -> View:
    me = api.user()
    event_id, _ = api.sold_out()
    me.book(event_id)
    return View(f"/sale/{event_id}", "You are next.", me.id, german="als Nächstes dran")


def held(api: Api) -> View:
    me = api.user()
    event_id = api.event(hold_seconds=600)
    me.book(event_id)
    return View(f"/sale/{event_id}", "Confirm 1 ticket", me.id, german="1 Ticket bestätigen")


PAY_HERE = "https://shop.example/{event_id}/{user_id}/{payment_id}/{signature}"


def paying(api: Api) -> View:
    me = api.user()
    event_id = api.event(hold_seconds=600, payment_url=PAY_HERE)
    me.book(event_id)
    me.post("/checkout", {"event_id": event_id})
    return View(f"/sale/{event_id}", "Go on to the payment", me.id, german="Weiter zur Zahlung")


def refunded(api: Api, me: Caller) -> int:
    """An event for which this user has paid too late."""
    event_id = api.event(event_name=LONG, hold_seconds=600, payment_url=PAY_HERE)
    me.book(event_id)
    payment = {"event_id": event_id, "payment_id": me.post("/checkout", {"event_id": event_id}).data["payment_id"]}
    me.cancel(event_id)
    api.user().book(event_id)
    assert api.organizer.post("/confirm", {**payment, "user_id": me.id, "late": True}).code == "refund_due"
    return event_id


def my_refund(api: Api) -> View:
    me = api.user()
    refunded(api, me)
    return View("/me", "Your money is to be returned.", me.id, german="Ihr Geld bekommen Sie zurück.")


def refunds(api: Api) -> View:
    event_id = refunded(api, api.user())
    return View(
        f"/console#sale-{event_id}/records", "Mark as returned", "the-organizer", "organizer", "Als erstattet vermerken"
    )


def mine(api: Api) -> View:
    me = api.user()
    for fields in ({"max_per_user": 3, "available_tickets": 9}, {"hold_seconds": 600}, {"hold_seconds": 1}):
        me.book(api.event(event_name=LONG, **fields), 3 if "max_per_user" in fields else 1)
    event_id, _ = api.sold_out()
    me.book(event_id)
    return View("/me", "Leave the waiting list", me.id, german="Warteliste verlassen")


def console(
    api: Api,
    part: str = "",
    drawn: str = "Sold out; 2 people wait",
    german: str = "Ausverkauft; 2 Personen warten auf 2 Tickets.",
) -> View:
    event_id, _ = api.sold_out(available_tickets=2, event_name=LONG, hold_seconds=600)
    for user in api.users(2):
        user.book(event_id)
    return View(f"/console#sale-{event_id}{part}", drawn, "the-organizer", "organizer", german)


def form(api: Api) -> View:
    view = console(api)
    return replace(view, opens=("Change", "Ändern"))


def cancelling(api: Api) -> View:
    view = console(api, "/people", "Export these as CSV", "Diese als CSV exportieren")
    return replace(view, opens=("Cancel", "stornieren"))


def told(api: Api) -> View:
    price, dates = (
        {"amount": 4_500, "currency": "EUR"},
        {"starts_at": "2030-05-01T18:00:00Z", "time_zone": "Asia/Kolkata"},
    )
    event_id = api.event(description=f"Doors at 7.\n\n{LONG}", venue=LONG[:190], price=price, **dates)
    return View(f"/sale/{event_id}", "Doors at 7.")


def webhooks(api: Api) -> View:
    answer = api.organizer.post("/webhooks", {"url": f"https://shop.invalid/{LONG.split()[0]}", "description": LONG})
    assert answer.status == 201
    return View("/console/webhooks", "shop.invalid", "the-organizer", "organizer")


def sales(api: Api) -> View:
    api.event(event_name=LONG)
    return View("/", LONG.split()[0])


VIEWS: dict[str, Callable[[Api], View]] = {
    "list": sales,
    "signed out": lambda api: View(f"/sale/{api.event()}", "Sign in to book", german="Anmelden und buchen"),
    "scheduled": scheduled,
    "waiting": waiting,
    "held": held,
    "paying": paying,
    "my refund": my_refund,
    "refunds": refunds,
    "no sale": lambda _: View("/sale/987654321", "There is no such sale", german="Diesen Verkauf gibt es nicht"),
    "nothing": lambda _: View("/nothing", "nothing at this address", german="gibt es nichts"),
    "my tickets": mine,
    "my sign-in": lambda _: View("/me", "Sign in to see your tickets", german="um Ihre Tickets zu sehen"),
    "details": told,
    "console": console,
    "people": lambda api: console(api, "/people", "Export these as CSV", "Diese als CSV exportieren"),
    "form": form,
    "cancelling": cancelling,
    "records": lambda api: console(api, "/records", "The books balance", "Die Bücher stimmen:"),
    "account": lambda _: View("/account", "Change your password", "account:1", german="Auf allen anderen Geräten"),
    "account, signed out": lambda _: View("/account", "Then you can change", german="Dann können Sie"),
    "reset": lambda _: View("/reset#token=x", "This service sends no mail", german="Dieser Dienst versendet keine"),
    "gate": lambda _: View("/console", "Sign in with an organizer", german="mit dem Konto eines Veranstalters"),
    "webhooks": webhooks,
    "problem": lambda _: View("/problems/sold_out", "sold_out"),
    "problems": lambda _: View("/problems", "its meaning never changes"),
}


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
@pytest.mark.parametrize("name", VIEWS)
def test_every_page_is_accessible_on_every_screen(api: Api, sit: Sit, name: str, locale: str) -> None:
    view = VIEWS[name](api)
    drawn = (locale == "de-DE" and view.german) or view.drawn
    visitor = sit(view.user, view.role, locale=locale)
    if name in ("no sale", "nothing"):
        visitor.expected.append("status of 404")
    page = visitor.page
    visitor.go(view.path)
    page.get_by_text(drawn).first.wait_for()
    if view.opens:
        page.get_by_role("button", name=view.opens[locale == "de-DE"]).first.click()
        page.get_by_role("dialog").wait_for()
    for screen, size, colours in LOOKS:
        page.set_viewport_size(size)  # type: ignore[arg-type]  # a mapping with these very keys
        page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]  # one of two words
        assert not visitor.overflows(), f"{screen}: has to be scrolled sideways"
        assert faults(page) == [], f"{screen}, {colours}"
        assert small_targets(page) == [], screen


def test_the_reference_is_never_wider_than_its_window(sit: Sit) -> None:
    visitor = sit()
    visitor.go("/docs")
    visitor.page.get_by_role("heading", name="Create an event and open its sale").wait_for()
    for width in (320, 640, 1030, 1100, 1280, 1920):
        visitor.page.set_viewport_size({"width": width, "height": 800})
        assert not visitor.overflows(), f"{width} px"


def test_the_reference_docs_show_every_operation_in_the_colours_of_the_system(api: Api, sit: Sit) -> None:
    visitor = sit()
    visitor.go("/docs")
    for methods in api.http.get("/openapi.json").json()["paths"].values():
        for operation in methods.values():
            expect(visitor.page.get_by_role("heading", name=operation["summary"], exact=True)).to_have_count(1)
    element = visitor.page.locator("rapi-doc")
    for colours, ground in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(30, 32, 36)")):
        visitor.page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]  # one of two words
        expect(element).to_have_css("background-color", ground)


@pytest.mark.parametrize("path", ["/", "/sale/0", "/me", "/console", "/docs", "/problems", "/problems/sold_out"])
def test_every_page_links_to_the_home_page(sit: Sit, path: str) -> None:
    visitor = sit()
    if path == "/sale/0":
        visitor.expected.append("status of 404")
    visitor.go(path)
    visitor.page.get_by_role("link", name="Tickets", exact=True).click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Sales")


@pytest.mark.parametrize("path", ["/", "/sale/{event_id}", "/me", "/console"])
def test_without_scripts_a_page_says_so_and_nothing_else(api: Api, sit: Sit, path: str) -> None:
    event_id = api.event()
    visitor = sit(java_script_enabled=False)
    visitor.go(path.format(event_id=event_id))
    expect(visitor.page.locator("noscript p")).to_contain_text("This page needs JavaScript")
    expect(visitor.page.locator("noscript p")).to_be_visible()
    expect(visitor.page.get_by_text("Loading")).to_be_hidden()


def test_a_visitor_who_wants_no_motion_gets_none(api: Api, sit: Sit) -> None:
    visitor = sit(reduced_motion="reduce")
    visitor.go(f"/sale/{api.event()}")
    visitor.page.locator(".bar > span").first.wait_for(state="attached")
    durations = visitor.page.evaluate(
        "[...document.querySelectorAll('*')].map((one) => getComputedStyle(one).transitionDuration)"
    )
    assert set(durations) == {"0s"}


def test_nothing_of_a_sale_is_read_as_html(api: Api, sit: Sit) -> None:
    name = "<img src=/nowhere onerror=document.title='owned'><script>document.title='owned'</script>"
    event_id = api.event(event_name=name)
    visitor = sit("the-organizer", "organizer")
    for path in ("/", f"/sale/{event_id}", f"/console#sale-{event_id}"):
        visitor.go(path)
        visitor.page.get_by_text(name).first.wait_for()
        assert visitor.page.locator("img, body script").count() == 0
        assert visitor.page.title() != "owned"


def test_a_name_is_written_in_the_direction_of_its_own_letters(api: Api, sit: Sit) -> None:
    name = "أضواء الشتاء (2026)!"  # begins on the right, and ends with its exclamation mark on the left
    event_id = api.event(event_name=name)
    visitor = sit("the-organizer", "organizer")
    for path, shown in (("/", 1), (f"/sale/{event_id}", 1), (f"/console#sale-{event_id}", 2)):
        visitor.go(path)
        names = visitor.page.get_by_text(name)
        expect(names).to_have_count(shown)
        assert set(names.evaluate_all("all => all.map((one) => getComputedStyle(one).direction)")) == {"rtl"}


def test_an_inline_script_would_not_run(api: Api, sit: Sit) -> None:
    visitor = sit()
    visitor.expected += ["Content Security Policy", "TrustedHTML", "TrustedScript"]
    visitor.go("/")
    refused = visitor.page.evaluate(
        """() => {
            const script = document.createElement("script");
            try { script.text = "window.ran = true"; document.body.append(script); } catch {}
            try { document.body.innerHTML += "<b>x</b>"; } catch (error) { return error.name; }
        }"""
    )
    assert refused == "TypeError"
    assert visitor.page.evaluate("window.ran") is None
    assert visitor.complaints
