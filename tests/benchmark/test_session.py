"""What the rows of a run share."""

from pathlib import Path

from scripts.benchmark.report import Mark
from scripts.benchmark.rows import Extent, Row
from scripts.benchmark.session import Found, Session


def test_a_row_is_wanted_when_any_of_several_was_asked_for(tmp_path: Path) -> None:
    session = Session(tmp_path, Extent(1, 1, rows=frozenset({Row.LARGE})), lambda _: None)
    assert session.wants(Row.LARGE)
    assert session.wants(Row.EXPORT, Row.LARGE)
    assert not session.wants(Row.EXPORT)


def test_what_is_found_adds_up_in_order() -> None:
    found = Found([Mark("a", 1, "s")], {"A": []})
    found.add(Found([Mark("b", 2, "s")], {"B": []}, [], ["said"]))
    assert [mark.what for mark in found.marks] == ["a", "b"]
    assert (list(found.contests), found.remarks) == (["A", "B"], ["said"])
