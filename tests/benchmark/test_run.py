"""Which remarks come of the rounds, and that every row is measured somewhere."""

from scripts.benchmark.figures import OTHERS, Load, Round
from scripts.benchmark.report import Contest
from scripts.benchmark.rows import ALL, QUICK
from scripts.benchmark.run import PARTS, machine, remarks


def a_contest(cores: dict[str, float] | None = None, fault: str | None = None) -> Contest:
    faults = () if fault is None else (fault,)
    return Contest("ours", 1, [Round(Load(1_000, 1.0, 0, 0, 1, 2, 3), cores or {"server": 1.0}, faults)])


def said(contest: Contest) -> str:
    return "\n".join(remarks([contest]))


def test_what_spoils_a_figure_is_said_in_words() -> None:
    plain = said(a_contest())
    assert "lower bound" not in plain
    assert "not to be trusted" not in plain
    assert "Other programs" not in plain
    assert "lower bound" in said(a_contest(cores={"generator": 0.95, "server": 0.4}))
    assert "not to be trusted: 3 requests were refused" in said(a_contest(fault="3 requests were refused"))
    assert "Other programs took up to 0.7 cores" in said(a_contest(cores={"server": 0.9, OTHERS: 0.7}))


def test_a_run_without_rounds_has_its_remarks() -> None:
    assert remarks([])


def test_every_row_is_measured_by_one_part() -> None:
    rows = [row for measured, _ in PARTS for row in measured]
    assert len(rows) == len(set(rows))
    assert set(rows) == ALL


def test_the_scale_is_told_beside_the_machine() -> None:
    assert machine(QUICK)["scale"] == QUICK.scale
