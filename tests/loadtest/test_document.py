"""The JSON of `--json` has exactly the keys of its documentation."""

import re
from pathlib import Path
from typing import Any

from booking.loadtest.database import CaughtUp
from booking.loadtest.figures import Figures
from booking.loadtest.records import Findings
from booking.loadtest.run import Outcome
from tests.loadtest.sale import PLAN, STARTED_AT
from tests.loadtest.test_figures import process_figures

README = Path(__file__).parents[2] / "scripts/load/README.md"
BY_NAME = {"by_answer", "event", "examples"}
"""Objects whose keys come from the service and not from the document."""


def documented() -> set[str]:
    """Every name in backquotes in the table of keys; of `load.generator` the last part."""
    table = README.read_text(encoding="utf-8").split("| key | what it holds |")[1]
    return {name.removeprefix("load.") for name in re.findall("`([^`]+)`", table) if '"' not in name}


def keys(document: Any) -> set[str]:
    if not isinstance(document, dict):
        return set()
    inner = (keys(value) for name, value in document.items() if name not in BY_NAME)
    return set(document).union(*inner)


def document(caught_up: CaughtUp | None) -> dict[str, Any]:
    figures = Figures()
    figures.add(process_figures(late_ms=1))
    return Outcome(PLAN, figures, Findings(), {}, 290, caught_up, "why", STARTED_AT).to_json()


def test_the_documentation_explains_exactly_the_keys_of_the_document() -> None:
    assert keys(document(CaughtUp(True, 0.25, 99, 99))) | keys(document(None)) == documented()
