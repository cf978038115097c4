"""Unknown paths, wrong methods, additional slashes, invalid ids, HEAD."""

import pytest

from .api import Api
from .client import Caller

ALLOWED = {
    "/auth/register": {"POST"},
    "/auth/login": {"POST"},
    "/initialize": {"POST"},
    "/book": {"POST"},
    "/cancel": {"POST"},
    "/confirm": {"POST"},
    "/status/1": {"GET", "HEAD"},
    "/events": {"GET", "HEAD"},
    "/events/1": {"GET", "HEAD", "PATCH"},
    "/events/1/booking": {"GET", "HEAD"},
    "/healthz": {"GET", "HEAD"},
    "/readyz": {"GET", "HEAD"},
}
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
NO_EVENT = ["999999999", "0", "-1", "abc", "1.5", "1e3", "+1", "9" * 30, "%20", "%F0%9F%8E%9F", "%00", "%FF", "1;2"]


@pytest.mark.parametrize("path", ["/nowhere", "/books", "/status", "/events/1/nothing", "/auth", "/Events", "/.env"])
def test_an_unknown_path_is_not_found(api: Api, path: str) -> None:
    assert api.anyone.get(path).verdict == (404, "not_found")
    assert api.user().call("POST", path, {}).verdict == (404, "not_found")


@pytest.mark.parametrize("path", ["/book/", "/cancel/", "/confirm/", "/initialize/", "/auth/login/", "/auth/register/"])
def test_a_trailing_slash_is_not_found_for_post(api: Api, path: str) -> None:
    assert api.organizer.call("POST", path, {}).verdict == (404, "not_found")


@pytest.mark.parametrize(
    "path", ["/events/", "/status/1/", "/status/", "/events/1/", "/events/1/booking/", "/healthz/"]
)
def test_a_trailing_slash_is_not_found_and_not_redirected(api: Api, path: str) -> None:
    answer = api.user().get(path)
    assert answer.verdict == (404, "not_found")
    assert "location" not in answer.headers


@pytest.mark.parametrize("path", ["//events", "/events//1", "//static/sale.js", "/static//sale.js"])
def test_a_double_slash_is_not_found(api: Api, path: str) -> None:
    assert api.raw_connection.send(f"GET {path} HTTP/1.1").verdict == (404, "not_found")


@pytest.mark.parametrize("path", sorted(ALLOWED))
def test_a_wrong_method_gets_the_allowed_ones(api: Api, path: str) -> None:
    for method in sorted(METHODS - ALLOWED[path]):
        answer = api.organizer.call(method, path, {})
        assert answer.verdict == (405, "method_not_allowed"), method
        assert {name.strip() for name in answer.headers["allow"].split(",")} == ALLOWED[path], method


def test_a_wrong_method_is_405_without_credentials(api: Api) -> None:
    assert api.anyone.get("/book").verdict == (405, "method_not_allowed")


@pytest.mark.parametrize("event", NO_EVENT)
def test_an_invalid_id_is_event_not_found(api: Api, event: str) -> None:
    user = api.user()
    answers = [
        api.anyone.get(f"/status/{event}"),
        api.anyone.get(f"/events/{event}"),
        user.get(f"/events/{event}/booking"),
        api.organizer.call("PATCH", f"/events/{event}", {"paused": True}),
    ]
    assert [answer.verdict for answer in answers] == [(404, "event_not_found")] * 4


def same_without_body(caller: Caller, path: str) -> None:
    """Asserts that HEAD gives the same answer as GET without the body."""
    got = caller.http.get(path, headers={"Authorization": caller.authorization or ""})
    head = caller.call("HEAD", path)
    assert head.status == got.status_code
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]


def test_head_works_for_every_get(api: Api) -> None:
    event_id = api.event()
    user = api.user()
    user.book(event_id)
    for path in (f"/status/{event_id}", f"/events/{event_id}", f"/events/{event_id}/booking", "/events?limit=1"):
        same_without_body(user, path)
    for path in ("/healthz", "/readyz"):
        same_without_body(api.anyone, path)
    same_without_body(api.anyone, "/problems/sold_out")


def test_head_fails_like_get(api: Api) -> None:
    assert api.anyone.call("HEAD", "/nowhere").status == 404
    assert api.anyone.call("HEAD", "/status/999999999").status == 404
    assert api.anyone.call("HEAD", "/events?limit=0").status == 422
    assert api.anyone.call("HEAD", "/events/1/booking").status == 401
    assert api.user().call("HEAD", "/book").status == 405


def test_a_head_answer_leaves_the_connection_in_step(api: Api) -> None:
    event_id = api.event()
    for _ in range(3):
        assert api.anyone.call("HEAD", f"/events/{event_id}").status == 200
        assert api.look(event_id)["id"] == event_id
