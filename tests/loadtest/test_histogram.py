"""A histogram's quantiles are never too low, and at most 1/64 too high."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from booking.loadtest.histogram import LATENCY_NS_MAX, Histogram

LATENCIES = st.lists(st.integers(0, LATENCY_NS_MAX), min_size=1, max_size=200)


def filled(latencies: list[int]) -> Histogram:
    histogram = Histogram()
    for latency in latencies:
        histogram.record(latency)
    return histogram


@given(LATENCIES, st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0]))
def test_a_quantile_is_the_latency_that_this_share_stayed_within(latencies: list[int], share: float) -> None:
    found = filled(latencies).quantile_ns(share)
    assert sum(latency <= found for latency in latencies) >= share * len(latencies)
    # One bucket lower would not have done: some latency lies within a sixty-fourth below what was found.
    assert any(found * 63 / 64 - 1 <= latency <= found for latency in latencies)


@given(LATENCIES, LATENCIES)
def test_histograms_of_two_processes_add_up_to_the_histogram_of_both(one: list[int], other: list[int]) -> None:
    added = filled(one)
    added.add_json(orjson.loads(orjson.dumps(filled(other).to_json())))
    assert added.to_json() == filled(one + other).to_json()
    assert added.count == len(one) + len(other)


def test_an_absurd_wait_is_counted_at_the_bound() -> None:
    histogram = filled([LATENCY_NS_MAX * 5, -3])
    assert (histogram.count, histogram.max_ns) == (2, LATENCY_NS_MAX)
    assert [count for _, count in histogram.buckets()] == [1, 1]


def test_no_latency_at_all_is_zero() -> None:
    assert Histogram().quantile_ns(0.99) == 0
