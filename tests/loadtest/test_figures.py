"""The generator says when it measured itself."""

from typing import Any

from booking.loadtest.calls import Kind
from booking.loadtest.figures import Figures
from booking.loadtest.histogram import Histogram


def told(*, cpu: float = 0.3, waited: float = 0.0, late_ms: int = 0, kept_waiting: int = 0) -> dict[str, Any]:
    """What one process tells after two seconds with 100 bookings of 1 ms."""
    booked, late = Histogram(), Histogram()
    for _ in range(100):
        booked.record(1_000_000)
        late.record(late_ms * 1_000_000)
    return {
        "latencies": {"BOOK": booked.to_json()},
        "lateness": late.to_json(),
        "answers": [["BOOK", "201", 100]],
        "wall_ns": 2_000_000_000,
        "cpu_ns": int(cpu * 2e9),
        "waited_ns": int(waited * 2e9),
        "kept_waiting": kept_waiting,
        "refused_connections": 0,
    }


def figures_of(*processes: dict[str, Any]) -> Figures:
    figures = Figures()
    for process in processes:
        figures.add(process)
    return figures


def test_two_processes_add_up() -> None:
    figures = figures_of(told(), told())
    assert (figures.answered, figures.seconds, figures.rate) == (200, 2.0, 100.0)
    assert figures.answers == {(Kind.BOOK, "201"): 200}
    assert figures.to_json()["latency_ms"]["book"]["count"] == 200


def test_a_generator_with_room_left_blames_nobody() -> None:
    assert figures_of(told(cpu=0.5, waited=0.3, late_ms=1)).bottlenecks() == []


def test_a_busy_process_names_itself() -> None:
    (reason,) = figures_of(told(), told(cpu=0.95)).bottlenecks()
    assert "used 95% of a core" in reason


def test_a_process_without_a_core_says_so() -> None:
    (reason,) = figures_of(told(cpu=0.5, waited=0.45)).bottlenecks()
    assert "for 45% no core" in reason


def test_a_late_schedule_is_the_generator_s_own_doing() -> None:
    (reason,) = figures_of(told(late_ms=9)).bottlenecks()
    assert "late by the generator's own doing" in reason


def test_arrivals_without_a_connection_are_told() -> None:
    (reason,) = figures_of(told(kept_waiting=3)).bottlenecks()
    assert "waited for a free connection" in reason
