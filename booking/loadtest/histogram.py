"""A latency histogram with bounded memory and a known error. Histograms of several processes can be added.

It is not hdrhistogram, because the core is one line, which finds a bucket and costs less than a call into a library. A
list of counts can be sent between processes unchanged.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

SUB_BUCKET_BITS = 8
"""Each doubling has 2**8 buckets, so a bucket's width is at most 1/256 (0.4 %) of its values. That is finer than the
two significant digits that HdrHistogram usually has, and too narrow to be visible as a step in a plot."""

LATENCY_NS_MAX = 2**40 - 1
"""18 minutes; a longer latency is counted as this one."""

STEPS_A_HALVING = 5
"""Points of a percentile distribution for each halving of the share of slower responses, as in HdrHistogram."""


@dataclass(frozen=True, slots=True)
class Percentile:
    """One point of a percentile distribution: `count` latencies, a `share` of all, are at most `latency_ns`."""

    share: float
    latency_ns: int
    count: int


class Histogram:
    """Counts of latencies in nanoseconds. A value that is read is at most 0.4 % too high, and never too low."""

    __slots__ = ("_counts", "count", "max_ns", "sum_ns")

    def __init__(self) -> None:
        # Only buckets that are not empty, because all are read every quarter of a second during the load.
        self._counts: dict[int, int] = defaultdict(int)
        self.count = 0
        self.sum_ns = 0
        self.max_ns = 0

    def record(self, latency_ns: int) -> None:
        """Counts one latency; one outside 0…LATENCY_NS_MAX is counted at that bound."""
        if not 0 <= latency_ns <= LATENCY_NS_MAX:
            latency_ns = min(max(latency_ns, 0), LATENCY_NS_MAX)
        if latency_ns > self.max_ns:
            self.max_ns = latency_ns
        shift = latency_ns.bit_length() - SUB_BUCKET_BITS - 1
        if shift < 0:
            shift = 0
        self._counts[(shift << SUB_BUCKET_BITS) + (latency_ns >> shift)] += 1
        self.count += 1
        self.sum_ns += latency_ns

    def quantile_ns(self, share: float) -> int:
        """The latency that a `share` (0 to 1) of all did not exceed; 0 if nothing was counted."""
        wanted = share * self.count
        seen = 0
        for upper_ns, count in self.buckets():
            seen += count
            if seen >= wanted:
                return min(upper_ns, self.max_ns)
        return self.max_ns

    def buckets(self) -> Iterable[tuple[int, int]]:
        """The buckets that are not empty, from the fastest: (upper bound in ns, count)."""
        for index in sorted(self._counts):
            yield _upper_ns(index), self._counts[index]

    def percentiles(self) -> Iterable[Percentile]:
        """The distribution from the fastest latency (share 0) to the slowest (share 1); empty if nothing was counted.

        Points are closer near 1: STEPS_A_HALVING of them between 0 and 1/2, as many between 1/2 and 3/4, and so on,
        until less than one response is left.
        """
        buckets = [(min(upper_ns, self.max_ns), count) for upper_ns, count in self.buckets()]
        if not buckets:
            return
        bucket = iter(buckets)
        (latency_ns, seen), step, slower = next(bucket), 0, 1.0
        while slower * self.count >= 1:
            share = 1 - slower
            while seen < share * self.count:
                latency_ns, count = next(bucket)
                seen += count
            yield Percentile(share, latency_ns, seen)
            step += 1
            halvings, part = divmod(step, STEPS_A_HALVING)
            slower = 0.5**halvings * (1 - part / (2 * STEPS_A_HALVING))
        yield Percentile(1.0, self.max_ns, self.count)

    def to_json(self) -> dict[str, object]:
        """The histogram as JSON, for `add_json` in another process."""
        counts = [[index, self._counts[index]] for index in sorted(self._counts)]
        return {"counts": counts, "sum_ns": self.sum_ns, "max_ns": self.max_ns}

    def add_json(self, figures: dict[str, object]) -> None:
        """Adds another histogram, from its `to_json`."""
        counts, sum_ns, max_ns = figures["counts"], figures["sum_ns"], figures["max_ns"]
        assert isinstance(counts, list)
        assert isinstance(sum_ns, int)
        assert isinstance(max_ns, int)
        for index, count in counts:
            self._counts[index] += count
            self.count += count
        self.sum_ns += sum_ns
        self.max_ns = max(self.max_ns, max_ns)


@cache
def _upper_ns(index: int) -> int:
    shift = max((index >> SUB_BUCKET_BITS) - 1, 0)
    return ((index - (shift << SUB_BUCKET_BITS) + 1) << shift) - 1
