"""The large event as a contender."""

from booking.domain.outcomes import Status
from scripts.benchmark.figures import Load
from scripts.benchmark.filling import filler
from scripts.benchmark.large import Crowded, FreshList
from scripts.benchmark.service import Service


def a_load(requests: int) -> Load:
    return Load(requests, 1.0, 0, broken=0, p50_ms=1, p99_ms=2, max_ms=3)


def test_a_round_is_held_against_what_the_crowded_event_held_before(running_service: Service) -> None:
    event_id = running_service.open_sale(100).event_id
    with filler(running_service) as fill:
        fill.book(event_id, 99, "live", Status.BOOKED, lambda _: None)
        crowded = Crowded(running_service, event_id)
        sale = crowded.open_sale()
        assert sale.event_id == event_id
        fill.book(event_id, 1, "one", Status.BOOKED, lambda _: None)
        fill.book(event_id, 2, "wait", Status.JOINED, lambda _: None)
        assert crowded.faults(sale, a_load(3)) == []
        assert crowded.faults(sale, a_load(4)) == ["4 bookings were answered, 3 are there"]
        assert crowded.open_sale().event_id == event_id
        assert crowded.faults(sale, a_load(3)) == ["3 bookings were answered, 0 are there"]


def test_a_fresh_list_is_joined_by_all_but_the_first(running_service: Service) -> None:
    fresh = FreshList(running_service)
    sale = fresh.open_sale()
    with filler(running_service) as fill:
        fill.book(sale.event_id, 1, "first", Status.BOOKED, lambda _: None)
        fill.book(sale.event_id, 3, "wait", Status.JOINED, lambda _: None)
    assert fresh.faults(sale, a_load(4)) == []
