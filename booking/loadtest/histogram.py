"""A latency histogram: bounded memory, a known error, and merged across processes by adding.

Written here rather than taken from hdrhistogram: the whole idea is the one line that finds a bucket, which costs less
than the call into a library, and a list of counts travels between processes as it is.
"""

from collections.abc import Iterable

SUB_BUCKET_BITS = 6
"""Each doubling is cut into 2**6 buckets, so a bucket is at most 1/64 (1.6 %) as wide as the values in it."""

LATENCY_NS_MAX = 2**40 - 1
"""18 minutes; a longer wait is counted as this one."""

_BUCKETS = (40 - SUB_BUCKET_BITS + 1) << SUB_BUCKET_BITS


class Histogram:
    """Counts of latencies in nanoseconds, at most 1.6 % too high when read back, never too low."""

    __slots__ = ("_counts", "count", "max_ns", "sum_ns")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.sum_ns = 0
        self.max_ns = 0

    def record(self, latency_ns: int) -> None:
        """Counts one latency; one outside 0…LATENCY_NS_MAX is counted at that bound."""
        if latency_ns > self.max_ns:
            self.max_ns = min(latency_ns, LATENCY_NS_MAX)
        latency_ns = min(max(latency_ns, 0), LATENCY_NS_MAX)
        shift = latency_ns.bit_length() - SUB_BUCKET_BITS - 1
        if shift < 0:
            shift = 0
        self._counts[(shift << SUB_BUCKET_BITS) + (latency_ns >> shift)] += 1
        self.count += 1
        self.sum_ns += latency_ns

    def quantile_ns(self, share: float) -> int:
        """The latency that `share` (0 to 1) of all stayed within; 0 when nothing was counted."""
        wanted = share * self.count
        seen = 0
        for upper_ns, count in self.buckets():
            seen += count
            if seen >= wanted:
                return min(upper_ns, self.max_ns)
        return self.max_ns

    def buckets(self) -> Iterable[tuple[int, int]]:
        """The buckets that hold anything, from the fastest: (its upper bound in ns, its count)."""
        for index, count in enumerate(self._counts):
            if count:
                yield _upper_ns(index), count

    def to_json(self) -> dict[str, object]:
        """What `from_json` reads back in another process."""
        counts = [[index, count] for index, count in enumerate(self._counts) if count]
        return {"counts": counts, "sum_ns": self.sum_ns, "max_ns": self.max_ns}

    def add_json(self, figures: dict[str, object]) -> None:
        """Adds what another histogram's `to_json` gave."""
        counts, sum_ns, max_ns = figures["counts"], figures["sum_ns"], figures["max_ns"]
        assert isinstance(counts, list)
        assert isinstance(sum_ns, int)
        assert isinstance(max_ns, int)
        for index, count in counts:
            self._counts[index] += count
            self.count += count
        self.sum_ns += sum_ns
        self.max_ns = max(self.max_ns, max_ns)


def _upper_ns(index: int) -> int:
    shift = max((index >> SUB_BUCKET_BITS) - 1, 0)
    return ((index - (shift << SUB_BUCKET_BITS) + 1) << shift) - 1
