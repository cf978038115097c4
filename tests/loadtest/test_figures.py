"""The generator says when it measured itself."""

from typing import Any

import pytest

from booking.loadtest.calls import Kind
from booking.loadtest.figures import Figures
from booking.loadtest.histogram import Histogram


def told(
    *, cpu: float = 0.3, waited: float = 0.0, late_ms: int = 0, kept_waiting_ms: int = 0, away: float = 0.0
) -> dict[str, Any]:
    """What one process tells after two seconds with 100 bookings of 1 ms."""
    booked, late, kept_waiting = Histogram(), Histogram(), Histogram()
    for _ in range(100):
        booked.record(1_000_000)
        late.record(late_ms * 1_000_000)
        if kept_waiting_ms:
            kept_waiting.record(kept_waiting_ms * 1_000_000)
    return {
        "latencies": {"BOOK": booked.to_json()},
        "lateness": late.to_json(),
        "answers": [["BOOK", "201", 100]],
        "wall_ns": 2_000_000_000,
        "cpu_ns": int(cpu * 2e9),
        "waited_ns": int(waited * 2e9),
        "kept_waiting": kept_waiting.to_json(),
        "away_ns": int(away * 2e9),
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
    assert figures.results == {(Kind.BOOK, "201"): 200}
    assert figures.to_json()["latency_ms"]["book"]["count"] == 200


def test_a_generator_with_room_left_blames_no_one() -> None:
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


@pytest.mark.parametrize("late_ms", [0, 9])
def test_connections_that_all_wait_for_an_answer_are_the_service_s_doing(late_ms: int) -> None:
    figures = figures_of(told(kept_waiting_ms=500, late_ms=late_ms))
    assert figures.bottlenecks() == []
    assert figures.bottleneck.startswith("The service was the bottleneck, not the load generator: 100 calls")
    assert figures.warnings == [figures.bottleneck]


def test_a_moment_until_another_connection_was_open_blames_no_one() -> None:
    assert figures_of(told(kept_waiting_ms=3)).warnings == []


def test_a_generator_that_is_later_than_the_service_is_slow_is_the_one_to_blame() -> None:
    (reason,) = figures_of(told(kept_waiting_ms=10, late_ms=80)).bottlenecks()
    assert "late by the generator's own doing" in reason


@pytest.mark.parametrize("process", [{"cpu": 0.95}, {"cpu": 0.5, "waited": 0.45}])
def test_a_busy_generator_with_every_connection_waiting_blames_no_one(process: dict[str, float]) -> None:
    figures = figures_of(told(kept_waiting_ms=500, cpu=process["cpu"], waited=process.get("waited", 0.0)))
    assert figures.bottleneck.startswith("Whether the service or the load generator was the bottleneck can't be told:")


def test_a_service_that_was_away_is_told_and_the_generator_not_blamed() -> None:
    figures = figures_of(told(away=0.5))
    assert figures.bottlenecks() == []
    assert figures.bottleneck.startswith("The service was away: for 1.0 of 2.0 s no connection to it could be had")
