"""The default rate limits: per user and event, and per address on /auth/*."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.fixtures.waiting import eventually

from .api import Api, serving
from .client import Answer, Caller, fresh

BURST = 20
TRIES = 80
"""Calls in a row that empty any bucket: far more than the burst and the refill during the calls."""


@pytest.fixture
def at_each_worker(busy_api: Api) -> Iterator[list[Caller]]:
    """A caller for each of the two workers, on a connection to that worker."""
    found: dict[str, Caller] = {}
    with ExitStack() as stack:
        for _ in range(TRIES):
            http = stack.enter_context(httpx.Client(base_url=busy_api.base_url, timeout=30, trust_env=False))
            answer = http.get("/healthz")  # the prefix of a request id identifies the worker
            found.setdefault(answer.headers["x-request-id"].partition("-")[0], Caller(http))
            if len(found) == 2:
                yield list(found.values())
                return
    raise AssertionError(f"{TRIES} connections led to one worker")


def spend(user: Caller, event_id: int) -> Answer:
    """Calls until the bucket of this user and event is empty. Returns the refusal."""
    for _ in range(TRIES):
        answer = user.confirm(event_id)
        if answer.status == 429:
            return answer
    raise AssertionError(f"{TRIES} calls in a row were let through")


def test_a_whole_burst_passes_at_once(busy_api: Api) -> None:
    event_id = busy_api.event()
    user = busy_api.user()
    with ThreadPoolExecutor(BURST) as pool:
        answers = list(pool.map(lambda _: user.book(event_id), range(BURST)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * (BURST - 1)


def test_the_burst_is_the_same_for_any_number_of_workers(busy_api: Api, at_each_worker: list[Caller]) -> None:
    event_id, user = busy_api.event(), busy_api.user()
    callers = [replace(caller, authorization=user.authorization) for caller in at_each_worker]
    for number in range(BURST):
        assert callers[number % 2].confirm(event_id).status == 404
    refused = {caller.http: spend(caller, event_id).status for caller in callers}
    assert len(refused) == 2
    let_through = 0
    while callers[let_through % 2].confirm(event_id).status != 429:
        let_through += 1
        assert let_through < BURST / 2, "each worker has a bucket of its own"


def test_one_call_too_many_gets_a_retry_after(busy_api: Api) -> None:
    refusal = spend(busy_api.user(), busy_api.event())
    assert refusal.verdict == (429, "rate_limited")
    assert refusal.headers["ratelimit-policy"] == '"booking";q=20;w=2'
    assert refusal.headers["ratelimit"] == '"booking";r=0;t=1'
    assert int(refusal.headers["retry-after"]) >= 1


def test_the_three_commands_share_one_bucket(busy_api: Api) -> None:
    event_id = busy_api.event()
    user = busy_api.user()
    spend(user, event_id)
    # The bucket gains a token in a tenth of a second, so two calls in a row cannot both pass.
    calls = [user.book, user.cancel, user.confirm] * 10
    assert {call.__name__ for call in calls if call(event_id).status == 429} == {"book", "cancel", "confirm"}


def test_a_refused_call_changes_nothing(busy_api: Api) -> None:
    event_id = busy_api.event()
    before = busy_api.look(event_id)
    user = busy_api.user()
    spend(user, event_id)
    assert busy_api.look(event_id) == before


def test_the_limit_is_per_user(busy_api: Api) -> None:
    event_id = busy_api.event()
    spend(busy_api.user(), event_id)
    assert busy_api.user().book(event_id).status == 201


def test_the_limit_is_per_event(busy_api: Api) -> None:
    user = busy_api.user()
    spend(user, busy_api.event())
    assert user.book(busy_api.event()).status == 201


def test_reading_is_not_limited(busy_api: Api) -> None:
    event_id = busy_api.event()
    user = busy_api.user()
    spend(user, event_id)
    assert {user.booking(event_id).status for _ in range(BURST * 2)} == {404}
    assert {user.get(f"/status/{event_id}").status for _ in range(BURST * 2)} == {200}


def test_the_call_passes_after_its_retry_after(busy_api: Api) -> None:
    event_id = busy_api.event()
    user = busy_api.user()
    refusal = spend(user, event_id)
    time.sleep(int(refusal.headers["retry-after"]))  # as Retry-After says
    assert user.book(event_id).status == 201


def test_credentials_come_before_the_rate_limit(busy_api: Api) -> None:
    event_id = busy_api.event()
    spend(busy_api.user(), event_id)
    assert busy_api.anyone.book(event_id).verdict == (401, "unauthenticated")


def test_the_rate_limit_comes_before_the_fields(busy_api: Api) -> None:
    event_id = busy_api.event()
    user = busy_api.user()
    spend(user, event_id)
    answers = [user.post("/book", {"event_id": event_id, "nonsense": 1}) for _ in range(5)]
    assert (429, "rate_limited") in [answer.verdict for answer in answers]


def test_a_rate_limited_call_is_not_recorded_under_its_key(busy_api: Api) -> None:
    event_id = busy_api.event()
    user = busy_api.user()
    spend(user, event_id)
    keys = [f"key-{number}" for number in range(TRIES)]
    refused = next(key for key in keys if user.book(event_id, key=key).status == 429)
    answers: list[Answer] = []

    def goes_through() -> bool:
        answers.append(user.book(event_id, key=refused))
        return answers[-1].status != 429

    eventually(goes_through, "the bucket is filled again")
    assert answers[-1].status in (201, 409)
    assert "idempotent-replayed" not in answers[-1].headers


@pytest.fixture(scope="module")
def slow_refill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service whose callers may call or read three times, and then once in 1,000 s."""
    bursts = {"BOOKING_RATE_LIMIT_BURST": "3", "BOOKING_READ_RATE_LIMIT_BURST": "3"}
    rates = {"BOOKING_RATE_LIMIT_PER_SECOND": "0.001", "BOOKING_READ_RATE_LIMIT_PER_SECOND": "0.001"}
    with serving(tmp_path_factory.mktemp("slow") / "data", bursts | rates) as api:
        yield api


def test_a_users_calls_to_many_events_that_may_not_exist_are_bounded_together(slow_refill: Api) -> None:
    user = slow_refill.user()
    answers = [user.book(1_000_000 + number) for number in range(13)]  # four times three, and one more
    assert [answer.status for answer in answers] == [404] * 12 + [429]
    assert answers[-1].verdict == (429, "rate_limited")
    assert answers[-1].headers["ratelimit-policy"] == '"all-events";q=12;w=3000'
    assert int(answers[-1].headers["retry-after"]) <= 250
    assert user.cancel(slow_refill.event()).status == 429
    assert slow_refill.user().book(1_000_000).status == 404


def test_reads_of_one_user_or_address_are_bounded_and_those_of_others_pass(slow_refill: Api) -> None:
    event_id = slow_refill.event()
    user, organizer = slow_refill.user(), slow_refill.organizer
    assert user.book(event_id).status == 201
    booking, bookings = f"/events/{event_id}/booking", f"/events/{event_id}/bookings"
    report, audit = f"/events/{event_id}/report", f"/events/{event_id}/audit"
    for caller, paths in (
        (user, [booking, "/bookings", booking, "/bookings", booking]),
        (organizer, [bookings, report, audit, bookings, report, audit]),
        (slow_refill.anyone, ["/events", f"/events/{event_id}", "/events", f"/events/{event_id}", "/events"]),
    ):
        answers = [caller.get(path) for path in paths]
        assert [answer.status for answer in answers] == [200] * 3 + [429] * (len(paths) - 3)
        assert answers[-1].headers["ratelimit-policy"] == '"reads";q=3;w=3000'
        assert int(answers[-1].headers["retry-after"]) <= 1_000
    assert slow_refill.user().get("/bookings").status == 200
    assert {slow_refill.anyone.get(f"/status/{event_id}").status for _ in range(9)} == {200}


def test_60_sign_in_attempts_a_minute_from_one_address_pass(busy_api: Api, at_each_worker: list[Caller]) -> None:
    calls = [(caller, path) for path in ("/auth/login", "/auth/register") for caller in at_each_worker] * (TRIES // 4)
    answers = [caller.call("POST", path, {}) for caller, path in calls]
    assert {answer.status for answer in answers[:60]} == {422}
    refusal = next(answer for answer in answers[60:] if answer.status != 422)
    assert refusal.verdict == (429, "rate_limited")
    assert int(refusal.headers["retry-after"]) >= 1
    # The rate limit comes before the media type, the size and the JSON.
    text = [
        busy_api.anyone.call("POST", "/auth/login", content=b"{", headers={"Content-Type": "text/plain"})
        for _ in range(5)
    ]
    assert (429, "rate_limited") in [answer.verdict for answer in text]
    # No proxy is trusted here, so a client cannot claim another address.
    elsewhere = [
        busy_api.anyone.call("POST", "/auth/login", {}, headers={"X-Forwarded-For": f"192.0.2.{number}"})
        for number in range(5)
    ]
    assert (429, "rate_limited") in [answer.verdict for answer in elsewhere]


def test_the_limit_can_be_turned_off(api: Api) -> None:
    event_id = api.event()
    user = api.user()
    assert {user.confirm(event_id).status for _ in range(TRIES)} == {404}
    assert {api.anyone.post("/auth/login", {}).status for _ in range(TRIES)} == {422}


def test_a_service_may_call_a_hundred_times_as_often_as_a_user(slow_refill: Api) -> None:
    event_id, buyer, shop_id = slow_refill.event(), slow_refill.user(), fresh("shop")
    shop = slow_refill.bearer(shop_id, {**slow_refill.claims(shop_id), "role": "service"})

    def confirm_for_buyer() -> tuple[int, Any]:
        return shop.post("/confirm", {"event_id": event_id, "user_id": buyer.id}).verdict

    assert {confirm_for_buyer() for _ in range(40)} == {(404, "booking_not_found")}
    assert [buyer.confirm(event_id).status for _ in range(4)] == [404, 404, 404, 429]
    assert confirm_for_buyer() == (404, "booking_not_found"), "the buyer's calls have used the shop's bucket"
