"""The generator reports if it was the bottleneck itself."""

from typing import Any

import pytest

from booking.loadtest.calls import Kind
from booking.loadtest.figures import Figures
from booking.loadtest.histogram import Histogram


def process_figures(
    *, cpu: float = 0.3, waited: float = 0.0, late_ms: int = 0, kept_waiting_ms: int = 0, away: float = 0.0
) -> dict[str, Any]:
    """The figures of one process after two seconds with 100 bookings of 1 ms."""
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


def test_the_figures_of_two_processes_are_added() -> None:
    figures = figures_of(process_figures(), process_figures())
    assert (figures.answered, figures.seconds, figures.rate) == (200, 2.0, 100.0)
    assert figures.results == {(Kind.BOOK, "201"): 200}
    assert figures.to_json()["latency_ms"]["book"]["count"] == 200


def test_a_generator_with_spare_capacity_is_not_blamed() -> None:
    assert figures_of(process_figures(cpu=0.5, waited=0.3, late_ms=1)).bottlenecks() == []


def test_a_busy_process_is_named() -> None:
    (reason,) = figures_of(process_figures(), process_figures(cpu=0.95)).bottlenecks()
    assert "used 95% of a core" in reason


def test_a_process_without_a_core_is_named() -> None:
    (reason,) = figures_of(process_figures(cpu=0.5, waited=0.45)).bottlenecks()
    assert "for 45% no core" in reason


def test_the_generator_is_blamed_for_a_late_schedule() -> None:
    (reason,) = figures_of(process_figures(late_ms=9)).bottlenecks()
    assert "late by the generator's own doing" in reason


@pytest.mark.parametrize("late_ms", [0, 9])
def test_the_service_is_blamed_if_all_connections_wait_for_answers(late_ms: int) -> None:
    figures = figures_of(process_figures(kept_waiting_ms=500, late_ms=late_ms))
    assert figures.bottlenecks() == []
    assert figures.bottleneck.startswith("The service was the bottleneck, not the load generator: 100 calls")
    assert figures.warnings == [figures.bottleneck]


def test_a_short_wait_for_a_new_connection_is_not_blamed() -> None:
    assert figures_of(process_figures(kept_waiting_ms=3)).warnings == []


def test_the_generator_is_blamed_if_its_lateness_exceeds_the_service_s_delay() -> None:
    (reason,) = figures_of(process_figures(kept_waiting_ms=10, late_ms=80)).bottlenecks()
    assert "late by the generator's own doing" in reason


@pytest.mark.parametrize("process", [{"cpu": 0.95}, {"cpu": 0.5, "waited": 0.45}])
def test_a_busy_generator_is_not_blamed_if_every_connection_waits(process: dict[str, float]) -> None:
    figures = figures_of(process_figures(kept_waiting_ms=500, cpu=process["cpu"], waited=process.get("waited", 0.0)))
    assert figures.bottleneck.startswith("Whether the service or the load generator was the bottleneck can't be told:")


def test_an_unreachable_service_is_reported_and_the_generator_not_blamed() -> None:
    figures = figures_of(process_figures(away=0.5))
    assert figures.bottlenecks() == []
    assert figures.bottleneck.startswith("The service was away: for 1.0 of 2.0 s no connection to it could be had")
