"""The dashboard asks for what /metrics serves."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from booking.web.endpoints.metrics import HELP

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "scripts" / "grafana" / "dashboard.json").read_text(encoding="utf-8")
)
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
ENDS = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
SERIES = {f"{name}{end}": kind for name, (kind, _) in HELP.items() for end in ENDS[kind]}

ASKED = re.compile(r"\b(booking_\w+)(?:\{[^}]*\})?(\[\w+\])?")
"""A series in an expression, and the range that it is asked over, if any."""


def test_every_panel_that_shows_numbers_asks_for_some() -> None:
    assert len(EXPRESSIONS) > 10
    assert all(panel.get("targets") for panel in DASHBOARD["panels"] if panel["type"] not in ("row", "text"))
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_every_panel_asks_the_prometheus_that_is_chosen_at_the_top() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    chosen = {"type": "prometheus", "uid": f"${{{variable['name']}}}"}
    assert [panel["datasource"] for panel in DASHBOARD["panels"]] == [chosen] * len(DASHBOARD["panels"])


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_an_expression_asks_only_for_what_is_served_and_for_counters_over_a_range(title: str, expression: str) -> None:
    asked = ASKED.findall(expression)
    assert asked, title
    for name, over in asked:
        assert name in SERIES, f"{title}: /metrics does not serve {name}"
        assert bool(over) == (SERIES[name] != "gauge"), f"{title}: {name} is a {SERIES[name]}"
    if "histogram_quantile" in expression:
        assert "_bucket" in expression
        assert "by (le)" in expression


def test_what_is_worth_a_picture_is_shown() -> None:
    asked = {name for _, expression in EXPRESSIONS for name, _ in ASKED.findall(expression)}
    shown = {name for name, (kind, _) in HELP.items() for end in ENDS[kind] if f"{name}{end}" in asked}
    assert set(HELP) == shown
