"""The organizer's console: faults, conflicts and limits. A sale without them is in test_whole_sale."""

from itertools import pairwise
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from tests.contract.api import Api
from tests.contract.client import fresh

from .chromium import PATIENCE_MS, PHONE
from .conftest import Sit

expect.set_options(timeout=PATIENCE_MS)


LATER_MS = 60_000
"""Longer than a page waits before it asks again."""


def ask_last(page: Page) -> None:
    """Makes a request and waits for its answer: whatever the page was about to ask has been seen before it."""
    page.evaluate("fetch('/healthz').then((answer) => answer.status)")


def test_a_buyer_sees_that_the_console_is_for_organizers(api: Api, sit: Sit) -> None:
    visitor = sit(fresh("buyer"))
    visitor.go("/console")
    expect(visitor.page.locator("#trouble")).to_have_text("This is for organizers, and this account is not one.")
    expect(visitor.page.get_by_role("button", name="New sale")).to_be_hidden()


def test_an_organizer_sees_that_a_sale_belongs_to_another(api: Api, sit: Sit) -> None:
    event_id, (buyer,) = api.sold_out()
    visitor = sit(fresh("organizer"), "organizer")
    page = visitor.page
    visitor.go(f"/console#sale-{event_id}")
    expect(page.get_by_text("This sale belongs to another organizer.")).to_be_visible()
    expect(page.get_by_role("button", name="Change", exact=True)).to_be_hidden()
    expect(page.get_by_role("link", name="People")).to_be_hidden()
    expect(page.get_by_text(buyer.id)).to_have_count(0)
    visitor = sit(fresh("administrator"), "admin")
    visitor.go(f"/console#sale-{event_id}/records")
    expect(visitor.page.get_by_text("The books balance")).to_be_visible()
    expect(visitor.page.get_by_text("This sale belongs to another organizer.")).to_be_hidden()


def test_what_is_wrong_with_a_form_stands_beside_the_field(api: Api, sit: Sit) -> None:
    event_id, _ = api.sold_out(available_tickets=3)
    visitor = sit("the-organizer", "organizer", timezone_id="Asia/Kolkata")
    visitor.expected += ["status of 409", "status of 422"]
    page = visitor.page
    visitor.go(f"/console#sale-{event_id}")
    page.get_by_role("button", name="Change", exact=True).click()
    page.get_by_label("Tickets", exact=True).fill("2")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("3 are sold or held already; it cannot be fewer.")).to_be_visible()
    expect(page.get_by_label("Tickets", exact=True)).to_be_focused()
    page.get_by_label("Tickets", exact=True).fill("4")
    page.get_by_label("Opens").fill("2099-01-01T06:30:00")
    page.get_by_label("Closes").fill("2099-01-01T05:30:00")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Opens")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("“Opens” has to be before “Closes”.")).to_be_visible()
    page.get_by_label("Closes").fill("12027-01-01T05:30:00")  # a slip of the finger
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Closes")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Closes").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(".headline")).to_contain_text("Opens soon")
    event = api.look(event_id)
    assert (event["capacity"], event["opens_at"], event["max_per_user"]) == (4, "2099-01-01T01:00:00.000Z", 1)


def test_an_event_is_told_in_its_own_zone_whatever_the_organizers(api: Api, sit: Sit) -> None:
    visitor = sit("the-organizer", "organizer", timezone_id="America/New_York")
    page = visitor.page
    visitor.go("/console")
    page.get_by_role("button", name="New sale").click()
    expect(page.get_by_label("Time zone")).to_have_value("America/New_York")
    name = fresh("Told")
    for label, value in (
        ("Name", name), ("Description", "Doors at 7.\n\nBring a friend."), ("Where", "Große Halle"),
        ("Time zone", "Europe/Berlin"), ("Begins", "2030-05-01T20:00"), ("Ends", "2030-05-01T22:30"),
        ("Opens", "2029-12-01T10:00"), ("Price", "45.5"), ("Currency", "eur"), ("Offer to those who wait", "3600"),
        ("Seconds to pay", "300"),
    ):  # fmt: skip
        page.get_by_label(label).fill(value)
    page.get_by_label("Tickets", exact=True).fill("5")
    page.get_by_label("Seconds to confirm").fill("600")
    page.get_by_label("Who finds it").select_option("unlisted")
    page.get_by_role("button", name="Create the sale").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    event_id = int(page.url.rpartition("-")[2])
    told = api.anyone.get(f"/events/{event_id}/details").data
    expected = {
        "description": "Doors at 7.\n\nBring a friend.", "venue": "Große Halle", "time_zone": "Europe/Berlin",
        "starts_at": "2030-05-01T18:00:00.000Z", "ends_at": "2030-05-01T20:30:00.000Z",
        "opens_at": "2029-12-01T09:00:00.000Z", "price": {"amount": 4_550, "currency": "EUR"},
        "visibility": "unlisted", "hold_seconds": 600, "offer_seconds": 3_600, "payment_seconds": 300,
    }  # fmt: skip
    assert {field: told[field] for field in expected} == expected
    # What the form shows is what is set, and only what is changed is sent.
    changes: list[str] = []
    page.on("request", lambda request: changes.append(request.post_data or "") if request.method == "PATCH" else None)
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.get_by_label("Begins")).to_have_value("2030-05-01T20:00")
    expect(page.get_by_label("Price")).to_have_value("45.50")
    page.get_by_label("Where").fill("")
    page.get_by_label("Seconds to confirm").fill("0")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert changes == ['{"venue":null,"hold_seconds":0}']
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.get_by_label("Seconds to pay")).to_have_value("300")
    page.get_by_label("Seconds to pay").fill("")
    page.get_by_label("Time zone").fill("Europe/London")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    told = api.anyone.get(f"/events/{event_id}/details").data
    assert (told["starts_at"], told["payment_seconds"]) == ("2030-05-01T19:00:00.000Z", 900)


def test_a_german_organizer_creates_a_sale_and_ends_it_in_german(api: Api, sit: Sit) -> None:
    page = (visitor := sit("the-organizer", "organizer", locale="de-DE", timezone_id="Europe/Berlin")).page
    visitor.go("/console")
    assert page.evaluate("document.documentElement.lang") == "de"
    page.get_by_role("button", name="Neuer Verkauf").click()
    for label, value in (
        ("Bezeichnung", name := fresh("Nacht")), ("Zahl der Tickets", "12000"), ("Sekunden zum Bestätigen", "90"),
        ("Angebot an Wartende", "3600"), ("Beginn", "2030-10-27T02:30"), ("Preis", "5"), ("Währung", "E1"),
    ):  # fmt: skip
        page.get_by_label(label).fill(value)
    expect(page.get_by_text("„Beginn“ gibt es zweimal, weil die Uhren zurückgestellt werden")).to_be_visible()
    page.get_by_role("button", name="Verkauf anlegen").click()
    expect(page.get_by_text("Drei Buchstaben, zum Beispiel EUR.")).to_be_visible()
    page.get_by_label("Währung").fill("EUR")
    page.get_by_role("button", name="Verkauf anlegen").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.locator(".sentence")).to_have_text("Im Verkauf: 12.000 von 12.000 Tickets frei.")
    rules = page.locator(".detail > .quiet").first
    expect(rules).to_contain_text("1 Minute 30 Sekunden Zeit zum Bestätigen · von der Warteliste: 1 Stunde")
    page.get_by_role("button", name="Jetzt beenden").click()
    page.get_by_role("dialog").get_by_role("button", name="Beenden").click()
    expect(page.locator(".sentence")).to_contain_text("Beendet seit")
    expect(page.locator(".sentence")).to_contain_text(" um ")
    page.get_by_role("link", name="Personen").click()
    expect(page.get_by_text("Hier ist niemand.")).to_be_visible()
    page.get_by_role("link", name="Auswertung").click()
    expect(page.get_by_text("0 Buchungen verglichen")).to_be_visible()
    expect(page.locator("#health")).to_contain_text("Bereit ·")


def test_escape_does_not_throw_a_filled_form_away(sit: Sit) -> None:
    visitor = sit("the-organizer", "organizer")
    page = visitor.page
    visitor.go("/console")
    page.get_by_role("button", name="New sale").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="New sale").click()
    page.get_by_label("Name").fill("A long story")
    for _ in range(3):
        page.keyboard.press("Escape")
        expect(page.get_by_text("What you have entered is not saved.")).to_be_visible()
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_label("Name")).to_have_value("A long story")
    page.get_by_role("button", name="Never mind").click()
    page.get_by_role("button", name="Throw it away").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_the_form_warns_of_what_is_rarely_meant_and_names_its_own_fields(api: Api, sit: Sit) -> None:
    visitor = sit("the-organizer", "organizer", timezone_id="Europe/Berlin")
    visitor.expected.append("status of 422")
    page = visitor.page
    visitor.go("/console")
    page.get_by_role("button", name="New sale").click()
    page.get_by_label("Name").fill("\u200b")
    page.get_by_label("Tickets", exact=True).fill("5")
    page.get_by_label("Closes").fill("2020-01-01T10:00")
    expect(page.get_by_text("The sale closes in the past, so nobody can book.")).to_be_visible()
    page.get_by_label("Closes").fill("")
    page.get_by_label("Begins").fill("2030-10-27T02:30")
    expect(page.get_by_text("“Begins” is there twice")).to_be_visible()
    page.get_by_label("Begins").fill("2030-03-31T02:30")
    page.get_by_label("Ends").fill("2030-03-31T01:30")
    page.get_by_label("Price").fill("0.555")
    page.get_by_label("Currency").fill("EUR")
    page.get_by_role("button", name="Create the sale").click()
    expect(page.get_by_text("The clocks skip this time.")).to_be_visible()
    expect(page.get_by_text("EUR has 2 digits after the point.")).to_be_visible()
    page.get_by_label("Begins").fill("2030-03-31T03:30")
    page.get_by_label("Price").fill("0.55")
    page.get_by_role("button", name="Create the sale").click()
    expect(page.get_by_text("Needs a visible character.")).to_be_visible()
    page.get_by_label("Name").fill("Night")
    page.get_by_role("button", name="Create the sale").click()
    expect(page.get_by_text("“Ends” cannot be before “Begins”.")).to_be_visible()
    expect(page.get_by_label("Ends")).to_be_focused()


def test_two_organizers_do_not_undo_each_others_changes(api: Api, sit: Sit) -> None:
    event_id = api.event(venue="Hall 1")
    visitor = sit("the-organizer", "organizer")
    visitor.expected.append("status of 412")
    page = visitor.page
    visitor.go(f"/console#sale-{event_id}")
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.get_by_label("Where")).to_have_value("Hall 1")
    assert api.organizer.change(event_id, venue="Hall 2").status == 200
    page.get_by_label("Where").fill("Hall 3")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Somebody has changed this sale since the form was opened.")).to_be_visible()
    assert api.look(event_id)["venue"] == "Hall 2"


def test_one_sentence_says_how_the_sale_stands(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=3, max_per_user=3)
    page = (visitor := sit("the-organizer", "organizer")).page
    visitor.go(f"/console#sale-{event_id}")
    sentence = page.locator(".sentence")
    expect(sentence).to_have_text("On sale: 3 of 3 tickets left.")
    first, group, last = api.users(3)
    first.book(event_id, 1)
    group.book(event_id, 3)
    expect(sentence).to_have_text("Sold out; 2 tickets are kept for a group of 3 at the front.")
    group.cancel(event_id)
    last.book(event_id, 2)
    expect(sentence).to_have_text("Sold out; nobody is waiting yet.")
    group.book(event_id, 3)
    expect(sentence).to_have_text("Sold out; 1 person waits for 3 tickets.")
    page.get_by_role("button", name="End the waiting list").click()
    page.get_by_role("dialog").get_by_role("button", name="End it").click()
    expect(sentence).to_have_text("Sold out; 1 person waits for 3 tickets, and nobody can join.")
    page.get_by_role("button", name="Close now").click()
    page.get_by_role("dialog").get_by_role("button", name="Close it").click()
    expect(sentence).to_contain_text("Closed since")
    assert api.user().book(event_id).verdict == (403, "sale_closed")
    api.organizer.change(event_id, visibility="archived")
    expect(sentence).to_have_text("Archived: nothing can be booked.")


def test_an_organizer_finds_a_buyer_by_email(api: Api, sit: Sit) -> None:
    event_id = api.event(available_tickets=5)
    email = f"{fresh('ada')}@example.com"
    account = api.anyone.post("/auth/register", {"email": email, "password": "correct horse battery"})
    for caller in (api.with_token(account.data["token"]), *api.users(2)):
        assert caller.book(event_id).status == 201
    page = (visitor := sit("the-organizer", "organizer")).page
    visitor.go(f"/console#sale-{event_id}/people")
    rows = page.get_by_role("region", name="People", exact=True).locator("tbody tr")
    expect(rows).to_have_count(3)
    page.get_by_label("Find").fill(email[:12].upper())
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text(email)
    page.get_by_label("Find").fill("nobody at all")
    expect(page.get_by_text("Nobody is found.")).to_be_visible()


def test_the_line_is_shown_from_its_head_however_long(api: Api, sit: Sit) -> None:
    event_id, _ = api.sold_out()
    waiting = api.users(55)
    for user in waiting:
        user.book(event_id)
    page = (visitor := sit("the-organizer", "organizer")).page
    visitor.go(f"/console#sale-{event_id}/people")
    page.get_by_role("button", name="Waiting 55").click()
    rows = page.get_by_role("region", name="People", exact=True).locator("tbody tr")
    expect(rows).to_have_count(50)
    expect(rows.first).to_contain_text(waiting[0].id)
    expect(rows.first).to_contain_text("Place 1 in line")
    page.get_by_role("button", name="More").click()
    expect(rows).to_have_count(55)
    expect(rows.last).to_contain_text("Place 55 in line")


def test_a_sale_that_is_not_there_is_asked_for_once_and_shows_nothing(sit: Sit) -> None:
    visitor = sit("the-organizer", "organizer")
    visitor.expected.append("status of 404")
    page = visitor.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.install()
    visitor.go("/console#sale-987654321")
    expect(page.get_by_text("This sale does not exist")).to_be_visible()
    expect(page.get_by_role("button", name="Change")).to_be_hidden()
    page.clock.fast_forward(LATER_MS)
    ask_last(page)
    assert len([url for url in asked if "987654321" in url]) == 1


def test_nothing_of_a_sale_is_asked_for_or_can_be_changed_before_it_is_known(api: Api, sit: Sit) -> None:
    event_id = api.event()
    page = (visitor := sit("the-organizer", "organizer")).page
    asked: list[str] = []
    waiting: list[Route] = []
    page.on("request", lambda request: asked.append(request.url))
    for address in ("**/live?*", "**/events?*"):  # either tells of the sale
        page.route(address, lambda route: waiting.append(route))
    with page.expect_request("**/live?*"), page.expect_request("**/events?*"):
        visitor.go(f"/console#sale-{event_id}")
    expect(page.get_by_role("button", name="Change")).to_be_hidden()
    ask_last(page)
    assert not any(url.endswith("/report") for url in asked)
    for route in waiting:
        route.continue_()
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_role("dialog")).to_contain_text("Change the sale")


def test_a_fault_of_the_service_is_told_on_a_phone_without_scrolling_sideways(sit: Sit) -> None:
    reason = "PersisterIsBehind: SQL lacks 12345 changes of shard 1, the oldest of 62 s ago"
    persister = {"ok": False, "reason": reason, "lag_entries": 12345, "lag_seconds": 62}
    parts = {"redis": {"ok": True}, "database": {"ok": True}, "persister": persister}
    page = (visitor := sit(fresh("organizer"), "organizer", viewport=PHONE)).page
    visitor.expected.append("status of 503")
    page.route("**/readyz", lambda route: route.fulfill(status=503, json={"status": "unavailable", "parts": parts}))
    visitor.go("/console")
    expect(page.locator("#health")).to_contain_text("SQL lacks 12345 changes")
    assert not visitor.overflows()


def test_a_double_click_pauses_without_resuming_at_once(api: Api, sit: Sit) -> None:
    event_id = api.event()
    page = (visitor := sit("the-organizer", "organizer")).page
    visitor.go(f"/console#sale-{event_id}")
    changes: list[str] = []
    page.on("request", lambda request: changes.append(request.url) if request.method == "PATCH" else None)
    pause = page.get_by_role("button", name="Pause")
    box = pause.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    for clicks in (1, 2):
        page.mouse.down(click_count=clicks)
        page.mouse.up(click_count=clicks)
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
    ask_last(page)
    assert len(changes) == 1
    assert api.look(event_id)["paused"]


def test_what_could_not_be_read_is_read_again(api: Api, sit: Sit) -> None:
    event_id = api.event()
    visitor = sit("the-organizer", "organizer")
    visitor.expected.append("status of 503")
    page = visitor.page
    body = '{"code": "database_unavailable", "detail": "…"}'
    page.route("**/report", lambda route: route.fulfill(status=503, body=body), times=1)
    visitor.go(f"/console#sale-{event_id}/records")
    expect(page.get_by_text("The report cannot be read at the moment.")).to_be_visible()
    expect(page.get_by_text("Not sold out so far.")).to_be_visible()
    expect(page.locator(".detail > .notice")).to_be_empty()


def test_the_people_the_chart_and_the_report_follow_the_sale(api: Api, sit: Sit, tmp_path: Path) -> None:
    event_id, (buyer, _) = api.sold_out(available_tickets=2)
    visitor = sit("the-organizer", "organizer")
    page = visitor.page
    visitor.go(f"/console#sale-{event_id}/people")
    rows = page.get_by_role("region", name="People", exact=True).locator("tbody tr")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Waiting 0").click()
    expect(page.get_by_text("Nobody is here.")).to_be_visible()
    waiting = api.users(3)
    for user in waiting:
        user.book(event_id)
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text(waiting[0].id)
    expect(rows.last).to_contain_text("Place 3 in line")
    page.get_by_role("button", name="Booked 2").click()
    page.get_by_role("button", name=f"Cancel {buyer.id}").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
    expect(page.get_by_text(f"{buyer.id}: cancelled.")).to_be_visible()
    expect(rows.first).to_contain_text(waiting[0].id)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export these as NDJSON").click()
    download.value.save_as(tmp_path / "booked.ndjson")
    assert len((tmp_path / "booked.ndjson").read_text().splitlines()) == 2
    page.get_by_role("link", name="Sale", exact=True).click()
    minutes = page.get_by_role("img", name="Bookings, waiting list and cancellations a minute")
    expect(minutes.locator("rect.booked")).not_to_have_count(0)
    expect(minutes.locator("rect.joined")).not_to_have_count(0)
    page.get_by_role("link", name="Records").click()
    expect(page.get_by_text("Sold out ", exact=False).last).to_be_visible()
    summary = page.locator("summary").last
    summary.click()
    table = page.get_by_role("region", name="The whole sale").get_by_role("row")
    expect(table).not_to_have_count(1)
    with page.expect_response("**/report"):
        api.user().book(event_id)
    expect(page.locator(".figures > div", has_text="Waiting").first.locator("dd")).to_have_text("3")
    expect(summary).to_be_focused()
    expect(table.first).to_be_visible()
    expect(page.locator("#health")).to_contain_text("Ready")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as NDJSON").click()
    download.value.save_as(tmp_path / "bookings.ndjson")
    assert len((tmp_path / "bookings.ndjson").read_text().splitlines()) == 6


def test_a_list_that_cannot_be_read_says_so_until_it_can(api: Api, sit: Sit) -> None:
    api.event(event_name=(name := fresh("listed")))
    visitor = sit("the-organizer", "organizer")
    visitor.expected.append("status of 503")
    body = '{"code": "inventory_unavailable", "detail": "…"}'
    for path, place in (("/", "#state"), ("/console", "#trouble")):
        visitor.page.route("**/events?*", lambda route: route.fulfill(status=503, body=body), times=1)
        visitor.go(path)
        expect(visitor.page.locator(place)).to_have_text(
            "The sales cannot be read at the moment. This page asks again by itself."
        )
        expect(visitor.page.locator("#sales").get_by_text(name)).to_be_visible()
        expect(visitor.page.locator(place)).to_be_empty()


def test_a_chart_of_one_minute_can_be_read(sit: Sit) -> None:
    """The moment of selling out stands at its minute's bar, not before it, and no figure lies upon another."""
    visitor = sit()
    visitor.go("/")
    bar, mark, figures = visitor.page.evaluate(
        """async () => {
            const { MinutesChart } = await import("/static/charts.js");
            const [chart, start] = [new MinutesChart("A sale"), Date.parse("2026-11-26T13:34:00Z")];
            const none = { joined: 0, promoted: 0, expired: 0 };
            document.querySelector("main").append(chart.element);
            const minutes = [{ minute: new Date(start).toISOString(), booked: 20, cancelled: 1, ...none }];
            chart.show(minutes, start, start, null, { time: start + 2_000, label: "sold out" });
            const box = ({ x, width, y, bottom }) => [x + width / 2, y, bottom];
            const all = (selector) =>
                [...chart.element.querySelectorAll(selector)].map((one) => box(one.getBoundingClientRect()));
            return [all("rect.booked")[0][0], all("line.mark")[0][0], all("text[text-anchor=end]:not(.mark)")];
        }"""
    )
    assert abs(bar - mark) < 1
    heights = sorted((top, bottom) for _, top, bottom in figures)
    assert len(heights) == 3
    assert all(bottom <= top + 2 for (_, bottom), (top, _) in pairwise(heights))


def test_only_the_state_of_the_service_is_read_out(sit: Sit) -> None:
    """The figures beside it change with every booking."""
    visitor = sit("the-organizer", "organizer")
    visitor.go("/console")
    expect(visitor.page.locator("#health")).to_contain_text("Ready ·")
    expect(visitor.page.get_by_role("banner").get_by_role("status")).to_have_text("Ready")


def test_older_sales_can_be_reached_and_are_kept_up_to_date(api: Api, sit: Sit) -> None:
    first, next_to_it = fresh("oldest"), fresh("older")
    event_id = api.event(event_name=first, available_tickets=2)
    api.event(event_name=next_to_it)
    for _ in range(20):
        api.event()
    visitor = sit("the-organizer", "organizer")
    page = visitor.page
    for path, path_words in ((f"/console#sale-{event_id}", "1 of 2 sold"), ("/", "No tickets left")):
        visitor.go(path)
        expect(page.get_by_role("button", name="Older sales")).to_be_visible()
        if path != "/":
            expect(page.get_by_role("heading", name=first)).to_be_visible()
        expect(page.get_by_role("link", name=first)).to_have_count(0)
        page.get_by_role("button", name="Older sales").click()
        expect(page.get_by_role("link", name=next_to_it)).to_be_visible()
        expect(page.get_by_role("link", name=first)).to_be_visible()
        if path == "/":
            expect(page.locator("li", has_text=first)).to_contain_text("1 of 2 tickets left")
        api.user().book(event_id)
        expect(page.locator("li", has_text=first)).to_contain_text(path_words)
