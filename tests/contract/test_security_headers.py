"""Security headers: no content from other origins, no framing, no guessing of types, nothing kept by caches."""

import pytest

from .api import Api

PAGES = ("/problems/overloaded", "/problems/already_booked", "/", "/console", "/docs")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_no_code_of_other_origins_and_cannot_be_framed(api: Api, path: str) -> None:
    answer = api.http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = dict(
        part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";") if part
    )
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    for sources in policy.values():
        assert "unsafe-eval" not in sources
        assert "http:" not in sources
        assert "*" not in sources
    assert "unsafe-inline" not in policy.get("script-src", "")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", [*PAGES, "/healthz", "/readyz", "/metrics", "/openapi.json", "/static/booking.css"])
def test_no_cache_keeps_what_changes(api: Api, path: str) -> None:
    answer = api.http.get(path)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == ("no-cache" if "etag" in answer.headers else "no-store")


def test_no_answer_names_the_server_software(api: Api) -> None:
    for path in (*PAGES, "/healthz", "/status/0", "/nowhere"):
        assert "server" not in api.http.get(path).headers
