"""The figures of one run: the sums over its processes."""

from dataclasses import dataclass, field
from typing import Any

from booking.loadtest.calls import Kind
from booking.loadtest.histogram import Histogram

BUSY_SHARE = 0.9
"""A process that is busy for this share of the time is saturated, and limits what it measures."""

LATE_NS = 5_000_000
"""If the generator notices arrivals this late (p99), it distorts the latencies itself."""

AWAY_SECONDS = 0.1
"""A shorter outage of the service is not reported: a restarting worker may refuse connections for a moment."""

KEPT_SHARE = 0.01
"""From this share of calls that waited for a free connection on, the wait is reported."""

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


@dataclass(slots=True)
class Figures:
    """Everything that was measured, over all processes. Times are in seconds unless the name says otherwise."""

    latencies: dict[Kind, Histogram] = field(default_factory=lambda: {kind: Histogram() for kind in Kind})
    lateness: Histogram = field(default_factory=Histogram)
    results: dict[tuple[Kind, str], int] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_shares: list[float] = field(default_factory=list)
    """For each process, the share of a core that it used."""
    waited_shares: list[float] = field(default_factory=list)
    """For each process, the share of the run in which it had work but no free core."""
    kept_waiting: Histogram = field(default_factory=Histogram)
    """Open loop: the delay of calls that found no free connection, because all waited for responses."""
    seconds_away: float = 0.0
    """The longest time for which a process had no connection to the service and could not connect."""
    refused_connections: int = 0

    def add(self, measured: dict[str, Any]) -> None:
        """Adds what one process measured."""
        for kind, histogram in measured["latencies"].items():
            self.latencies[Kind[kind]].add_json(histogram)
        self.lateness.add_json(measured["lateness"])
        for kind, what, count in measured["answers"]:
            key = (Kind[kind], what)
            self.results[key] = self.results.get(key, 0) + count
        wall_ns = measured["wall_ns"]
        self.seconds = max(self.seconds, wall_ns / 1e9)
        self.cpu_shares.append(measured["cpu_ns"] / wall_ns)
        self.waited_shares.append(measured["waited_ns"] / wall_ns)
        self.kept_waiting.add_json(measured["kept_waiting"])
        self.seconds_away = max(self.seconds_away, measured["away_ns"] / 1e9)
        self.refused_connections += measured["refused_connections"]

    @property
    def answered(self) -> int:
        """The number of responses during the sale, without the reads after it."""
        return sum(histogram.count for kind, histogram in self.latencies.items() if kind is not Kind.READ)

    @property
    def rate(self) -> float:
        """Responses a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def measured(self) -> list[tuple[Kind, Histogram]]:
        """The kinds of call that were made, each with its latencies."""
        return [(kind, histogram) for kind, histogram in self.latencies.items() if histogram.count]

    @property
    def bottleneck(self) -> str:
        """One or two sentences: whether the service or the generator limited the figures."""
        return " ".join(self.warnings) or (
            "The load generator was not the bottleneck: its busiest process used"
            f" {max(self.cpu_shares, default=0):.0%} of a core and waited for one for"
            f" {max(self.waited_shares, default=0):.0%} of the time."
        )

    @property
    def warnings(self) -> list[str]:
        """Warnings about the figures, one sentence each; empty if nothing limited the load."""
        warnings, reasons = [], "; ".join(self.bottlenecks())
        if self.seconds_away >= AWAY_SECONDS:
            warnings.append(
                f"The service was away: for {self.seconds_away:.1f} of {self.seconds:.1f} s no connection to it could"
                f" be had ({self.refused_connections:,} attempts); the figures are those of the rest."
            )
        kept = (
            f"{self.kept_waiting.count:,} calls left late (p50 {self.kept_waiting.quantile_ns(0.5) / 1e6:,.0f} ms,"
            " which counts), every open connection waiting for an answer"
        )
        if reasons and self._waits_for_answers:
            warnings.append(
                f"Whether the service or the load generator was the bottleneck can't be told: {kept}; but {reasons}."
            )
        elif reasons:
            lead = "While it was there, the" if warnings else "The"
            warnings.append(f"{lead} load generator was the bottleneck, not the service: {reasons}.")
        elif self._waits_for_answers:
            warnings.append(f"The service was the bottleneck, not the load generator: {kept}.")
        return warnings

    @property
    def _waits_for_answers(self) -> bool:
        """Whether many calls waited for a free connection, and for longer than the generator itself is late."""
        late_ns = max(LATE_NS, self.lateness.quantile_ns(0.99))
        many = self.kept_waiting.count > KEPT_SHARE * self.answered
        return many and self.kept_waiting.quantile_ns(0.5) > late_ns

    def bottlenecks(self) -> list[str]:
        """The ways in which the generator may have limited the figures; empty if there are none."""
        reasons = []
        if max(self.cpu_shares, default=0) >= BUSY_SHARE:
            reasons.append(
                f"a load process used {max(self.cpu_shares):.0%} of a core: more --processes, or a machine of its own"
            )
        else:
            # Work without a free core: the service or another program on this machine used it.
            shares = zip(self.cpu_shares, self.waited_shares, strict=True)
            worked, waited = max(((cpu + waited, waited) for cpu, waited in shares), default=(0.0, 0.0))
            if worked >= BUSY_SHARE:
                reasons.append(
                    f"a load process had work for {worked:.0%} of the time, and for {waited:.0%} no core to do it on:"
                    " a machine of its own"
                )
        late_ns = self.lateness.quantile_ns(0.99)
        if late_ns >= LATE_NS and not self._waits_for_answers:
            reasons.append(
                f"1 % of the arrivals left at least {late_ns / 1e6:.1f} ms late by the generator's own doing"
            )
        return reasons

    def to_json(self) -> dict[str, Any]:
        """The figures in the format of `--json`."""
        return {
            "seconds": round(self.seconds, 3),
            "answers": self.answered,
            "answers_per_second": round(self.rate, 1),
            "latency_ms": {kind.label: _latency(histogram) for kind, histogram in self.latencies.items()},
            "by_answer": {
                kind.label: {what: count for (of, what), count in sorted(self.results.items()) if of is kind}
                for kind in Kind
            },
            "service": {
                "seconds_away": round(self.seconds_away, 3),
                "kept_waiting_ms": _latency(self.kept_waiting),
            },
            "generator": {
                "cpu_shares": [round(share, 3) for share in self.cpu_shares],
                "waited_for_a_core_shares": [round(share, 3) for share in self.waited_shares],
                "cpu_us_per_answer": round(1e6 * sum(self.cpu_shares) * self.seconds / max(1, self.answered), 1),
                "lateness_ms": _latency(self.lateness),
                "refused_connections": self.refused_connections,
                "bottlenecks": self.bottlenecks(),
                "bottleneck": self.bottleneck,
            },
        }


def _latency(histogram: Histogram) -> dict[str, Any]:
    figures: dict[str, Any] = {"count": histogram.count}
    if histogram.count:
        figures |= {name: round(histogram.quantile_ns(share) / 1e6, 3) for name, share in QUANTILES.items()}
        figures["max"] = round(histogram.max_ns / 1e6, 3)
        figures["mean"] = round(histogram.sum_ns / histogram.count / 1e6, 3)
        figures["percentiles"] = [
            [round(100 * point.share, 6), round(point.latency_ns / 1e6, 6), point.count]
            for point in histogram.percentiles()
        ]
        figures["histogram"] = [[round(upper_ns / 1e6, 6), count] for upper_ns, count in histogram.buckets()]
    return figures
