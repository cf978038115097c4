"""Success and failure look the same everywhere, and every answer carries a request id."""

import httpx
import pytest

from .api import Api
from .client import fresh
from .shapes import STATUS_OF_CODE

VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F))


def test_a_success_has_error_false_a_message_and_the_data(api: Api) -> None:
    event_id = api.event(available_tickets=3)
    answer = api.anyone.get(f"/status/{event_id}")
    assert answer.status == 200
    assert answer.body["error"] is False
    assert answer.data["id"] == event_id


def test_a_failure_is_a_problem_document_in_the_original_error_form(api: Api) -> None:
    answer = api.anyone.get("/status/999999999")
    assert answer.verdict == (404, "event_not_found")
    assert answer.body["type"] == "/problems/event_not_found"
    assert answer.body["error"] is True
    assert answer.body["message"] == answer.body["detail"]


@pytest.mark.parametrize("code", sorted(STATUS_OF_CODE))
def test_each_code_has_a_page_that_explains_it(api: Api, code: str) -> None:
    page = api.http.get(f"/problems/{code}")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["x-request-id"]
    assert code in page.text


def test_the_page_of_a_code_that_does_not_exist_is_not_found(api: Api) -> None:
    assert api.anyone.get("/problems/no_such_code").status == 404


@pytest.mark.parametrize("given", ["a", "7f3c-41:x/y", VISIBLE, "r" * 128])
def test_a_request_id_of_visible_ascii_comes_back(api: Api, given: str) -> None:
    fine = api.anyone.call("GET", "/events", headers={"X-Request-ID": given})
    assert fine.headers["x-request-id"] == given
    failed = api.anyone.call("GET", "/no-such-thing", headers={"X-Request-ID": given})
    assert failed.headers["x-request-id"] == given
    assert failed.body["request_id"] == given


@pytest.mark.parametrize("given", [b"", b"two words", b"r" * 129, "naïve".encode(), b"caf\xe9", b"tab\tbed"])
def test_any_other_request_id_is_replaced(api: Api, given: bytes) -> None:
    answer = api.anyone.call("GET", "/no-such-thing", headers={"X-Request-ID": given})
    assert answer.status == 404
    assert answer.headers["x-request-id"].encode("latin-1") != given


def test_each_request_gets_an_id_of_its_own(api: Api) -> None:
    ids = {api.anyone.get("/events").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


def test_every_failure_has_the_request_id_in_header_and_body(api: Api) -> None:
    user = api.user()
    failures = [
        api.anyone.call("POST", "/book", {"event_id": 1}),
        user.call("POST", "/initialize", {}),
        api.anyone.call("POST", "/auth/login", content=b"{"),
        api.anyone.call("POST", "/auth/login", content=b"{}", headers={"Content-Type": "text/plain"}),
        api.anyone.call("POST", "/auth/login", {}),
        api.anyone.call("DELETE", "/events"),
        api.anyone.get("/nowhere"),
        user.book(999_999_999),
    ]
    assert [failure.status for failure in failures] == [401, 403, 400, 415, 422, 405, 404, 404]
    for failure in failures:
        assert failure.body["request_id"] == failure.headers["x-request-id"]


def test_a_success_is_utf_8_json_whatever_the_client_accepts(api: Api) -> None:
    name = f"Größe 東京 🎟 {fresh('é')}"
    event_id = api.event(event_name=name)
    response = api.http.get(f"/status/{event_id}", headers={"Accept": "text/html"})
    assert response.headers["content-type"].split(";")[0] == "application/json"
    assert response.content.decode("utf-8")
    assert response.json()["data"]["name"] == name


def test_a_health_check_has_a_request_id_too(api: Api) -> None:
    response: httpx.Response = api.http.get("/healthz", headers={"X-Request-ID": "probe-1"})
    assert response.headers["x-request-id"] == "probe-1"
