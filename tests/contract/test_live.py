"""The live stream: what it sends at once and on change, to whom, and how it ends."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from booking.web.endpoints.live import OF_USER_MAX
from tests.fixtures.service import running_service
from tests.fixtures.waiting import eventually

from .api import Api, open_api
from .client import Caller, checked

PATIENCE_SECONDS = 20.0
LISTENERS = 300


class Listening:
    """One open stream, read event by event. `id` is that of the last one."""

    id = ""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def message(self) -> tuple[str, Any]:
        """The next message: its name and its data. Comments are skipped."""
        fields: dict[str, str] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if line == "" and "data" in fields:
                self.id = fields["id"]
                return fields["event"], json.loads(fields["data"])
            fields[name] = value
        raise AssertionError("the stream has ended")

    def next(self) -> tuple[str, int, Any]:
        """The next message: its name, the seq in its id, and its data."""
        name, data = self.message()
        epoch, seq = self.id.split("-")
        assert re.fullmatch("[0-9a-f]{16}", epoch)
        return name, int(seq), data

    def until(self, name: str, wanted: Any) -> Any:
        """The data of the first event of this name for which `wanted` is true."""
        while True:
            found, _, data = self.next()
            if found == name and wanted(data):
                return data


@contextmanager
def listening(
    api: Api,
    event_id: int,
    caller: Caller | None = None,
    last_event_id: str | None = None,
    request_id: str | None = None,
) -> Iterator[Listening]:
    headers = {} if caller is None else {"Authorization": caller.authorization or ""}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    if request_id is not None:
        headers["X-Request-ID"] = request_id
    with (
        httpx.Client(base_url=api.base_url, timeout=PATIENCE_SECONDS, trust_env=False) as client,
        client.stream("GET", f"/events/{event_id}/live", headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Listening(response)


def test_the_event_is_sent_at_once_and_on_change(api: Api) -> None:
    event_id = api.event(available_tickets=3)
    with listening(api, event_id) as stream:
        assert stream.next() == ("availability", 1, api.look(event_id))
        api.user().book(event_id)
        name, seq, data = stream.next()
        assert (name, seq, data["available_tickets"]) == ("availability", 2, 2)
        api.organizer.change(event_id, paused=True)
        assert stream.next()[2]["state"] == "paused"


def test_fast_changes_are_sent_together(api: Api) -> None:
    event_id = api.event(available_tickets=50)
    with listening(api, event_id) as stream:
        stream.next()
        for buyer in api.users(40):
            buyer.book(event_id)
        told = 1
        while stream.next()[2]["available_tickets"] > 10:
            told += 1
        assert told < 40


def test_a_signed_in_listener_gets_every_change_of_their_booking(api: Api) -> None:
    event_id, (first,) = api.sold_out()
    second, third = api.users(2)
    second.book(event_id)
    with listening(api, event_id, third) as stream:
        assert stream.next()[0] == "availability"
        assert stream.next()[::2] == ("booking", None)
        third.book(event_id)
        assert stream.until("booking", lambda data: data)["position"] == 2
        second.cancel(event_id)
        assert stream.until("booking", lambda data: data["position"] == 1)["status"] == "waiting"
        first.cancel(event_id)
        assert stream.until("booking", lambda data: data["status"] == "confirmed")["source"] == "waitlist"
        third.cancel(event_id)
        assert stream.until("booking", lambda data: data is None) is None


def test_a_reconnecting_listener_gets_exactly_what_they_missed(api: Api) -> None:
    event_id = api.event(available_tickets=3)
    with listening(api, event_id) as stream:
        seq, first_id = stream.next()[1], stream.id
    with listening(api, event_id, last_event_id=first_id) as stream:
        api.user().book(event_id)
        assert stream.next()[1] == seq + 1, "the unchanged event was sent again"
    with listening(api, event_id, last_event_id=first_id) as stream:
        assert stream.next()[1] == seq + 1
        second_id = stream.id
    with listening(api, event_id, api.user(), last_event_id=second_id) as stream:
        assert stream.next()[::2] == ("booking", None), "the booking was not sent"


@pytest.mark.parametrize("form", ["{seq}", "0123456789abcdef-{seq}", "{epoch}", "nonsense", "-{seq}"])
def test_any_other_last_event_id_counts_as_unknown(api: Api, form: str) -> None:
    event_id = api.event(available_tickets=3)
    with listening(api, event_id) as stream:
        stream.next()
        epoch, seq = stream.id.split("-")
    with listening(api, event_id, api.user(), form.format(epoch=epoch, seq=seq)) as stream:
        assert stream.next()[0] == "availability"


def test_a_refused_listener_gets_the_reason(api: Api) -> None:
    event_id = api.event()
    path = f"/events/{event_id}/live"
    assert api.with_token("forged.hush.x").get(path).status == 401
    assert api.anyone.get("/events/987654/live").body["code"] == "event_not_found"
    head = api.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


def commands(api: Api) -> float:
    """How many commands the workers have sent to Redis."""
    (total,) = re.findall(r"^booking_batch_commands_sum (\S+)$", api.http.get("/metrics").text, re.MULTILINE)
    return float(total)


def test_many_listeners_share_one_read_free_their_slots_and_delay_no_stop(tmp_path: Path) -> None:
    settings = {"BOOKING_RATE_LIMIT": "off", "BOOKING_LIVE_LIMIT": str(LISTENERS)}
    with running_service(tmp_path / "data", settings) as service, open_api(service) as api:
        event_id = api.event(available_tickets=100_000, event_name="x" * 200)
        url = urlsplit(api.base_url)
        crowd = [socket.create_connection((url.hostname, url.port), timeout=PATIENCE_SECONDS) for _ in range(LISTENERS)]
        request = f"GET /events/{event_id}/live HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for one in crowd:
            one.sendall(request)
        for one in crowd:
            assert one.recv(65_536).startswith(b"HTTP/1.1 200")
        refused = api.http.get(f"/events/{event_id}/live")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert "retry-after" in refused.headers
        before, began = commands(api), time.monotonic()
        api.user().book(event_id)
        for one in crowd:
            seen = b""
            while b'"available_tickets":99999' not in seen:
                seen += one.recv(65_536)
        # A read for each listener would be several commands a second each; the sweeper and /metrics send commands, too.
        assert commands(api) - before < LISTENERS + 60 * (time.monotonic() - began)
        for one in crowd[1:]:
            one.close()

        def may_listen() -> bool:
            with api.http.stream("GET", f"/events/{event_id}/live") as response:
                return response.status_code == 200

        for _ in range(3):
            eventually(may_listen, "a place that was left is free again")
        assert service.stop() == 0
        rest = b""
        while piece := crowd[0].recv(65_536):
            rest += piece
        assert rest.endswith(b"0\r\n\r\n"), "the stream has no regular end"
        crowd[0].close()


def test_one_address_or_one_user_cannot_take_every_place(tmp_path: Path) -> None:
    settings = {"BOOKING_LIVE_LIMIT_PER_ADDRESS": "60", "BOOKING_TRUSTED_PROXIES": "127.0.0.1"}
    with running_service(tmp_path / "data", settings) as service, open_api(service) as api, ExitStack() as open_streams:
        event_id = api.event()
        # One client, because each makes a context of TLS; without bounds, because each stream keeps its connection.
        limits = httpx.Limits(max_connections=None)
        client = open_streams.enter_context(httpx.Client(base_url=api.base_url, trust_env=False, limits=limits))

        def listen(address: str, user: Caller) -> tuple[int, httpx.Headers]:
            headers = {"X-Forwarded-For": address, "Authorization": user.authorization or ""}
            response = open_streams.enter_context(
                client.stream("GET", f"/events/{event_id}/live", headers=headers, timeout=PATIENCE_SECONDS)
            )
            return response.status_code, response.headers

        ann, bob = api.users(2)
        assert {listen(f"2001:db8::{number}", ann)[0] for number in range(OF_USER_MAX)} == {200}
        status, headers = listen("198.51.100.7", ann)
        assert (status, "retry-after" in headers) == (429, True), "one user, from wherever"
        assert {listen("2001:db8::ffff", bob)[0] for _ in range(10)} == {200}
        status, headers = listen("2001:db8::1:1", bob)
        assert (status, headers["ratelimit"]) == (429, '"listeners";r=0'), "one network, by whichever user"
        assert listen("198.51.100.7", bob)[0] == 200
        documented = checked(
            "GET", f"/events/{event_id}/live", *_answer(api, event_id, {"X-Forwarded-For": "2001:db8::"})
        )
        assert documented.verdict == (429, "rate_limited")


def _answer(api: Api, event_id: int, headers: dict[str, str]) -> tuple[int, httpx.Headers, bytes]:
    response = api.http.get(f"/events/{event_id}/live", headers=headers)
    return response.status_code, response.headers, response.content


def test_a_stream_has_a_request_id_of_its_own(api: Api) -> None:
    event_id = api.event()
    for number in range(3):
        with listening(api, event_id, request_id=f"stream-{number}") as stream:
            assert stream.response.headers.get_list("x-request-id") == [f"stream-{number}"]


def test_a_listener_who_joins_a_busy_sale_never_gets_an_older_state(api: Api) -> None:
    event_id = api.event(available_tickets=20)
    with listening(api, event_id):  # another user, whose last read shows it
        for buyer in api.users(5):
            buyer.book(event_id)
            with listening(api, event_id, buyer) as stream:
                told = [stream.next(), stream.next()]
                api.user().book(event_id)
                told += [stream.next()]
            assert [name for name, _, _ in told[:2]] == ["availability", "booking"]
            seqs = [seq for _, seq, _ in told]
            assert seqs == sorted(seqs)


@pytest.mark.parametrize(
    ("edge", "before", "after"), [("opens_at", "scheduled", "open"), ("closes_at", "open", "closed")]
)
def test_a_reconnecting_listener_gets_what_only_the_clock_has_changed(
    api: Api, edge: str, before: str, after: str
) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=1.5)
    event_id = api.event(**{edge: moment.isoformat()})
    with listening(api, event_id) as stream:
        _, seq, data = stream.next()
        assert data["state"] == before
        last_id = stream.id
        assert stream.next()[1:] == (seq, {**data, "state": after}), "those who listen on are told, too"
    with listening(api, event_id, last_event_id=last_id) as stream:
        name, again, data = stream.next()
    assert (name, again, data["state"]) == ("availability", seq, after)
