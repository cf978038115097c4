"""Cross-origin requests: allowed for configured origins only, by default for none."""

import httpx
import pytest

from .api import Api

SHOP = "https://shop.example.com"


SENT = "authorization,content-type,idempotency-key,x-request-id"


def preflight(api: Api, origin: str, method: str = "POST", path: str = "/book", headers: str = SENT) -> httpx.Response:
    """The preflight request of a browser for a JSON body with a token and a key."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return api.http.options(path, headers=asked)


def test_no_other_origin_is_allowed_by_default(api: Api) -> None:
    assert "access-control-allow-origin" not in preflight(api, SHOP).headers
    answer = api.anyone.call("GET", "/events", headers={"Origin": SHOP})
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origin", [SHOP, "http://localhost:5173"])
def test_a_configured_origin_may_read_successes_and_failures(strict_api: Api, origin: str) -> None:
    for path, status in (("/events", 200), ("/nowhere", 404), ("/events/1/booking", 401), ("/events?limit=0", 422)):
        answer = strict_api.anyone.call("GET", path, headers={"Origin": origin})
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("path", ["/status/1", "/events/1", "/events/1/booking", "/status/x"])
def test_an_answer_without_an_origin_is_not_cached_for_one(strict_api: Api, path: str) -> None:
    assert strict_api.anyone.call("GET", path).headers["vary"] == "Origin"


@pytest.mark.parametrize(("method", "path"), [("POST", "/book"), ("PATCH", "/events/1"), ("POST", "/confirm")])
def test_a_configured_origin_may_send_a_token_and_a_key(strict_api: Api, method: str, path: str) -> None:
    answer = preflight(strict_api, SHOP, method, path)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert allowed >= {"authorization", "content-type", "idempotency-key"}
    assert method in answer.headers["access-control-allow-methods"]


@pytest.mark.parametrize("headers", ["authorization,last-event-id", "if-none-match", "if-match", "traceparent,baggage"])
def test_a_configured_origin_is_granted_the_headers_that_it_asks_for(strict_api: Api, headers: str) -> None:
    granted = preflight(strict_api, SHOP, "GET", "/events/1/live", headers)
    assert granted.status_code == 200
    assert granted.headers["access-control-allow-headers"] == headers


def test_a_page_of_a_configured_origin_can_read_every_useful_header(strict_api: Api) -> None:
    answer = strict_api.anyone.call("GET", "/events", headers={"Origin": SHOP})
    exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
    documented = strict_api.http.get("/openapi.json").json()["components"]["headers"]
    assert exposed >= {name.partition(".")[0].lower() for name in documented} - {"www-authenticate", "allow"}


@pytest.mark.parametrize(
    ("origin", "method", "status", "code"),
    [("https://evil.example.com", "POST", 403, "forbidden"), (SHOP, "TRACE", 405, "method_not_allowed")],
)
def test_a_refused_preflight_is_a_problem_document(
    strict_api: Api, origin: str, method: str, status: int, code: str
) -> None:
    refused = preflight(strict_api, origin, method)
    assert refused.headers["content-type"] == "application/problem+json"
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert "Origin" in refused.headers["vary"]


@pytest.mark.parametrize("origin", ["https://evil.example.com", "http://shop.example.com", f"{SHOP}.evil.com", "null"])
def test_any_other_origin_is_not_allowed(strict_api: Api, origin: str) -> None:
    assert preflight(strict_api, origin).headers.get("access-control-allow-origin") not in (origin, "*")
    answer = strict_api.anyone.call("GET", "/events", headers={"Origin": origin})
    assert answer.headers.get("access-control-allow-origin") not in (origin, "*")
