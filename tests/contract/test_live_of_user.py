"""`GET /live`: several events and all bookings of a user in one stream."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from booking.web.endpoints.live_of_user import EVENTS_MAX
from tests.fixtures.service import running_service

from .api import Api, open_api
from .client import Caller
from .test_live import PATIENCE_SECONDS, Listening, commands

LISTENERS = 60


class ListeningToSeveral(Listening):
    """Its ids are opaque."""

    def next(self) -> tuple[str, int, Any]:
        """The next message: its name, the event that it names, and its data or the booking in it."""
        name, data = self.message()
        if name == "availability":
            return name, data["id"], data
        return name, data["event_id"], data.get("booking")

    def about(self, event_id: int, name: str = "booking") -> Any:
        """The data of the next message of this name about an event."""
        while True:
            found, about, data = self.next()
            if (found, about) == (name, event_id):
                return data


@contextmanager
def listening(
    api: Api, *event_ids: int, caller: Caller | None = None, last_event_id: str | None = None
) -> Iterator[ListeningToSeveral]:
    headers = {} if caller is None else {"Authorization": caller.authorization or ""}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    named = {"events": ",".join(map(str, event_ids))} if event_ids else {}
    with (
        httpx.Client(base_url=api.base_url, timeout=PATIENCE_SECONDS, trust_env=False) as client,
        client.stream("GET", "/live", params=named, headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield ListeningToSeveral(response)


def test_each_named_event_is_sent_at_once_and_on_change(api: Api) -> None:
    first, second = api.event(available_tickets=3), api.event(available_tickets=5)
    with listening(api, first, second) as stream:
        assert [stream.next() for _ in range(2)] == [
            ("availability", first, api.look(first)),
            ("availability", second, api.look(second)),
        ]
        api.user().book(second)
        assert stream.about(second, "availability")["available_tickets"] == 4
        api.organizer.change(first, paused=True)
        assert stream.about(first, "availability")["state"] == "paused"


def test_bookings_of_named_events_are_told_from_none_to_the_end(api: Api) -> None:
    event_id, (buyer,) = api.sold_out()
    me = api.user()
    with listening(api, event_id, caller=me) as stream:
        assert stream.about(event_id) is None
        me.book(event_id)
        assert stream.about(event_id)["position"] == 1
        buyer.cancel(event_id)
        assert stream.about(event_id)["status"] == "confirmed"
        me.cancel(event_id)
        assert stream.about(event_id) is None


def test_bookings_of_events_that_are_not_named_are_told_whenever_they_are_made(api: Api) -> None:
    named, before, later = (api.event(available_tickets=5, hold_seconds=600) for _ in range(3))
    me = api.user()
    me.book(before)
    with listening(api, named, caller=me) as stream:
        assert stream.about(before)["status"] == "held"
        me.book(later)
        assert stream.about(later)["status"] == "held"
        me.confirm(before)
        assert stream.about(before)["status"] == "confirmed"
        me.cancel(before)
        assert stream.about(before) is None
        me.book(before)
        assert stream.about(before)["status"] == "held"
        api.user().book(named)
        told = stream.next()
        assert told[:2] == ("availability", named), "an event that is not named is told of by its booking alone"


def test_a_user_without_any_booking_may_listen_for_the_first(api: Api) -> None:
    event_id = api.event()
    me = api.user()
    with listening(api, caller=me) as stream:
        me.book(event_id)
        assert stream.about(event_id)["status"] == "confirmed"


def test_nobody_hears_of_the_bookings_of_another_user(api: Api) -> None:
    event_id = api.event(available_tickets=5)
    me, other = api.users(2)
    with listening(api, event_id, caller=me) as mine, listening(api, event_id) as anonymous:
        other.book(event_id)
        assert [mine.next()[0] for _ in range(3)] == ["availability", "booking", "availability"]
        assert [anonymous.next()[0] for _ in range(2)] == ["availability", "availability"]
        me.book(event_id)
        assert mine.about(event_id)["user_id"] == me.id
        assert anonymous.next()[0] == "availability"


def test_a_client_that_resumes_gets_the_events_that_have_changed(api: Api) -> None:
    first, second, third = (api.event(available_tickets=3) for _ in range(3))
    with listening(api, first, second) as stream:
        stream.next()
        stream.next()
        seen = stream.id
    api.user().book(second)
    with listening(api, third, second, first, last_event_id=seen) as stream:
        assert [stream.next()[1] for _ in range(2)] == [third, second]
        api.user().book(first)
        assert stream.next()[1] == first
    with listening(api, first, last_event_id="nonsense..x") as stream:
        assert stream.next()[1] == first


def test_an_event_that_does_not_exist_ends_nothing_else(api: Api) -> None:
    event_id = api.event(available_tickets=3)
    with listening(api, 987654321, event_id) as stream:
        assert stream.next() == ("gone", 987654321, None)
        assert stream.next()[1] == event_id
        api.user().book(event_id)
        assert stream.next()[1] == event_id


@pytest.mark.parametrize(
    "query", ["", "?events=", "?events=x", "?events=0", "?events=1,-2", "?events=1%202", "?events=1.5"]
)
def test_a_stream_of_nothing_or_of_no_ids_is_refused(api: Api, query: str) -> None:
    refused = api.anyone.get(f"/live{query}")
    assert (refused.verdict, refused.pointers) == ((422, "invalid_request"), {"?events"})


def test_more_events_than_a_stream_may_name_are_refused(api: Api) -> None:
    event_id = api.event()
    with listening(api, *[event_id] * EVENTS_MAX, event_id) as stream:
        assert stream.next()[1] == event_id, "an event that is named twice counts once"
    too_many = ",".join(str(number) for number in range(1, EVENTS_MAX + 2))
    assert api.user().get(f"/live?events={too_many}").pointers == {"?events"}
    assert api.with_token("forged.hush.x").get("/live").status == 401
    head = api.http.head(f"/live?events={event_id}")
    assert (head.status_code, head.content) == (200, b"")


def test_a_stream_ends_with_its_token(api: Api) -> None:
    me = api.bearer("brief", api.claims("brief") | {"exp": int(time.time()) + 2})
    event_id = api.event()
    with listening(api, event_id, caller=me) as stream, pytest.raises(AssertionError, match="the stream has ended"):
        stream.about(event_id, "the end")


def test_naming_many_events_again_and_again_draws_on_the_bucket_for_reads(tmp_path: Path) -> None:
    settings = {"BOOKING_READ_RATE_LIMIT_BURST": "40", "BOOKING_READ_RATE_LIMIT_PER_SECOND": "1"}
    with running_service(tmp_path / "data", settings) as service, open_api(service) as api:
        named = ",".join(str(api.event()) for _ in range(EVENTS_MAX))
        me = api.user()
        assert (
            api.http.head(f"/live?events={named}", headers={"Authorization": me.authorization or ""}).status_code == 200
        )
        assert me.get(f"/live?events={named}").verdict == (429, "rate_limited")
        with listening(api, api.event(), caller=me) as stream:
            assert stream.next()[0] == "availability", "a stream of one event is free"


def test_many_listeners_share_the_reads_of_an_event(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", {"BOOKING_RATE_LIMIT": "off"}) as service, open_api(service) as api:
        events = [api.event(available_tickets=1_000) for _ in range(2)]
        with ExitStack() as streams:
            crowd = [streams.enter_context(listening(api, *events)) for _ in range(LISTENERS)]
            for one in crowd:
                one.next()
                one.next()
            before, began = commands(api), time.monotonic()
            api.user().book(events[1])
            for one in crowd:
                assert one.about(events[1], "availability")["available_tickets"] == 999
            # A read for each listener would be several commands a second each.
            assert commands(api) - before < LISTENERS + 60 * (time.monotonic() - began)
            text = api.http.get("/metrics").text
            assert re.search(rf"^booking_live_listeners\{{.*\}} {LISTENERS}(\.0)?$", text, re.MULTILINE)
