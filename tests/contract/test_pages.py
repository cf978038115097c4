"""The pages over HTTP; tests/browser has what they do in a browser."""

import re
from importlib.resources import files

import httpx
import pytest

from .api import Api

PAGES = ["/", "/console", "/console/webhooks", "/problems/sold_out"]
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
    event_id = api.event(event_name="Not in the page: it is the same for everyone")
    response = api.http.get(f"/sale/{event_id}")
    assert response.status_code == 200
    assert "Not in the page" not in response.text
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


def test_a_page_preloads_exactly_the_scripts_it_needs(api: Api) -> None:
    used: set[str] = set()
    for path in ("/", "/console", "/console/webhooks", "/docs", f"/sale/{api.event()}"):
        links = {link for link in LINK.findall(api.http.get(path).text) if link.endswith(".js")}
        for link in links:
            response = api.http.get(link)
            assert response.headers["content-type"] == "text/javascript; charset=utf-8"
            imported = set(re.findall(r'(?:from|import) ?\(?"\./(.+?)"', response.text))
            assert imported <= {known.rpartition("/")[2] for known in links}, link
        used |= {link.rpartition("/")[2] for link in links}
    static = files("booking.web.pages").joinpath("static")
    assert used == {path.name for path in static.iterdir() if path.name.endswith(".js")}, "a script is unused"


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
