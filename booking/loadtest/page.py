"""The page of `--html`: one file that needs nothing else, to be looked at, printed, or attached to a report."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from shlex import join

from booking.loadtest.figures import QUANTILES
from booking.loadtest.histogram import SUB_BUCKET_BITS, Histogram
from booking.loadtest.plot import Curve, draw
from booking.loadtest.records import Fault
from booking.loadtest.run import Outcome, machine

LATENESS = "the generator's own lateness"

STYLE = Path(__file__).with_name("page.css")


def render_page(outcome: Outcome) -> str:
    """The whole page, as HTML with its style sheet and its picture inside."""
    plan = outcome.plan
    title = f"{plan.tickets:,} tickets, {outcome.buyers_sent:,} buyers"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>Load test: {title}</title>",
        f"<style>\n{STYLE.read_text(encoding='utf-8')}</style></head><body><main>",
        *_head(outcome, title),
        *_picture(outcome),
        *_latencies(outcome),
        *_answers(outcome),
        *_verdict(outcome),
        *_settings(outcome),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _head(outcome: Outcome, title: str) -> Iterable[str]:
    figures, plan, event = outcome.figures, outcome.plan, outcome.event
    yield f'<header><div><p class="kind">Flash sale, load tested</p><h1>{title}</h1>'
    yield (
        f"<p>{outcome.started_at:%Y-%m-%d %H:%M:%S} UTC · {escape(plan.url)} · {escape(plan.loop)}"
        f" · seed {plan.seed}</p></div>{_badge(outcome)}</header>"
    )
    tiles = [
        ("answers/s", f"{figures.rate:,.0f}"),
        (f"answers in {figures.seconds:,.1f} s", f"{figures.answered:,}"),
    ]
    for kind, histogram in figures.measured[:1]:
        tiles += [
            (f"{kind.label}, {name}", _short_ms(histogram.quantile_ns(QUANTILES[name]) / 1e6))
            for name in ("p50", "p99")
        ]
    if event:
        tiles += [
            ("tickets sold", f"{event['tickets_sold']:,}"),
            ("still available", f"{event['available_tickets']:,}"),
            ("waiting", f"{event['waiting_list_count']:,}"),
        ]
    yield f'<dl class="tiles">{"".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)}</dl>'
    warning = ' class="warning"' if figures.warnings else ""
    yield f"<p{warning}>{escape(figures.bottleneck)}</p>"


def _short_ms(ms: float) -> str:
    """For a tile, which is narrow: no decimals where nobody would look at them."""
    return f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.1f} ms"


def _badge(outcome: Outcome) -> str:
    style, mark = ("clean", "✓") if outcome.clean else ("faulty", "✗")
    return f'<p class="badge {style}">verdict: {mark} {outcome.findings.verdict}</p>'


def _picture(outcome: Outcome) -> Iterable[str]:
    figures = outcome.figures
    calls = [Curve(kind.heading, f"call-{kind.value}", histogram) for kind, histogram in figures.measured]
    if not calls:
        return
    beside = [Curve(LATENESS, "lateness", figures.lateness)] if figures.lateness.count else []
    swatch = '<svg viewBox="0 0 28 8" aria-hidden="true"><line x1="0" x2="28" y1="4" y2="4"/></svg>'
    curves = [*calls, *beside]
    legend = "".join(f'<li class="curve {curve.style}">{swatch}{escape(curve.label)}</li>' for curve in curves)
    yield "<section><h2>Latency by percentile</h2><figure>"
    yield f'<ul class="legend">{legend}</ul>'
    yield f'<div class="table">{draw(calls, beside)}</div>'
    paced = (
        "Open loop: each latency counts from when its call was due, so what waits behind a slow answer counts, too."
        if outcome.plan.rate
        else "Closed loop: the next call leaves when an answer has come, so while the service is slow fewer are sent;"
        " what buyers feel who come by the clock is measured with <code>--rate</code>."
    )
    yield (
        "<figcaption>How long the answers took, from the quickest on the left to the slowest. Each step from 90 % to"
        " 99 % to 99.9 % leaves a tenth of the answers to its right, and a line ends at its slowest one. Read from a"
        f" histogram that is never too low and at most {100 / 2**SUB_BUCKET_BITS:.1f} % too high. {paced}</figcaption>"
    )
    yield "</figure></section>"


def _latencies(outcome: Outcome) -> Iterable[str]:
    figures = outcome.figures
    rows = [(kind.heading, histogram) for kind, histogram in figures.measured]
    if figures.lateness.count:
        rows.append((LATENESS, figures.lateness))
    if rows:
        yield "<section><h2>Latency in milliseconds</h2>"
        yield _table(("call", "answers", "mean", *QUANTILES, "max"), [(name, *_latency(found)) for name, found in rows])
        yield "</section>"


def _latency(histogram: Histogram) -> list[str]:
    quantiles_ns = [histogram.quantile_ns(share) for share in QUANTILES.values()]
    shown_ns = [histogram.sum_ns / histogram.count, *quantiles_ns, histogram.max_ns]
    return [f"{histogram.count:,}", *(f"{latency_ns / 1e6:,.2f}" for latency_ns in shown_ns)]


def _answers(outcome: Outcome) -> Iterable[str]:
    rows = [(kind.label, what, f"{count:,}") for (kind, what), count in sorted(outcome.figures.answers.items())]
    yield "<section><h2>Answers</h2>"
    yield _table(("call", "answer", "count"), rows, texts=2)
    yield "</section>"


def _verdict(outcome: Outcome) -> Iterable[str]:
    findings = outcome.findings
    yield f"<section><h2>Verdict: {findings.verdict}</h2>"
    rows = [(str(fault), f"{findings.counts.get(fault, 0):,}") for fault in Fault]
    yield _table(("fault", "found"), rows)
    examples = [f"{fault}: {example}" for fault, of_fault in findings.examples.items() for example in of_fault]
    if examples:
        yield f'<ul class="examples">{"".join(f"<li>{escape(example)}</li>" for example in examples)}</ul>'
    if outcome.caught_up is None:
        yield f'<p class="warning">SQL was not judged: {escape(outcome.database_note)}</p>'
    elif outcome.caught_up.reached:
        yield f"<p>SQL had every change within {outcome.caught_up.seconds:.2f} s of the end.</p>"
    elif outcome.caught_up.redis_seq is None:
        at = f"SQL is at change {outcome.caught_up.seq}"
        yield f'<p class="warning">{at}; Redis could not be asked how far it is.</p>'
    yield "</section>"


def _settings(outcome: Outcome) -> Iterable[str]:
    plan, made_on = outcome.plan, machine()
    yield "<section><h2>To play it again</h2>"
    yield f"<pre><code>{escape(join(['booking', 'loadtest', *plan.arguments]))}</code></pre>"
    yield (
        f"<p>The same seed draws the same buyers: who cancels, who clicks twice, who wants how many. The load was made"
        f" by {plan.processes} process{'es' if plan.processes > 1 else ''} of Python {escape(made_on['python'])} on"
        f" {made_on['cores']} cores of {escape(made_on['system'])}.</p></section>"
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> str:
    """A table whose first `texts` columns are words, and the others figures."""
    head = "".join(_cell("th", number >= texts, text) for number, text in enumerate(headings))
    body = "".join(
        f"<tr>{''.join(_cell('td', number >= texts, text) for number, text in enumerate(row))}</tr>" for row in rows
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(tag: str, is_figure: bool, text: str) -> str:
    return f"<{tag}{' class=figure' if is_figure else ''}>{escape(text)}</{tag}>"
