"""Lists, CSV files and the report: complete, in order, and safe to open."""

import csv
import io
import json
from urllib.parse import quote

import pytest

from .api import Api
from .client import fresh


def ids(answer_data: list[dict[str, object]]) -> list[object]:
    return [booking["id"] for booking in answer_data]


def test_a_users_history_is_newest_first_over_all_events_and_in_pages(api: Api) -> None:
    user = api.user()
    events = [api.event() for _ in range(5)]
    made = [user.book(event_id).data["id"] for event_id in events]
    user.cancel(events[1])
    answer = user.get("/bookings")
    assert answer.status == 200
    assert ids(answer.data) == made[::-1]
    assert answer.body["has_more"] is False
    assert [booking["status"] for booking in answer.data] == ["confirmed"] * 3 + ["cancelled", "confirmed"]
    first = user.get("/bookings?limit=2")
    assert (ids(first.data), first.body["has_more"]) == (made[:2:-1], True)
    rest = user.get(f"/bookings?limit=5&starting_after={first.data[-1]['id']}")
    assert (ids(rest.data), rest.body["has_more"]) == (made[2::-1], False)
    assert api.user().get("/bookings").data == []
    assert api.user().get(f"/bookings?starting_after={made[0]}").status == 422, "another user's booking is in the list"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "starting_after=7", "starting_after=1-", "starting_after=-1"]
)
def test_an_invalid_page_parameter_is_named(api: Api, query: str) -> None:
    answer = api.user().get(f"/bookings?{query}")
    assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, f"?{query.partition('=')[0]}")


def test_a_users_history_has_each_of_its_events_once_if_they_are_wanted(api: Api) -> None:
    first, second = api.event(event_name="First", venue="Hall"), api.event()
    me = api.user()
    for event_id in (first, second, first):
        me.book(event_id)
        me.cancel(event_id)
    assert [one["id"] for one in me.get("/bookings?with_events=true").body["events"]] == [first, second]
    assert me.get("/bookings?with_events=true&limit=1").body["events"] == [api.look(first)]
    assert "events" not in me.get("/bookings").body | me.get("/bookings?with_events=false").body
    refused = me.get("/bookings?with_events=yes&limit=0")
    assert [fault["pointer"] for fault in refused.body["errors"]] == ["?with_events", "?limit"]


def test_only_organizers_may_list_an_events_bookings(api: Api) -> None:
    event_id, (buyer,) = api.sold_out()
    for path in ("bookings", "report"):
        assert api.anyone.get(f"/events/{event_id}/{path}").status == 401
        assert buyer.get(f"/events/{event_id}/{path}").status == 403
        assert api.organizer.get(f"/events/987654/{path}").status == 404
    assert api.anyone.get("/bookings").status == 401


def test_an_events_bookings_are_listed_by_status_in_pages_without_gaps(api: Api) -> None:
    event_id, buyers = api.sold_out(available_tickets=4)
    waiting = api.user()
    waiting.book(event_id)
    path = f"/events/{event_id}/bookings"
    everybody = api.organizer.get(path)
    assert [booking["user_id"] for booking in everybody.data] == [waiting.id, *(one.id for one in buyers[::-1])]
    assert [one["user_id"] for one in api.organizer.get(f"{path}?status=waiting").data] == [waiting.id]
    first = api.organizer.get(f"{path}?limit=2")
    api.user().book(event_id)  # a row that arrives between two pages
    buyers[0].cancel(event_id)  # and one that changes
    second = api.organizer.get(f"{path}?limit=9&starting_after={first.data[-1]['id']}")
    assert ids(first.data) + ids(second.data) == ids(everybody.data)
    assert second.data[-1]["status"] == "cancelled"
    other, _ = api.sold_out()
    assert api.organizer.get(f"{path}?starting_after={other}-2").status == 422
    assert api.organizer.get(f"{path}?starting_after={event_id}-999").status == 422
    wrong = api.organizer.get(f"{path}?status=lost&format=xls&limit=0")
    assert [fault["pointer"] for fault in wrong.body["errors"]] == ["?status", "?format", "?limit"]


def downloaded(api: Api, event_id: int, query: str) -> str:
    """A file of an event's bookings."""
    headers = {"Authorization": api.organizer.authorization or ""}
    response = api.http.get(f"/events/{event_id}/bookings?{query}", headers=headers)
    assert response.status_code == 200
    return response.text


@pytest.fixture
def searched(api: Api) -> tuple[int, str, list[str]]:
    """An event, a word in no other test's data, and its bookings' user ids: two of accounts."""
    word = fresh("Äx")
    event_id = api.event(available_tickets=3)
    accounts = []
    for email in (f"{word}-One@example.com", f"two-{word}@example.com"):
        answer = api.anyone.post("/auth/register", {"email": email, "password": "correct horse battery"})
        assert answer.status == 201, answer
        caller = api.with_token(answer.data["token"], f"account:{answer.data['user']['id']}")
        accounts.append(caller)
    callers = [api.user(f"{word}-three"), accounts[0], api.user(f"four-{word}"), accounts[1]]
    for caller in callers:
        assert caller.book(event_id).status in (201, 202)
    return event_id, word, [caller.id for caller in callers]


def test_an_organizer_finds_buyers_by_the_beginning_of_their_id_or_email(
    api: Api, searched: tuple[int, str, list[str]]
) -> None:
    event_id, word, users = searched

    def found(q: str, more: str = "") -> list[str]:
        answer = api.organizer.get(f"/events/{event_id}/bookings?q={quote(q)}{more}")
        assert answer.status == 200, answer
        rows = downloaded(api, event_id, f"format=ndjson&q={quote(q)}{more}").splitlines()
        listed = [booking["user_id"] for booking in answer.data]
        assert [json.loads(row)["user_id"] for row in rows] == listed[::-1], "a file has the same, oldest first"
        return listed

    assert found(word) == [users[1], users[0]]
    assert found(word.upper()) == [users[1]], "an email has no case, a user id has one"
    assert found(f"{word}-one@example.com") == [users[1]]
    assert found(f"two-{word}") == [users[3]]
    assert found(users[3]) == [users[3]]
    assert found(f"two-{word}", "&status=waiting") == [users[3]]
    assert found(f"two-{word}", "&status=confirmed") == []
    for nobody in ("%", "_", f"%{word}", f"{word}%", "\\", "'", '"'):
        assert found(nobody) == []


def test_an_organizer_sees_the_email_of_a_buyer_with_an_account_and_a_buyer_does_not(
    api: Api, searched: tuple[int, str, list[str]]
) -> None:
    event_id, word, users = searched
    emails = {users[1]: f"{word}-One@example.com", users[3]: f"two-{word}@example.com"}
    for booking in api.organizer.get(f"/events/{event_id}/bookings").data:
        assert booking.get("email") == emails.get(booking["user_id"])
    for row in downloaded(api, event_id, "format=ndjson").splitlines():
        assert json.loads(row).get("email") == emails.get(json.loads(row)["user_id"])
    for cells in csv.DictReader(io.StringIO(downloaded(api, event_id, "format=csv"), newline="")):
        assert cells["email"] == emails.get(cells["user_id"], "")
    buyer = api.user(users[0])
    assert "email" not in buyer.get("/bookings").data[0]
    assert "email" not in buyer.booking(event_id).data


def test_the_waiting_list_can_be_read_from_its_head(api: Api) -> None:
    event_id, _ = api.sold_out()
    waiting = api.users(5)
    for user in waiting:
        user.book(event_id)
    path = f"/events/{event_id}/bookings?status=waiting&order=oldest&limit=2"
    first = api.organizer.get(path)
    second = api.organizer.get(f"{path}&starting_after={first.data[-1]['id']}")
    assert [one["user_id"] for one in (*first.data, *second.data)] == [user.id for user in waiting[:4]]
    assert [one["position"] for one in (*first.data, *second.data)] == [1, 2, 3, 4]
    assert (first.body["has_more"], second.body["has_more"]) == (True, True)
    waiting[1].cancel(event_id)
    ended = api.organizer.get(f"/events/{event_id}/bookings?status=ended")
    assert [one["user_id"] for one in ended.data] == [waiting[1].id]
    wrong = api.organizer.get(f"/events/{event_id}/bookings?q=&order=any&limit=0")
    assert [fault["pointer"] for fault in wrong.body["errors"]] == ["?q", "?order", "?limit"]


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@"])
def test_a_csv_file_is_safe_to_open_in_a_spreadsheet(api: Api, beginning: str) -> None:
    event_id = api.event(available_tickets=2)
    user = api.user(f'{beginning}cmd|"/c calc",x')
    assert user.book(event_id).status == 201
    response = api.http.get(
        f"/events/{event_id}/bookings?format=csv", headers={"Authorization": api.organizer.authorization or ""}
    )
    assert response.headers["content-type"].startswith("text/csv")
    assert f'filename="event-{event_id}-seq-2.csv"' in response.headers["content-disposition"]
    assert response.headers["x-event-seq"] == "2"
    (row,) = csv.DictReader(io.StringIO(response.text, newline=""))
    assert row["user_id"] == f"'{user.id}"
    assert row["status"] == "confirmed"
    assert response.text.count("\r\n") == 2


def test_a_csv_file_has_every_booking_as_of_the_seq_that_it_names(api: Api) -> None:
    event_id, buyers = api.sold_out(available_tickets=3)
    buyers[1].cancel(event_id)
    response = api.http.get(
        f"/events/{event_id}/bookings?format=ndjson", headers={"Authorization": api.organizer.authorization or ""}
    )
    rows = [json.loads(line) for line in response.text.splitlines()]
    assert [row["user_id"] for row in rows] == [buyer.id for buyer in buyers]
    assert [row["status"] for row in rows] == ["confirmed", "cancelled", "confirmed"]
    assert int(response.headers["x-event-seq"]) == api.look(event_id)["seq"]


def test_the_report_agrees_with_what_happened(api: Api) -> None:
    event_id, buyers = api.sold_out(available_tickets=2, waitlist_limit=1)
    waiting, late = api.users(2)
    assert waiting.book(event_id).status == 202
    assert late.book(event_id).status == 409
    assert buyers[0].book(event_id).status == 409
    buyers[0].cancel(event_id)
    again = api.organizer.get(f"/events/{event_id}/report").data
    assert again["totals"] == {
        "bookings": 2, "tickets": 2, "held": 0, "cancelled": 1, "expired": 0, "promoted": 1, "waiting": 0,
        "refunds_due": 0,
        "refunds_done": 0,
    }  # fmt: skip
    for name, count in {"booked": 2, "joined": 1, "promoted": 1, "cancelled": 1, "expired": 0}.items():
        assert sum(minute[name] for minute in again["per_minute"]) == count, name
    assert again["refusals"] == {"waitlist_full": 1, "already_booked": 1}
    assert again["sold_out_at"] is not None
    assert again["seconds_to_sell_out"] >= 0


def test_a_sale_that_was_never_sold_out_says_so_and_a_smaller_capacity_sells_it_out(api: Api) -> None:
    event_id = api.event(available_tickets=5)
    for buyer in api.users(2):
        buyer.book(event_id)
    before = api.organizer.get(f"/events/{event_id}/report").data
    assert (before["sold_out_at"], before["seconds_to_sell_out"]) == (None, None)
    api.organizer.change(event_id, capacity=2)
    assert api.organizer.get(f"/events/{event_id}/report").data["sold_out_at"] is not None
