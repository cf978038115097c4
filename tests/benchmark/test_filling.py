"""Events filled through the service's own scripts."""

import pytest

from booking.domain.outcomes import Status
from scripts.benchmark.filling import CALL_ITEMS, EXCHANGE_CALLS, buyer, filler, wait_until_saved
from scripts.benchmark.processes import PartError
from scripts.benchmark.service import Service


def silent(_: str) -> None:
    pass


def test_a_filled_event_holds_what_was_asked_for_on_both_sides(running_service: Service) -> None:
    number = CALL_ITEMS * EXCHANGE_CALLS + CALL_ITEMS + 1  # two exchanges, the last call of one booking
    event_id = running_service.open_sale(number).event_id
    with filler(running_service) as fill:
        fill.book(event_id, number, "live", Status.BOOKED, silent)
        fill.book(event_id, 7, "wait", Status.JOINED, silent)
        event = running_service.event(event_id)
        assert (event["bookings_count"], event["waiting_list_count"], event["available_tickets"]) == (number, 7, 0)
        wait_until_saved(running_service, silent)
        assert running_service.lag_entries() == 0
        with pytest.raises(PartError, match="not every booking was answered JOINED"):
            fill.book(event_id, 7, "wait", Status.JOINED, silent)


def test_progress_is_told_now_and_then(running_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.benchmark.filling.NEWS", 2_000)
    said: list[str] = []
    with filler(running_service) as fill:
        fill.book(running_service.open_sale().event_id, 5_000, "live", Status.BOOKED, said.append)
    assert [line.split(" (")[0].strip() for line in said] == ["2,000 of 5,000", "4,000 of 5,000"]


def test_events_follow_on_one_another_and_on_those_there_are(running_service: Service) -> None:
    before = running_service.open_sale().event_id
    with filler(running_service) as fill:
        first = fill.events(CALL_ITEMS + 3)
        assert first == before + 1
        assert running_service.open_sale().event_id == first + CALL_ITEMS + 3
        assert running_service.event(first + CALL_ITEMS + 2)["capacity"] == 10_000_000
        fill.book(first + 1, 4, "live", Status.BOOKED, silent)
        fill.book(first + 2, 3, "live", Status.BOOKED, silent)
        assert fill.bookings(first, CALL_ITEMS + 3) == 7


def test_a_look_is_timed_by_the_server_itself(running_service: Service) -> None:
    event_id = running_service.open_sale(1).event_id
    with filler(running_service) as fill:
        fill.book(event_id, 1, "live", Status.BOOKED, silent)
        fill.book(event_id, 50, "wait", Status.JOINED, silent)
        assert fill.look_us(event_id, [buyer("wait", number) for number in range(50)]) > 0
