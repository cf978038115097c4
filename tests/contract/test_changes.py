"""The feed: an organizer follows the changes of an event without a gap, and waits for the next one."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.service import running_service
from tests.fixtures.waiting import eventually

from .api import Api, open_api
from .client import Answer

REASON = "The hall has burnt down: sorry"


def feed(api: Api, event_id: int, query: str = "") -> Answer:
    """The organizer's feed of an event."""
    return api.organizer.get(f"/events/{event_id}/changes{query}")


def saved(api: Api, event_id: int) -> list[dict[str, Any]]:
    """All changes of an event, once the database has them."""
    seq = api.look(event_id)["seq"]
    eventually(lambda: [row["seq"] for row in feed(api, event_id).data][-1:] == [seq], "the feed has all changes")
    rows: list[dict[str, Any]] = feed(api, event_id).data
    return rows


def test_the_feed_tells_every_change_with_its_actor_and_what_it_left(api: Api) -> None:
    event_id = api.event(hold_seconds=60)
    first, second = api.users(2)
    first.book(event_id)
    first.confirm(event_id)
    second.book(event_id)
    organizer = api.organizer
    cancelled = organizer.post("/cancel", {"event_id": event_id, "user_id": first.id, "reason": f" {REASON} "})
    assert cancelled.status == 200
    organizer.change(event_id, event_name="Another name")
    rows = saved(api, event_id)
    assert [(row["event_id"], row["seq"]) for row in rows] == [(event_id, seq) for seq in range(1, 8)]
    assert [(row["kind"], row["actor"], row.get("reason")) for row in rows] == [
        ("created", organizer.id, None),
        ("held", first.id, None),
        ("confirmed", first.id, None),
        ("joined", second.id, None),
        ("cancelled", organizer.id, REASON),
        ("promoted", organizer.id, None),
        ("changed", organizer.id, None),
    ]
    assert rows[5]["booking"] == second.booking(event_id).data
    assert rows[4]["booking"] == cancelled.data
    details = api.anyone.get(f"/events/{event_id}/details").data
    assert rows[6]["event"].items() <= details.items()
    assert rows[6]["event"]["name"] == "Another name"


def test_pages_of_the_feed_join_without_a_gap(api: Api) -> None:
    event_id = api.event(available_tickets=5)
    for user in api.users(5):
        user.book(event_id)
    all_rows = saved(api, event_id)
    pages, after = [], 0
    while True:
        page = feed(api, event_id, f"?after={after}&limit=4")
        pages += page.data
        if not page.body["has_more"]:
            break
        after = page.data[-1]["seq"]
    assert pages == all_rows
    nothing = feed(api, event_id, f"?after={all_rows[-1]['seq']}")
    assert (nothing.status, nothing.data, nothing.body["has_more"]) == (200, [], False)


def test_a_wait_ends_with_the_next_change(api: Api) -> None:
    event_id = api.event()
    saved(api, event_id)
    user = api.user()
    waited: list[Answer] = []
    waiting = threading.Thread(target=lambda: waited.append(feed(api, event_id, "?after=1&wait=25")))
    waiting.start()
    user.book(event_id)
    waiting.join(20)
    assert [(row["kind"], row["booking"]["user_id"]) for row in waited[0].data] == [("booked", user.id)]


def test_a_wait_without_a_change_ends_with_an_empty_page(api: Api) -> None:
    event_id = api.event()
    saved(api, event_id)
    answer = feed(api, event_id, "?after=1&wait=1")
    assert (answer.status, answer.data) == (200, [])


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=1001", "wait=26", "wait=0.5", "after="])
def test_a_query_out_of_its_bounds_is_refused(api: Api, query: str) -> None:
    answer = feed(api, api.event(), f"?{query}")
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {f"?{query.partition('=')[0]}"}


def test_the_feed_is_for_the_events_organizer_alone(api: Api) -> None:
    event_id = api.event()
    other = api.bearer("another", {**api.claims("another"), "role": "organizer"})
    admin = api.bearer("an-admin", {**api.claims("an-admin"), "role": "admin"})
    assert api.user().get(f"/events/{event_id}/changes").verdict == (403, "forbidden")
    assert api.anyone.get(f"/events/{event_id}/changes").verdict == (401, "unauthenticated")
    assert other.get(f"/events/{event_id}/changes").verdict == (403, "forbidden")
    assert admin.get(f"/events/{event_id}/changes").status == 200
    assert feed(api, 999_999_999).verdict == (404, "event_not_found")


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "two\nlines", "right to \u202eleft", 7, None])
def test_a_reason_has_the_bounds_of_a_name(api: Api, reason: object) -> None:
    event_id, (buyer,) = api.sold_out()
    body = {"event_id": event_id, "user_id": buyer.id, "reason": reason}
    answer = api.organizer.post("/cancel", body)
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/reason"}
    assert buyer.booking(event_id).data["status"] == "confirmed"


def test_another_reason_under_a_used_key_is_refused(api: Api) -> None:
    event_id, (buyer,) = api.sold_out()
    body = {"event_id": event_id, "user_id": buyer.id, "reason": REASON}
    assert api.organizer.post("/cancel", body, key="k").status == 200
    assert api.organizer.post("/cancel", {**body, "reason": "x"}, key="k").verdict == (422, "idempotency_key_reused")


def test_the_reason_of_a_buyer_is_not_recorded(api: Api) -> None:
    event_id, (buyer,) = api.sold_out()
    assert buyer.post("/cancel", {"event_id": event_id, "reason": "I am ill"}).status == 200
    assert [row.get("reason") for row in saved(api, event_id)] == [None] * 3


@pytest.fixture
def stopping_api(tmp_path: Path) -> Iterator[tuple[Api, Any]]:
    with running_service(tmp_path / "data") as service, open_api(service) as api:
        yield api, service


def test_a_stop_answers_the_calls_that_wait(stopping_api: tuple[Api, Any]) -> None:
    api, service = stopping_api
    event_id = api.event()
    saved(api, event_id)
    answers: list[Answer] = []
    calls = [threading.Thread(target=lambda: answers.append(feed(api, event_id, "?after=1&wait=25"))) for _ in range(3)]
    for call in calls:
        call.start()
    assert feed(api, event_id, "?after=1&wait=1").data == []
    assert service.stop() == 0
    for call in calls:
        call.join(5)
    assert [(answer.status, answer.data) for answer in answers] == [(200, [])] * 3
