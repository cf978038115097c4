"""The table of faults: every row names what shows it, every test and fault that is named is there."""

import re
from functools import cache
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.fixtures.named_tests import missing

TABLE = Path(__file__).with_name("README.md")
ROWS_MIN = 40


@cache
def rows() -> dict[str, tuple[str, ...]]:
    """What shows each row, by its first cell."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {
        row[0]: tuple(re.findall("`([^`]+)`", row[2]))
        for row in cells
        if len(row) == 3 and row[0] not in ("fault", "trap") and set(row[0]) != {"-"}
    }


def test_every_row_is_shown_by_something() -> None:
    assert len(rows()) >= ROWS_MIN
    assert [row for row, shown in rows().items() if not any("::" in one for one in shown)] == []


def test_every_test_that_the_table_names_is_there() -> None:
    named = {one for shown in rows().values() for one in shown if "::" in one}
    assert missing(named) == []


def test_every_fault_of_the_chaos_is_in_the_table_and_no_other() -> None:
    named = {one for shown in rows().values() for one in shown if "::" not in one}
    assert named == FAULTS.keys()
