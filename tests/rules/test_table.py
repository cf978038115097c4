"""The table of rules: every rule names a test, and every named test and script exists."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.fixtures.named_tests import missing, names_in

CHECKOUT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("README.md")
WITHOUT_SCRIPT = {"a change that names nothing is refused", "a key is 1 to 255 visible characters, quoted or bare"}
"""Rules about the request, which no script handles."""


@dataclass(frozen=True, slots=True)
class Row:
    """One rule with its scripts in `lua/` and its tests in `tests/`."""

    rule: str
    scripts: tuple[str, ...]
    tests: tuple[str, ...]


def rows() -> list[Row]:
    """The table's rows, without its head and its headings."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    quoted = re.compile("`([^`]+)`")
    return [
        Row(rule, tuple(quoted.findall(scripts)), tuple(quoted.findall(tests)))
        for rule, scripts, tests in cells
        if not rule.startswith("**")
    ]


def test_every_rule_names_a_test_and_every_rule_of_a_sale_names_a_script() -> None:
    found = rows()
    assert len(found) > 50
    assert len({row.rule for row in found}) == len(found), "a rule is listed twice"
    assert [row.rule for row in found if not row.tests] == []
    assert {row.rule for row in found if not row.scripts} == WITHOUT_SCRIPT


def test_every_test_that_the_table_names_exists() -> None:
    named = {test for row in rows() for test in row.tests}
    assert missing(named) == []


def test_every_script_that_the_table_names_exists() -> None:
    named = {script for row in rows() for script in row.scripts}
    assert sorted(script for script in named if not (CHECKOUT / "lua" / script).is_file()) == []


def test_every_test_in_the_rules_files_is_in_the_table() -> None:
    named = {test for row in rows() for test in row.tests}
    files = {test.partition("::")[0] for test in named if test.startswith("rules/")}
    own = {f"{file}::{test}" for file in files for test in names_in(file)}
    assert sorted(own - named) == []
