"""Buyers who spread over many events."""

from booking.domain.outcomes import Status
from scripts.benchmark.figures import Load
from scripts.benchmark.filling import filler
from scripts.benchmark.many import Spread
from scripts.benchmark.service import Service


def a_load(requests: int) -> Load:
    return Load(requests, 1.0, 0, broken=0, p50_ms=1, p99_ms=2, max_ms=3)


def test_a_round_is_held_against_the_books_of_all_its_events(running_service: Service) -> None:
    with filler(running_service) as fill:
        first = fill.events(12)
        fill.book(first, 5, "before", Status.BOOKED, lambda _: None)
        spread = Spread(running_service, fill, first, 12)
        sale = spread.open_sale()
        assert (sale.event_id, sale.events) == (first, 12)
        fill.book(first, 1, "a", Status.BOOKED, lambda _: None)
        fill.book(first + 11, 2, "b", Status.BOOKED, lambda _: None)
        assert spread.faults(sale, a_load(3)) == []
        assert spread.faults(sale, a_load(4)) == ["4 bookings were answered, 3 are there"]
