"""How a round's count is held against the books."""

import pytest

from scripts.benchmark.contenders import book_faults, load_faults
from scripts.benchmark.figures import Load
from scripts.benchmark.wrk import CONNECTIONS


def a_load(refused: int = 0, broken: int = 0) -> Load:
    return Load(1_000, 2.0, refused, broken, p50_ms=1, p99_ms=2, max_ms=3)


@pytest.mark.parametrize("stored", [1_000, 1_000 + CONNECTIONS])
def test_books_may_hold_what_was_in_flight_when_the_clock_stopped(stored: int) -> None:
    assert book_faults(stored, a_load()) == []


@pytest.mark.parametrize("stored", [0, 999, 1_001 + CONNECTIONS])
def test_a_booking_that_was_answered_and_is_not_there_spoils_the_round_and_so_does_one_too_many(stored: int) -> None:
    assert book_faults(stored, a_load()) == [f"1000 bookings were answered, {stored} are there"]


def test_a_refused_or_unanswered_request_spoils_the_round() -> None:
    assert load_faults(a_load()) == []
    assert load_faults(a_load(refused=3, broken=2)) == ["3 requests were refused", "2 requests never got an answer"]
