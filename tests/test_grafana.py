"""The dashboard asks for what /metrics serves, in expressions that Prometheus can read."""

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

NAME = re.compile(r"\bbooking_\w+")
COUNTED = re.compile(r"(?:rate|increase)\((booking_\w+)(?:\{[^}]*\})?\[")
"""What a rate is taken of: the name of a counter or of a histogram's part, with a range."""


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
def test_an_expression_asks_only_for_what_is_served_and_takes_rates_of_counters(title: str, expression: str) -> None:
    names = NAME.findall(expression)
    assert names
    assert set(names) <= set(SERIES), title
    assert sorted(name for name in names if SERIES[name] != "gauge") == sorted(COUNTED.findall(expression)), title
    if "histogram_quantile" in expression:
        assert "_bucket" in expression
        assert "by (le)" in expression


def test_the_important_metrics_have_a_panel() -> None:
    asked = {name for _, expression in EXPRESSIONS for name in NAME.findall(expression)}
    shown = {name for name, (kind, _) in HELP.items() for end in ENDS[kind] if f"{name}{end}" in asked}
    assert set(HELP) == shown
