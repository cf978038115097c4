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

TOKEN = re.compile(
    r"""\s*(?:(?P<name>[a-zA-Z_:][\w:]*)|(?P<number>\d+(?:\.\d+)?)|(?P<range>\[\d+[smhd]\])"""
    r"""|(?P<labels>\{(?:\w+(?:=|!=|=~|!~)"(?:[^"\\]|\\.)*",?)*\})|(?P<sign>[-+*/()<>,]|==|!=))"""
)
FUNCTIONS = {"rate", "increase", "histogram_quantile", "sum", "max", "min", "avg", "clamp_min"}
WORDS = {"by", "without", "on", "le", "status", "route", "code", "event", "state", "or", "and"}


def tokens(expression: str) -> list[tuple[str, str]]:
    """What the expression is made of; fails for anything that is no PromQL."""
    found, place = [], 0
    while place < len(expression.rstrip()):
        match = TOKEN.match(expression, place)
        assert match, f"{expression!r} cannot be read from {expression[place:]!r} on"
        assert match.lastgroup
        found.append((match.lastgroup, match[match.lastgroup]))
        place = match.end()
    return found


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
def test_an_expression_can_be_read_and_asks_only_for_what_is_served(title: str, expression: str) -> None:
    read = tokens(expression)
    depth = 0
    for place, (kind, text) in enumerate(read):
        depth += {"(": 1, ")": -1}.get(text, 0)
        assert depth >= 0, title
        following = read[place + 1 :]
        if kind == "name" and text not in FUNCTIONS | WORDS:
            assert text in SERIES, f"{title}: /metrics does not serve {text}"
            beyond = [one for one in following[:2] if one[0] != "labels"]
            is_ranged = bool(beyond) and beyond[0][0] == "range"
            assert is_ranged == (SERIES[text] != "gauge"), f"{title}: {text} is a {SERIES[text]}"
        if kind == "range":
            function = [word for word, _ in zip(read, range(place), strict=False) if word[1] in FUNCTIONS][-1]
            assert function[1] in ("rate", "increase"), title
    assert depth == 0, title
    if "histogram_quantile" in expression:
        assert "_bucket" in expression
        assert "by (le)" in expression


def test_what_is_worth_a_picture_is_shown() -> None:
    asked = {text for _, expression in EXPRESSIONS for kind, text in tokens(expression) if kind == "name"}
    shown = {name for name, (kind, _) in HELP.items() for end in ENDS[kind] if f"{name}{end}" in asked}
    assert set(HELP) == shown
