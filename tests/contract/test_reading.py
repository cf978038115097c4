"""Reading events: the list, one event with its ETag, and never a stale answer."""

import pytest

from .api import Api


def test_an_event_reads_the_same_by_either_path(api: Api) -> None:
    event_id, _ = api.sold_out(available_tickets=2)
    api.user().book(event_id)
    status = api.anyone.get(f"/status/{event_id}")
    event = api.anyone.get(f"/events/{event_id}")
    assert status.status == event.status == 200
    assert status.body["message"] == event.body["message"] == "Fetched event"
    assert status.data == event.data


def test_every_change_is_in_the_next_answer(api: Api) -> None:
    event_id = api.event(available_tickets=30)
    for sold in range(1, 31):
        user = api.user()
        user.book(event_id)
        assert api.look(event_id)["tickets_sold"] == sold
        assert api.anyone.get(f"/events/{event_id}").data["tickets_sold"] == sold
        assert user.booking(event_id).status == 200
    assert api.anyone.get("/events?limit=1").data[0]["available_tickets"] == 0


def test_no_worker_gives_a_stale_answer(busy_api: Api) -> None:
    event_id = busy_api.event(available_tickets=10)
    for sold in range(1, 11):
        user = busy_api.user()
        assert user.book(event_id).status == 201
        own = f"GET /events/{event_id}/booking HTTP/1.1\nAuthorization: {user.authorization}"
        # Each connection may be answered by either of the two workers.
        for _ in range(4):
            assert busy_api.raw_connection.send(f"GET /status/{event_id} HTTP/1.1").data["tickets_sold"] == sold
            assert busy_api.raw_connection.send(own).data["status"] == "confirmed"


def test_an_event_that_has_not_changed_is_not_sent_again(api: Api) -> None:
    event_id = api.event(available_tickets=2)
    first = api.anyone.get(f"/events/{event_id}")
    etag = first.headers["etag"]
    again = api.anyone.get(f"/events/{event_id}", If_None_Match=etag)
    assert again.status == 304
    assert again.headers["etag"] == etag
    assert again.headers["cache-control"] == first.headers["cache-control"], "RFC 9110, section 15.4.5"
    assert api.anyone.call("HEAD", f"/events/{event_id}", headers={"If-None-Match": etag}).status == 304


def test_an_event_that_has_changed_is_sent_with_another_etag(api: Api) -> None:
    event_id = api.event(available_tickets=3)
    seen: set[str] = set()
    for change in (
        lambda: None,
        lambda: api.user().book(event_id),
        lambda: api.organizer.change(event_id, paused=True),
        lambda: api.organizer.change(event_id, event_name="renamed"),
    ):
        change()
        answer = api.anyone.get(f"/events/{event_id}", If_None_Match=", ".join(seen) or '"none"')
        assert answer.status == 200
        assert answer.headers["etag"] not in seen
        seen.add(answer.headers["etag"])


@pytest.mark.parametrize("form", ['"other", {}', "W/{}", "*", '{} , W/"other"'])
def test_if_none_match_may_be_a_list_weak_or_a_star(api: Api, form: str) -> None:
    event_id = api.event()
    etag = api.anyone.get(f"/events/{event_id}").headers["etag"].removeprefix("W/")
    assert api.anyone.get(f"/events/{event_id}", If_None_Match=form.format(etag)).status == 304


def test_if_none_match_may_come_in_several_lines(api: Api) -> None:
    event_id = api.event()
    etag = api.anyone.get(f"/events/{event_id}").headers["etag"]
    head = f'GET /events/{event_id} HTTP/1.1\r\nIf-None-Match: "other"\r\nIf-None-Match: {etag}'
    assert api.raw_connection.send(head).status == 304


@pytest.mark.parametrize("form", ['"other"', "nonsense", '"', '""', "W/"])
def test_any_other_if_none_match_gets_the_whole_event(api: Api, form: str) -> None:
    event_id = api.event()
    assert api.anyone.get(f"/events/{event_id}", If_None_Match=form).status == 200


def test_the_list_is_newest_first_and_whole(api: Api) -> None:
    ids = [api.event() for _ in range(3)]
    answer = api.anyone.get("/events?limit=3")
    assert answer.status == 200
    assert [event["id"] for event in answer.data] == ids[::-1]
    assert answer.data == [api.look(event_id) for event_id in ids[::-1]]


def test_the_list_has_20_events_by_default(api: Api) -> None:
    ids = [api.event() for _ in range(21)]
    answer = api.anyone.get("/events")
    assert [event["id"] for event in answer.data] == ids[:0:-1]
    assert answer.body["has_more"] is True


def test_the_list_continues_after_an_id_until_its_end(api: Api) -> None:
    newest = [api.event() for _ in range(5)][::-1]
    seen: list[int] = []
    page = api.anyone.get("/events?limit=2")
    while True:
        seen += [event["id"] for event in page.data]
        assert 1 <= len(page.data) <= 100
        if not page.body["has_more"]:
            break
        page = api.anyone.get(f"/events?limit=100&starting_after={seen[-1]}")
    assert seen[:5] == newest
    assert len(seen) == len(set(seen))
    last = api.anyone.get(f"/events?starting_after={seen[-1]}")
    assert (last.data, last.body["has_more"]) == ([], False)
    before_last = api.anyone.get(f"/events?limit=1&starting_after={seen[-2]}")
    assert ([event["id"] for event in before_last.data], before_last.body["has_more"]) == ([seen[-1]], False)


@pytest.mark.parametrize("limit", ["1", "100"])
def test_the_limit_is_1_to_100(api: Api, limit: str) -> None:
    api.event()
    answer = api.anyone.get(f"/events?limit={limit}")
    assert answer.status == 200
    assert 1 <= len(answer.data) <= int(limit)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "abc", "", "1.5", "1e1", "9" * 30, "%00", "%F0%9F%8E%9F", "true"])
def test_an_invalid_limit_is_named(api: Api, limit: str) -> None:
    answer = api.anyone.get(f"/events?limit={limit}")
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"?limit"}


@pytest.mark.parametrize("cursor", ["999999999", "0", "-1", "abc", "", "1.5", "9" * 30, "%00", "%FF"])
def test_a_cursor_that_is_not_in_the_list_is_named(api: Api, cursor: str) -> None:
    answer = api.anyone.get(f"/events?starting_after={cursor}")
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"?starting_after"}


def test_every_invalid_parameter_is_listed(api: Api) -> None:
    answer = api.anyone.get("/events?limit=none&starting_after=nothing")
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"?limit", "?starting_after"}


def test_the_service_is_alive(api: Api) -> None:
    assert api.http.get("/healthz").status_code == 200


def test_readiness_is_reported_for_each_part(api: Api) -> None:
    response = api.http.get("/readyz")
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "ready"
    assert {name: part["ok"] for name, part in body["parts"].items() if name in ("redis", "database", "persister")} == {
        "redis": True,
        "database": True,
        "persister": True,
    }
    assert type(body["parts"]["persister"]["lag_entries"]) is int
    assert isinstance(body["parts"]["persister"]["lag_seconds"], int | float)
