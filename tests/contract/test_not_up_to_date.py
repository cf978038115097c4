"""While SQL cannot be written, what is read from it is not up to date, and that is an answer."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from .api import Api, serving
from .client import Caller


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, int, Caller]]:
    """A service whose database is locked for writes, an event that only Redis has, and its buyer."""
    folder: Path = tmp_path_factory.mktemp("behind") / "data"
    with (
        serving(folder, {"BOOKING_RATE_LIMIT": "off"}) as api,
        closing(sqlite3.connect(folder / "booking.sqlite3", isolation_level=None)) as holder,
    ):
        holder.execute("BEGIN IMMEDIATE")
        event_id, (buyer,) = api.sold_out()
        yield api, event_id, buyer
        holder.execute("ROLLBACK")


def test_a_report_of_an_event_that_sql_lacks_is_empty(behind: tuple[Api, int, Caller]) -> None:
    api, event_id, _ = behind
    report = api.organizer.call("GET", f"/events/{event_id}/report")
    assert (report.status, report.body["up_to_date"]) == (200, False)
    assert report.data["totals"]["bookings"] == 0
    assert (report.data["per_minute"], report.data["sold_out_at"]) == ([], None)


@pytest.mark.parametrize("query", ["", "?limit=1", "?status=waiting"])
def test_a_list_of_an_event_that_sql_lacks_is_empty(behind: tuple[Api, int, Caller], query: str) -> None:
    api, event_id, _ = behind
    bookings = api.organizer.call("GET", f"/events/{event_id}/bookings{query}")
    assert (bookings.data, bookings.body["seq"], bookings.body["up_to_date"]) == ([], 0, False)


def test_a_history_that_sql_lacks_is_empty(behind: tuple[Api, int, Caller]) -> None:
    _, _, buyer = behind
    own = buyer.call("GET", "/bookings")
    assert (own.data, own.body["up_to_date"]) == ([], False)


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_a_file_of_an_event_that_sql_lacks_says_of_which_seq_it_is(behind: tuple[Api, int, Caller], kind: str) -> None:
    api, event_id, _ = behind
    headers = {"Authorization": api.organizer.authorization or ""}
    response = api.http.get(f"/events/{event_id}/bookings?format={kind}", headers=headers)
    assert (response.status_code, response.headers["x-event-seq"]) == (200, "0")
    assert len(response.text.splitlines()) == (1 if kind == "csv" else 0)


def test_an_audit_of_an_event_that_sql_lacks_says_so(behind: tuple[Api, int, Caller]) -> None:
    api, event_id, _ = behind
    audit = api.organizer.get(f"/events/{event_id}/audit").data
    assert (audit["ok"], audit["seq_redis"], audit["seq_database"]) == (False, 2, None)
    assert [one["kind"] for one in audit["differences"]] == ["event_missing"]
