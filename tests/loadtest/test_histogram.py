"""A histogram's quantiles are never too low and at most 1/256 too high, and its distribution contains them."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from booking.loadtest.histogram import LATENCY_NS_MAX, Histogram

LATENCIES = st.lists(st.integers(0, LATENCY_NS_MAX), min_size=1, max_size=200)


def filled(latencies: list[int]) -> Histogram:
    histogram = Histogram()
    for latency in latencies:
        histogram.record(latency)
    return histogram


@settings(deadline=None)
@given(LATENCIES, st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0]))
def test_a_quantile_is_the_latency_that_this_share_did_not_exceed(latencies: list[int], share: float) -> None:
    found = filled(latencies).quantile_ns(share)
    assert sum(latency <= found for latency in latencies) >= share * len(latencies)
    # The next lower bucket would be wrong, since some latency is within 1/256 below the result.
    assert any(found * 255 / 256 - 1 <= latency <= found for latency in latencies)


@settings(deadline=None)
@given(LATENCIES)
def test_a_distribution_contains_every_quantile_from_fastest_to_slowest(
    latencies: list[int],
) -> None:
    histogram = filled(latencies)
    points = list(histogram.percentiles())
    assert (points[0].share, points[-1].share) == (0, 1)
    assert points[-1].latency_ns == max(latencies)
    assert points[-1].count == len(latencies)
    for point in points:
        assert point.latency_ns == histogram.quantile_ns(point.share)
        assert point.count == sum(latency <= point.latency_ns for latency in latencies)
    shares = [point.share for point in points]
    assert shares == sorted(set(shares))


def test_a_distribution_has_equally_many_points_per_halving_of_the_tail() -> None:
    shares = [point.share for point in filled(list(range(1_000))).percentiles()]
    assert shares[:11] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75])
    assert 1 - shares[-2] >= 1 / 1_000 > (1 - shares[-2]) * 0.7, "while any answer is slower"


@settings(deadline=None)
@given(LATENCIES, LATENCIES)
def test_the_histograms_of_two_processes_add_up(one: list[int], other: list[int]) -> None:
    added = filled(one)
    added.add_json(orjson.loads(orjson.dumps(filled(other).to_json())))
    assert added.to_json() == filled(one + other).to_json()
    assert added.count == len(one) + len(other)


def test_a_wait_over_the_bound_is_counted_at_the_bound() -> None:
    histogram = filled([LATENCY_NS_MAX * 5, -3])
    assert (histogram.count, histogram.max_ns) == (2, LATENCY_NS_MAX)
    assert [count for _, count in histogram.buckets()] == [1, 1]


def test_no_latency_at_all_is_zero() -> None:
    assert Histogram().quantile_ns(0.99) == 0
    assert list(Histogram().percentiles()) == []
