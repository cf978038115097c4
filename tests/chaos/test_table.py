"""The table of faults: every row names a test, and every named test and fault exists."""

import re
from functools import cache
from pathlib import Path

from tests.chaos.__main__ import verdict_on
from tests.chaos.failovers import CLUSTER, SENTINEL
from tests.chaos.faults import EMBEDDED
from tests.fixtures.named_tests import missing

TABLE = Path(__file__).with_name("README.md")
ROWS_MIN = 40


@cache
def rows() -> dict[str, tuple[str, ...]]:
    """The tests and faults of each row, by the row's first cell."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {
        row[0]: tuple(re.findall("`([^`]+)`", row[2]))
        for row in cells
        if len(row) == 3 and row[0] not in ("fault", "trap") and set(row[0]) != {"-"}
    }


def test_every_row_names_a_test() -> None:
    assert len(rows()) >= ROWS_MIN
    assert [row for row, shown_by in rows().items() if not any("::" in one for one in shown_by)] == []


def test_every_test_that_the_table_names_exists() -> None:
    named = {one for shown_by in rows().values() for one in shown_by if "::" in one}
    assert missing(named) == []


def test_the_table_has_exactly_the_faults_of_scripts_chaos() -> None:
    named = {one for shown_by in rows().values() for one in shown_by if "::" not in one}
    assert named == {*EMBEDDED, *CLUSTER, *SENTINEL}


def test_a_run_that_lost_what_was_told_does_not_say_that_nothing_was_lost() -> None:
    assert verdict_on(0) == "nothing was lost, doubled or otherwise violated"
    assert verdict_on(1_082).startswith("1,082 changes were lost, and told of")
