"""The sale window and the pause: they stop `/book`, and nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .api import Api, until_past

LONG_AGO = "2020-01-01T00:00:00Z"
FAR_AWAY = "2099-01-01T00:00:00Z"


def test_a_sale_that_is_not_open_says_when_it_opens(api: Api) -> None:
    created = api.initialize(opens_at=FAR_AWAY).data
    assert (created["state"], created["opens_at"]) == ("scheduled", "2099-01-01T00:00:00.000Z")
    answer = api.user().book(created["id"])
    assert answer.verdict == (403, "sale_not_open")
    assert answer.data["opens_at"] == "2099-01-01T00:00:00.000Z"
    told = datetime.fromisoformat(answer.data["server_time"])
    assert abs(datetime.now(UTC) - told) < timedelta(seconds=30)
    assert answer.data["server_time"].endswith("Z")
    assert int(answer.headers["retry-after"]) >= 1
    assert api.look(created["id"])["available_tickets"] == 1


def test_a_sale_opens_and_closes_by_itself(api: Api) -> None:
    now = datetime.now(UTC)
    opens, closes = now + timedelta(seconds=1.5), now + timedelta(seconds=3)
    event_id = api.event(available_tickets=2, opens_at=opens.isoformat(), closes_at=closes.isoformat())
    user = api.user()
    assert user.book(event_id).verdict == (403, "sale_not_open")
    etags = [api.anyone.get(f"/events/{event_id}").headers["etag"]]
    until_past(opens.isoformat())
    etags.append(api.anyone.get(f"/events/{event_id}").headers["etag"])
    assert api.look(event_id)["state"] == "open"
    assert user.book(event_id).status == 201
    etags.append(api.anyone.get(f"/events/{event_id}").headers["etag"])
    until_past(closes.isoformat())
    etags.append(api.anyone.get(f"/events/{event_id}").headers["etag"])
    assert len(set(etags)) == 4
    assert api.look(event_id)["state"] == "closed"
    assert api.user().book(event_id).verdict == (403, "sale_closed")
    assert user.cancel(event_id).status == 200


def test_a_window_in_the_past_is_closed(api: Api) -> None:
    event_id = api.event(opens_at="2019-01-01T00:00:00Z", closes_at=LONG_AGO)
    assert api.look(event_id)["state"] == "closed"
    assert api.user().book(event_id).verdict == (403, "sale_closed")


def test_an_opening_in_the_past_is_open(api: Api) -> None:
    event_id = api.event(opens_at=LONG_AGO, closes_at=FAR_AWAY)
    assert api.look(event_id)["state"] == "open"
    assert api.user().book(event_id).status == 201


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2098-06-01T12:00:00Z", "2098-06-01T12:00:00.000Z"),
        ("2098-06-01T12:00:00z", "2098-06-01T12:00:00.000Z"),
        ("2098-06-01T12:00:00.125Z", "2098-06-01T12:00:00.125Z"),
        ("2098-06-01T12:00:00+05:30", "2098-06-01T06:30:00.000Z"),
        ("2098-06-01T12:00:00-08:00", "2098-06-01T20:00:00.000Z"),
        ("2098-06-01T00:30:00.5+14:00", "2098-05-31T10:30:00.500Z"),
    ],
)
def test_times_may_be_in_any_offset_and_come_back_in_utc(api: Api, given: str, kept: str) -> None:
    assert api.initialize(closes_at=given).data["closes_at"] == kept


@pytest.mark.parametrize(
    "moment",
    ["", "soon", "2098-06-01", "2098-06-01T12:00:00", "12:00:00Z", "2098-13-01T00:00:00Z", "2098-02-30T00:00:00Z",
     "2098-06-01T25:00:00Z", "0000-00-00T00:00:00Z", "2098-06-01T12:00:00+99:00", 4_000_000_000, 1.5, True, [], {},
     "99999-01-01T00:00:00Z", "\u0662\u0660\u0669\u0668-06-01T12:00:00Z"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["opens_at", "closes_at"])
def test_any_other_value_is_no_valid_time(api: Api, field: str, moment: Any) -> None:
    answer = api.initialize(**{field: moment})
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {f"/{field}"}


@pytest.mark.parametrize("closes", ["2098-01-01T00:00:00Z", "2097-01-01T00:00:00Z", "2098-01-01T01:00:00+01:00"])
def test_a_sale_has_to_open_before_it_closes(api: Api, closes: str) -> None:
    answer = api.initialize(opens_at="2098-01-01T00:00:00Z", closes_at=closes)
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"/opens_at"}


def test_a_change_cannot_close_a_sale_before_it_opens(api: Api) -> None:
    event_id = api.event(opens_at="2098-01-01T00:00:00Z", closes_at=FAR_AWAY)
    before = api.look(event_id)
    for field, moment in (("closes_at", "2097-01-01T00:00:00Z"), ("opens_at", FAR_AWAY)):
        refused = api.organizer.change(event_id, **{field: moment})
        assert refused.verdict == (422, "invalid_request")
        assert refused.pointers == {f"/{field}"}
    assert api.look(event_id) == before
    both = api.organizer.change(event_id, opens_at="2096-01-01T00:00:00Z", closes_at="2097-01-01T00:00:00Z")
    assert both.status == 200


def test_the_window_may_be_moved_and_taken_away(api: Api) -> None:
    event_id = api.event(opens_at=FAR_AWAY)
    assert api.organizer.change(event_id, opens_at=None).data["state"] == "open"
    assert api.user().book(event_id).status == 201
    assert api.organizer.change(event_id, closes_at=LONG_AGO).data["state"] == "closed"
    assert api.organizer.change(event_id, closes_at=None).data["closes_at"] is None


def test_a_paused_sale_books_nothing_until_it_is_resumed(api: Api) -> None:
    event_id = api.event()
    paused = api.organizer.change(event_id, paused=True)
    assert (paused.data["paused"], paused.data["state"]) == (True, "paused")
    user = api.user()
    assert user.book(event_id).verdict == (403, "sale_paused")
    assert api.organizer.change(event_id, paused=False).data["state"] == "open"
    assert user.book(event_id).status == 201


@pytest.mark.parametrize("stopped", [{"paused": True}, {"closes_at": LONG_AGO}, {"opens_at": FAR_AWAY}])
def test_confirming_cancelling_and_promotion_go_on_in_a_stopped_sale(api: Api, stopped: dict[str, Any]) -> None:
    event_id = api.event(available_tickets=2, hold_seconds=60)
    confirming, cancelling, waiting, leaving = api.users(4)
    for user in (confirming, cancelling, waiting, leaving):
        user.book(event_id)
    assert api.organizer.change(event_id, **stopped).status == 200
    assert confirming.confirm(event_id).data["status"] == "confirmed"
    assert leaving.cancel(event_id).body["message"] == "Removed from the waiting list."
    assert cancelling.cancel(event_id).status == 200
    assert waiting.booking(event_id).data["status"] == "held"
    assert waiting.confirm(event_id).status == 200
    assert api.organizer.change(event_id, capacity=3).data["available_tickets"] == 1
    assert api.user().book(event_id).status == 403


def test_a_hold_expires_in_a_paused_sale(api: Api) -> None:
    event_id = api.event(hold_seconds=1)
    user, waiting = api.users(2)
    expires_at = user.book(event_id).data["expires_at"]
    waiting.book(event_id)
    api.organizer.change(event_id, paused=True)
    until_past(expires_at)
    assert user.confirm(event_id).verdict == (410, "hold_expired")
    assert waiting.booking(event_id).data["status"] == "held"
