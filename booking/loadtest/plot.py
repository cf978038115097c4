"""The latency picture: percentiles over a scale that stretches the slow end (HdrHistogram's plot), drawn as SVG.

To the right each decade holds a tenth of the answers of the one before it: 90 %, 99 %, 99.9 %. On a scale that is even,
the waits that people remember would all lie on one another at the edge.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from booking.loadtest.histogram import Histogram

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 14, 46
"""Room for what is written around the picture, in the same units."""

LINEAR_SPREAD_MAX = 25
"""Where the slowest answer takes more than this many times the quickest median, the milliseconds are on a log scale."""

TICKS_MAX = 7
MARKED_SHARES = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
"""Percentiles with a dot on each line; whoever points at one is told its figures."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of the plot; its histogram is not empty."""

    label: str
    style: str
    """The class of its elements, which the page's style sheet gives a colour and a dash."""
    latencies: Histogram

    @property
    def points(self) -> list[tuple[float, float]]:
        """(share, milliseconds), the marked ones included, from the quickest to the slowest."""
        shares = {point.share for point in self.latencies.percentiles()} | set(self.marked)
        return [(share, self.latencies.quantile_ns(share) / 1e6) for share in sorted(shares)]

    @property
    def marked(self) -> list[float]:
        """The shares that get a dot: those that leave at least one answer out, and all of them."""
        return [share for share in MARKED_SHARES if (1 - share) * self.latencies.count > 1 - 1e-6] + [1.0]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Milliseconds to a height, and the milliseconds that get a grid line."""

    least: float
    greatest: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def y(self, ms: float) -> float:
        if self.logarithmic:
            part = log10(max(ms, self.least) / self.least) / log10(self.greatest / self.least)
        else:
            part = ms / self.greatest
        part = min(part, 1.0)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def draw(calls: Sequence[Curve], beside: Sequence[Curve] = ()) -> str:
    """The plot as an <svg> element, its colours and fonts left to the page; `calls` is not empty.

    What is drawn beside the calls does not choose the scale: it would only press them together.
    """
    scale = _scale(calls)
    curves = [*calls, *beside]
    decades = max(1.0, *(log10(curve.latencies.count) for curve in curves))
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Latency by percentile">',
        *_grid(scale, decades),
        *(_line(curve, scale, decades) for curve in curves),
        "</svg>",
    ]
    return "\n".join(parts)


def _scale(curves: Sequence[Curve]) -> _Scale:
    slowest = max(*(curve.latencies.max_ns / 1e6 for curve in curves), 1e-3)
    median = max(min(curve.latencies.quantile_ns(0.5) / 1e6 for curve in curves), 1e-3)
    if median * LINEAR_SPREAD_MAX < slowest:
        # A little below the quickest answer, so that no line begins on the ground; but no decade for a single odd one.
        quickest = max(min(curve.latencies.quantile_ns(0) / 1e6 for curve in curves), median / 10) * 0.8
        powers = range(floor(log10(quickest)), ceil(log10(slowest)) + 1)
        ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
        least = max(tick for tick in ticks if tick <= quickest)
        greatest = min(tick for tick in ticks if tick >= slowest)
        kept = [tick for tick in ticks if least <= tick <= greatest]
        if len(kept) > 2 * TICKS_MAX:
            kept = [tick for tick in kept if tick in {10.0**power for power in powers}]
        return _Scale(least, greatest, True, tuple(kept))
    power = 10.0 ** floor(log10(slowest))
    steps = (size * power for size in (0.1, 0.2, 0.5, 1, 2, 5))
    step = next(step for step in steps if ceil(slowest / step) <= TICKS_MAX)
    count = ceil(slowest / step)
    return _Scale(0.0, count * step, False, tuple(number * step for number in range(count + 1)))


def _x(share: float, count: int, decades: float) -> float:
    """Where a share lies: at log10(1 / (1 - share)). All of `count` answers lie where the last one of them does."""
    decade = min(-log10(1 - share), log10(count)) if share < 1 else log10(count)
    return LEFT + decade / decades * (WIDTH - LEFT - RIGHT)


def _grid(scale: _Scale, decades: float) -> list[str]:
    left, right, floor_y = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for ms in scale.ticks:
        y = scale.y(ms)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{ms:,g}</text>')
    shares = [0.0, 0.5, *(1 - 10.0**-decade for decade in range(1, floor(decades) + 1))]
    for share in shares:
        x = _x(share, 10**12, decades)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{floor_y}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{floor_y + 18}" text-anchor="middle">{share_text(share)}</text>'
        )
    parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{floor_y}" y2="{floor_y}"/>')
    parts.append(f'<text class="axis-name" x="{right}" y="{HEIGHT - 8}" text-anchor="end">share of the answers</text>')
    parts.append(
        f'<text class="axis-name" transform="rotate(-90)" x="{-TOP}" y="14" text-anchor="end">'
        f"milliseconds{' (log scale)' if scale.logarithmic else ''}</text>"
    )
    return parts


def _line(curve: Curve, scale: _Scale, decades: float) -> str:
    total, marked = curve.latencies.count, curve.marked
    path, dots = [], []
    for share, ms in curve.points:
        x, y = _x(share, total, decades), scale.y(ms)
        path.append(f"{x:.1f},{y:.1f}")
        if share in marked:
            told = share_text(share) if share < 1 else f"all {total:,}"
            title = f"<title>{escape(curve.label)}: {told} within {ms:,.2f} ms</title>"
            dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5">{title}</circle>')
    return f'<g class="curve {curve.style}"><polyline points="{" ".join(path)}"/>{"".join(dots)}</g>'


def share_text(share: float) -> str:
    """A share in percent, with as many nines as it has: 99.9 %."""
    return f"{round(100 * share, 9):.10g} %"
