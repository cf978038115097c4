"""Reading sales: the list of events, one event with its ETag, and never a stale answer."""

import pytest

from .house import House


def test_an_event_reads_the_same_by_either_path(house: House) -> None:
    event_id, _ = house.sold_out(available_tickets=2)
    house.user().book(event_id)
    status = house.anyone.get(f"/status/{event_id}")
    event = house.anyone.get(f"/events/{event_id}")
    assert status.status == event.status == 200
    assert status.body["message"] == event.body["message"] == "Fetched event"
    assert status.data == event.data


def test_every_change_shows_in_the_very_next_answer(house: House) -> None:
    event_id = house.event(available_tickets=30)
    for sold in range(1, 31):
        user = house.user()
        user.book(event_id)
        assert house.look(event_id)["tickets_sold"] == sold
        assert house.anyone.get(f"/events/{event_id}").data["tickets_sold"] == sold
        assert user.booking(event_id).status == 200
    assert house.anyone.get("/events?limit=1").data[0]["available_tickets"] == 0


def test_no_worker_gives_a_stale_answer(busy_house: House) -> None:
    event_id = busy_house.event(available_tickets=10)
    for sold in range(1, 11):
        user = busy_house.user()
        assert user.book(event_id).status == 201
        own = f"GET /events/{event_id}/booking HTTP/1.1\nAuthorization: {user.authorization}"
        # Each connection may be answered by either of the two workers.
        for _ in range(4):
            assert busy_house.line.send(f"GET /status/{event_id} HTTP/1.1").data["tickets_sold"] == sold
            assert busy_house.line.send(own).data["status"] == "confirmed"


def test_an_event_that_has_not_changed_is_not_sent_again(house: House) -> None:
    event_id = house.event(available_tickets=2)
    first = house.anyone.get(f"/events/{event_id}")
    etag = first.headers["etag"]
    again = house.anyone.get(f"/events/{event_id}", If_None_Match=etag)
    assert again.status == 304
    assert again.headers["etag"] == etag
    assert again.headers["cache-control"] == first.headers["cache-control"], "RFC 9110, section 15.4.5"
    assert house.anyone.call("HEAD", f"/events/{event_id}", headers={"If-None-Match": etag}).status == 304


def test_an_event_that_has_changed_is_sent_with_another_etag(house: House) -> None:
    event_id = house.event(available_tickets=3)
    seen: set[str] = set()
    for change in (
        lambda: None,
        lambda: house.user().book(event_id),
        lambda: house.organizer.change(event_id, paused=True),
        lambda: house.organizer.change(event_id, event_name="renamed"),
    ):
        change()
        answer = house.anyone.get(f"/events/{event_id}", If_None_Match=", ".join(seen) or '"none"')
        assert answer.status == 200
        assert answer.headers["etag"] not in seen
        seen.add(answer.headers["etag"])


@pytest.mark.parametrize("form", ['"other", {}', "W/{}", "*", '{} , W/"other"'])
def test_if_none_match_may_be_a_list_weak_or_a_star(house: House, form: str) -> None:
    event_id = house.event()
    etag = house.anyone.get(f"/events/{event_id}").headers["etag"].removeprefix("W/")
    assert house.anyone.get(f"/events/{event_id}", If_None_Match=form.format(etag)).status == 304


def test_if_none_match_may_come_in_several_lines(house: House) -> None:
    event_id = house.event()
    etag = house.anyone.get(f"/events/{event_id}").headers["etag"]
    head = f'GET /events/{event_id} HTTP/1.1\r\nIf-None-Match: "other"\r\nIf-None-Match: {etag}'
    assert house.line.send(head).status == 304


@pytest.mark.parametrize("form", ['"other"', "nonsense", '"', '""', "W/"])
def test_any_other_if_none_match_gets_the_event(house: House, form: str) -> None:
    event_id = house.event()
    assert house.anyone.get(f"/events/{event_id}", If_None_Match=form).status == 200


def test_the_list_is_newest_first_and_whole(house: House) -> None:
    ids = [house.event() for _ in range(3)]
    answer = house.anyone.get("/events?limit=3")
    assert answer.status == 200
    assert [event["id"] for event in answer.data] == ids[::-1]
    assert answer.data == [house.look(event_id) for event_id in ids[::-1]]


def test_the_list_has_20_unless_told_otherwise(house: House) -> None:
    ids = [house.event() for _ in range(21)]
    answer = house.anyone.get("/events")
    assert [event["id"] for event in answer.data] == ids[:0:-1]
    assert answer.body["has_more"] is True


def test_the_list_goes_on_after_an_id_until_there_is_no_more(house: House) -> None:
    newest = [house.event() for _ in range(5)][::-1]
    seen: list[int] = []
    page = house.anyone.get("/events?limit=2")
    while True:
        seen += [event["id"] for event in page.data]
        assert 1 <= len(page.data) <= 100
        if not page.body["has_more"]:
            break
        page = house.anyone.get(f"/events?limit=100&starting_after={seen[-1]}")
    assert seen[:5] == newest
    assert len(seen) == len(set(seen))
    last = house.anyone.get(f"/events?starting_after={seen[-1]}")
    assert (last.data, last.body["has_more"]) == ([], False)
    before_last = house.anyone.get(f"/events?limit=1&starting_after={seen[-2]}")
    assert ([event["id"] for event in before_last.data], before_last.body["has_more"]) == ([seen[-1]], False)


@pytest.mark.parametrize("limit", ["1", "100"])
def test_the_limit_reaches_from_1_to_100(house: House, limit: str) -> None:
    house.event()
    answer = house.anyone.get(f"/events?limit={limit}")
    assert answer.status == 200
    assert 1 <= len(answer.data) <= int(limit)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "abc", "", "1.5", "1e1", "9" * 30, "%00", "%F0%9F%8E%9F", "true"])
def test_a_bad_limit_is_named(house: House, limit: str) -> None:
    answer = house.anyone.get(f"/events?limit={limit}")
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"?limit"}


@pytest.mark.parametrize("cursor", ["999999999", "0", "-1", "abc", "", "1.5", "9" * 30, "%00", "%FF"])
def test_a_cursor_that_is_not_in_the_list_is_named(house: House, cursor: str) -> None:
    answer = house.anyone.get(f"/events?starting_after={cursor}")
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"?starting_after"}


def test_every_bad_parameter_is_listed(house: House) -> None:
    answer = house.anyone.get("/events?limit=none&starting_after=nothing")
    assert answer.verdict == (422, "invalid_request")
    assert answer.pointers == {"?limit", "?starting_after"}


def test_the_service_is_alive(house: House) -> None:
    assert house.http.get("/healthz").status_code == 200


def test_a_service_that_can_serve_says_so_part_by_part(house: House) -> None:
    response = house.http.get("/readyz")
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
