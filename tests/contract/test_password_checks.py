"""Password guesses are limited on every way to sign in, without locking out other users."""

import signal
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.fixtures.service import RunningService, running_service

from .api import Api, open_api
from .client import Answer, fresh

PASSWORD = "correct horse battery"
ADDRESSES = (f"198.51.{number // 250}.{number % 250 + 1}" for number in count())
CALLS = 12
"""A minute from one address (BOOKING_AUTH_RATE_LIMIT_PER_MINUTE). The default is 60, and a check takes long."""

FAILURES = 30
"""A minute for one account (contract)."""

LATE = 15
"""Calls that pass because a bucket refills while it is emptied."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Two workers behind a proxy that sends the client's address."""
    environment = {
        "BOOKING_WORKERS": "2",
        "BOOKING_TRUSTED_PROXIES": "127.0.0.1",
        "BOOKING_AUTH_RATE_LIMIT_PER_MINUTE": str(CALLS),
    }
    with running_service(tmp_path_factory.mktemp("guessing") / "data", environment) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(service: RunningService) -> Iterator[Api]:
    with open_api(service) as api:
        yield api


def register(api: Api, address: str) -> str:
    """Registers a new account from an address. Returns its email."""
    email = f"{fresh('buyer')}@example.com"
    answer = api.anyone.call(
        "POST", "/auth/register", {"email": email, "password": PASSWORD}, headers={"X-Forwarded-For": address}
    )
    assert answer.status == 201
    return email


def log_in(api: Api, email: str, address: str, password: str = PASSWORD) -> Answer:
    body = {"email": email, "password": password}
    return api.anyone.call("POST", "/auth/login", body, headers={"X-Forwarded-For": address})


def by_basic(api: Api, email: str, address: str, password: str = PASSWORD, path: str = "/bookings") -> Answer:
    authorization = "Basic " + b64encode(f"{email}:{password}".encode()).decode()
    return api.anyone.call("GET", path, headers={"X-Forwarded-For": address, "Authorization": authorization})


def emptied(
    api: Api, email: str, way: Callable[[Api, str, str], Answer] = log_in, address: str | None = None
) -> Answer:
    """The answer to the right password, by default from a new address, after the account's bucket is empty."""
    while log_in(api, email, next(ADDRESSES), "wrong").status != 429:
        pass
    return way(api, email, address or next(ADDRESSES))


def test_wrong_basic_passwords_are_limited_per_address_only(guarded: Api) -> None:
    guesser, honest = next(ADDRESSES), next(ADDRESSES)
    email = register(guarded, honest)
    with ThreadPoolExecutor(16) as pool:
        guesses = [
            pool.submit(by_basic, guarded, f"{fresh('nobody')}@example.com", guesser, f"guess {number}")
            for number in range(60)
        ]
        logins = [log_in(guarded, email, honest).status for _ in range(5)]
        answers = [guess.result() for guess in guesses]
    assert logins == [200] * 5
    counted = Counter(answer.verdict for answer in answers)
    assert counted.keys() == {(401, "unauthenticated"), (429, "rate_limited")}
    assert CALLS <= counted[401, "unauthenticated"] <= CALLS + LATE
    refused = next(answer for answer in answers if answer.status == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit-policy"] == f'"auth";q={CALLS};w=60'
    assert refused.headers["ratelimit"].startswith('"auth";r=0;t=')


def test_all_ways_to_sign_in_share_one_bucket_per_address(guarded: Api) -> None:
    address = next(ADDRESSES)
    email = f"{fresh('nobody')}@example.com"
    for number in range(CALLS + LATE):
        by_basic(guarded, f"{number}{email}", address, "wrong", path=f"/events/{number + 1}/booking")
    assert log_in(guarded, email, address).verdict == (429, "rate_limited")
    assert by_basic(guarded, email, address, path="/events/1/report").verdict == (429, "rate_limited")


def test_addresses_within_one_clients_network_share_a_bucket(guarded: Api) -> None:
    for number in range(CALLS + LATE):
        log_in(guarded, f"{fresh('nobody')}@example.com", f"2001:db8:7::{number:x}", "wrong")
    assert log_in(guarded, "nobody@example.com", "2001:db8:7:0:1:2:3:4").status == 429
    assert log_in(guarded, "nobody@example.com", "2001:db8:7:1::1").status == 401


@pytest.mark.parametrize("exists", [True, False])
def test_30_failures_a_minute_lock_an_account_except_for_known_addresses(guarded: Api, exists: bool) -> None:
    home = next(ADDRESSES)
    email = register(guarded, home) if exists else f"{fresh('nobody')}@example.com"
    with ThreadPoolExecutor(8) as pool:
        ways = [log_in if number % 2 else by_basic for number in range(2 * FAILURES)]
        answers = list(pool.map(lambda way: way(guarded, email.upper(), next(ADDRESSES), "wrong"), ways))
    counted = Counter(answer.status for answer in answers)
    assert counted.keys() == {401, 429}
    assert FAILURES <= counted[401] <= FAILURES + LATE
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.verdict == (429, "rate_limited")
    assert refused.headers["ratelimit-policy"] == '"account";q=30;w=60'
    assert 429 in {emptied(guarded, email).status for _ in range(5)}, "the right password was accepted"
    for way in (log_in, by_basic):
        if exists:
            assert way(guarded, email, home).status == 200
        else:
            assert 429 in {emptied(guarded, email, way, home).status for _ in range(5)}, "a known address of no account"


def test_a_remembered_password_uses_no_bucket(guarded: Api) -> None:
    address = next(ADDRESSES)
    email = register(guarded, address)
    assert {by_basic(guarded, email, address).status for _ in range(3 * CALLS)} == {200}
    # An organizer's endpoint reads the account each time, but checks the password no more often.
    assert {by_basic(guarded, email, address, path="/events/1/report").status for _ in range(3 * CALLS)} == {403}
    assert log_in(guarded, email, address).status == 200


def test_while_redis_is_away_no_password_is_checked(service: RunningService, guarded: Api) -> None:
    address = next(ADDRESSES)
    email = register(guarded, address)
    service.kill("redis", signal.SIGSTOP)
    authorization = "Basic " + b64encode(f"{email}:{PASSWORD}".encode()).decode()
    try:
        answers = [
            guarded.http.post("/auth/login", json={"email": email, "password": PASSWORD}),
            guarded.http.get("/bookings", headers={"Authorization": authorization}),
        ]
    finally:
        service.kill("redis", signal.SIGCONT)
    found = [(answer.status_code, answer.json()["code"], "retry-after" in answer.headers) for answer in answers]
    assert found == [(503, "inventory_unavailable", True)] * 2
