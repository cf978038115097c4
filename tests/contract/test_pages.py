"""The pages over HTTP; tests/browser has what they do in a browser."""

import re

import httpx
import pytest

from .api import Api
from .client import Caller

PAGES = ["/", "/console", "/console/webhooks", "/account", "/reset", "/problems/sold_out"]
"""The pages with the strictest policy."""
DIRECTIVES = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
}
NO_SALE = ["999999999", "0", "abc", "1.5", "9" * 30, "%F0%9F%8E%9F", "%00"]
LINK = re.compile(r'(?:href|src)="(/static/[^"]+)"')


def policy(response: httpx.Response) -> set[str]:
    return set(response.headers["content-security-policy"].split("; "))


@pytest.mark.parametrize("path", PAGES)
def test_a_page_allows_nothing_inline_and_nothing_from_elsewhere(api: Api, path: str) -> None:
    response = api.http.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert policy(response) == DIRECTIVES
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", response.text), "the page has inline code"


def test_a_sale_has_a_page_and_an_unknown_sale_has_an_error_page(api: Api) -> None:
    event_id = api.event(event_name="One & all", venue="Hall <3>", visibility="unlisted")
    response = api.http.get(f"/sale/{event_id}")
    assert response.status_code == 200
    assert policy(response) == DIRECTIVES
    assert '<meta property="og:title" content="One &amp; all">' in response.text
    assert '<dd dir="auto">Hall &lt;3&gt;</dd>' in response.text
    for none in NO_SALE:
        missing = api.http.get(f"/sale/{none}")
        assert (missing.status_code, missing.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "There is no such sale" in missing.text
        assert policy(missing) == DIRECTIVES
    assert api.anyone.get("/sale").verdict == (404, "not_found")
    assert api.anyone.get("/sale/").verdict == (404, "not_found")
    assert api.anyone.get("/console/").verdict == (404, "not_found")
    assert api.anyone.call("POST", "/console", {}).verdict == (405, "method_not_allowed")


def test_a_page_is_revalidated_and_sent_only_if_it_has_changed(api: Api) -> None:
    first = api.http.get("/")
    assert first.headers["cache-control"] == "no-cache"
    again = api.http.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert api.http.get("/", headers={"If-None-Match": '"another"'}).status_code == 200
    missing = api.http.get("/sale/0")
    unchanged = api.http.get("/sale/0", headers={"If-None-Match": missing.headers["etag"]})
    assert unchanged.status_code == 404, "a page for an unknown sale is cached"


def test_the_files_of_a_page_are_cached_for_ever_under_versioned_addresses(api: Api) -> None:
    event_id = api.event()
    links = {link for path in [*PAGES, f"/sale/{event_id}"] for link in LINK.findall(api.http.get(path).text)}
    versions = {link.split("/")[2] for link in links}
    assert len(versions) == 1
    for link in links:
        response = api.http.get(link)
        assert response.status_code == 200
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        plain = api.http.get(f"/static/{link.rpartition('/')[2]}")
        assert plain.content == response.content
        assert plain.headers["cache-control"] == "no-cache"
        other = api.http.get(link.replace(versions.copy().pop(), "0123456789ab"))
        assert other.headers["cache-control"] == "no-cache", "another version's address got this version's content"


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_page_is_one_round_of_files(api: Api, language: str) -> None:
    """Styles, one script that imports nothing, and the icon: on a slow network, they come together."""
    for path in ("/", "/me", "/account", "/reset", "/console", f"/sale/{api.event()}"):
        page = api.http.get(path, headers={"Accept-Language": language})
        links = [link.rpartition("/")[2] for link in LINK.findall(page.text)]
        name = {"/": "index"}.get(path, path.split("/")[1])
        styles = ["pages.css", *(["console.css"] if path == "/console" else [])]
        assert sorted(links) == sorted(["icon.svg", *styles, f"{name}.{language}.js"])
        script = api.http.get(f"/static/{name}.{language}.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert not re.search(r"^(import|export)\b|\bimport\(", script.text, re.MULTILINE)


def test_a_page_speaks_the_language_that_its_visitor_prefers(api: Api) -> None:
    paths = ("/", "/me", "/account", "/reset", "/console", "/console/webhooks", f"/sale/{api.event()}", "/sale/0")
    for path in paths:
        english, german = (api.http.get(path, headers={"Accept-Language": one}) for one in ("fr", "de-CH, en;q=0.7"))
        assert '<html lang="en"' in english.text
        assert '<html lang="de"' in german.text
        assert english.headers["etag"] != german.headers["etag"]
        assert "accept-language" in german.headers["vary"]


HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("path", ["/nowhere", "/sale/", "/console/", "/events/987654321", "/events/x/y", "/problems/x"])
def test_a_browser_that_finds_nothing_gets_a_page_and_a_program_gets_json(api: Api, path: str) -> None:
    page = api.http.get(path, headers={"Accept": HTML, "Accept-Language": "de"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert page.headers["cache-control"] == "no-store"
    assert "x-request-id" in page.headers
    assert policy(page) == DIRECTIVES
    assert 'href="/"' in page.text
    assert "<h1>" in page.text
    assert '<html lang="de">' in page.text
    head = api.http.head(path, headers={"Accept": HTML})
    assert (head.status_code, head.content, head.headers["content-type"]) == (404, b"", "text/html; charset=utf-8")
    for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json, text/html;q=0.9"}):
        assert api.anyone.call("GET", path, headers=accept).status == 404
    assert api.anyone.call("POST", path, {}, headers={"Accept": HTML}).status in (404, 405)


def test_a_confirmed_booking_has_a_ticket_that_no_one_else_gets(api: Api) -> None:
    event_id = api.event(hold_seconds=600)
    me, other = api.users(2)
    path = f"/events/{event_id}/ticket.svg"

    def refusal(caller: Caller, path: str = path) -> tuple[int, str]:
        """A file of the pages is not in the document, which the callers' answers are held to."""
        answer = api.http.get(path, headers={"Authorization": caller.authorization} if caller.authorization else {})
        return answer.status_code, answer.json()["code"]

    assert refusal(me) == (404, "booking_not_found")
    me.book(event_id)
    assert refusal(me) == (404, "booking_not_found"), "a hold is no ticket"
    me.confirm(event_id)
    ticket = api.http.get(path, headers={"Authorization": me.authorization or ""})
    assert (ticket.status_code, ticket.headers["content-type"]) == (200, "image/svg+xml; charset=utf-8")
    assert ticket.headers["cache-control"] == "no-store"
    assert ticket.text.startswith("<svg ")
    assert refusal(other) == (404, "booking_not_found")
    assert refusal(api.anyone) == (401, "unauthenticated")
    assert refusal(me, "/events/987654321/ticket.svg") == (404, "event_not_found")


def test_an_event_with_a_time_has_an_entry_for_calendars(api: Api) -> None:
    text = "Doors at 7; bring a friend, " * 9 + "ü" * 40
    event_id = api.event(
        event_name="Night, of the museum",
        starts_at="2026-10-25T02:30:00+01:00",
        ends_at="2026-10-25T04:00:00+01:00",
        time_zone="Europe/Berlin",
        venue="Große Halle",
        description=f"{text}\nSecond line",
    )
    answer = api.http.get(f"/events/{event_id}/calendar.ics")
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    lines = answer.text.split("\r\n")
    assert max(len(line.encode()) for line in lines) <= 75
    unfolded = answer.text.replace("\r\n ", "").split("\r\n")
    assert "DTSTART:20261025T013000Z" in unfolded, "the second 2:30 of that night, in winter time"
    assert "DTEND:20261025T030000Z" in unfolded
    assert "SUMMARY:Night\\, of the museum" in unfolded
    assert "LOCATION:Große Halle" in unfolded
    begins = "Begins: Sunday, 25 October 2026, 02:30 CET (Europe/Berlin)"
    told = f"DESCRIPTION:{begins}\\n\\n{text}\\nSecond line"
    assert told.replace(",", "\\,").replace(";", "\\;") in unfolded
    assert api.anyone.get(f"/events/{api.event()}/calendar.ics").verdict == (404, "not_found")
    assert api.anyone.get("/events/987654321/calendar.ics").verdict == (404, "event_not_found")


def test_the_list_of_own_bookings_says_when_each_ended(api: Api) -> None:
    event_id = api.event()
    me = api.user()
    me.book(event_id)
    (live,) = me.get("/bookings").body["data"]
    assert "ended_at" not in live
    me.cancel(event_id)
    (ended,) = me.get("/bookings").body["data"]
    assert ended["status"] == "cancelled"
    assert ended["ended_at"] > ended["created_at"]


def test_a_file_is_compressed_for_clients_that_accept_it(api: Api) -> None:
    plain = api.http.get("/static/booking.css", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    zipped = api.http.get("/static/booking.css", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert zipped.content == plain.content
    assert int(zipped.headers["content-length"]) < len(plain.content) / 2
    refused = api.http.get("/static/booking.css", headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers
    assert plain.headers["vary"] == zipped.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("path", ["", "nothing.js", "/", "a/b/booking.css", "../__init__.py", "%2e%2e/problem.html"])
def test_no_other_path_is_a_file(api: Api, path: str) -> None:
    assert api.raw_connection.send(f"GET /static/{path} HTTP/1.1").verdict == (404, "not_found")


def test_head_works_for_pages_too(api: Api) -> None:
    for path in ("/", "/console", f"/sale/{api.event()}", "/static/booking.css"):
        got, head = api.http.get(path), api.http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == got.headers["etag"]
