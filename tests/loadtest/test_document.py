"""The JSON of `--json` is what its documentation says: every key is there, and nothing that is not."""

import re
from pathlib import Path
from typing import Any

from booking.loadtest.database import CaughtUp
from booking.loadtest.figures import Figures
from booking.loadtest.records import Findings
from booking.loadtest.run import Outcome
from tests.loadtest.sale import PLAN, STARTED_AT
from tests.loadtest.test_figures import told

README = Path(__file__).parents[2] / "scripts/load/README.md"
BY_NAME = {"by_answer", "event", "examples"}
"""What holds names of the service's, not of the document's."""


def documented() -> set[str]:
    """Every name in backquotes in the table of keys; `load.generator` names its last part."""
    table = README.read_text(encoding="utf-8").split("| key | what it holds |")[1]
    return {name.removeprefix("load.") for name in re.findall("`([^`]+)`", table) if '"' not in name}


def keys(document: Any) -> set[str]:
    if not isinstance(document, dict):
        return set()
    inner = (keys(value) for name, value in document.items() if name not in BY_NAME)
    return set(document).union(*inner)


def document(caught_up: CaughtUp | None) -> dict[str, Any]:
    figures = Figures()
    figures.add(told(late_ms=1))
    return Outcome(PLAN, figures, Findings(), {}, 290, caught_up, "why", STARTED_AT).to_json()


def test_every_key_of_the_document_is_explained_and_every_explanation_has_its_key() -> None:
    assert keys(document(CaughtUp(True, 0.25, 99, 99))) | keys(document(None)) == documented()
