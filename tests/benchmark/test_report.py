"""The table and the JSON."""

import json
import re
from io import StringIO

import pytest
from rich.console import Console

from scripts.benchmark.figures import OTHERS, Load, Round
from scripts.benchmark.report import TIMES, Contest, Mark, Report, as_json, number, ratio_mark, show


def a_contest(name: str, rates: list[int], faults: tuple[str, ...] = ()) -> Contest:
    cores = {"server": 0.99, "generator": 0.4, OTHERS: 0.05}
    rounds = [Round(Load(rate * 2, 2.0, 0, 0, 3.25, 9.5, 20), cores, faults) for rate in rates]
    return Contest(name, 1, rounds)


def a_report(faults: tuple[str, ...] = ()) -> Report:
    ours, theirs = a_contest("ours", [18_000, 22_000], faults), a_contest("theirs", [10_000, 10_000])
    marks = [
        ratio_mark("ours against theirs", ours, theirs, 1.5),
        Mark("memory of a booking", 230.0, "B", most=200),
        Mark("start", 1.25, "s"),
    ]
    return Report({"cores": 2}, {"Bookings": [theirs, ours]}, marks, ["a remark"])


def shown(report: Report) -> str:
    output = StringIO()
    show(report, 2, Console(file=output, width=160))
    return output.getvalue()


def test_the_table_puts_rates_ratios_and_cores_side_by_side() -> None:
    row = next(line for line in shown(a_report()).splitlines() if " ours " in line)
    assert [cell.strip() for cell in re.split(r"\s{2,}", row.strip())] == [
        "ours", "20,000", "±10 %", f"2.00{TIMES}", "9.5", "50", "50", "0.99", "0.40", "0.05", "server",
    ]  # fmt: skip


def test_a_mark_says_whether_it_was_reached_and_a_plain_figure_says_nothing() -> None:
    reached = {mark.what: mark.reached for mark in a_report().marks}
    assert reached == {"ours against theirs": True, "memory of a booking": False, "start": None}
    text = shown(a_report())
    assert text.count("reached") == 1
    assert text.count("missed") == 1


def test_a_mark_shows_both_figures_and_is_judged_by_their_ratio() -> None:
    row = next(line for line in shown(a_report()).splitlines() if "ours against theirs" in line)
    assert [cell.strip() for cell in re.split(r"\s{2,}", row.strip())] == [
        "ours against theirs", "20,000 /s", "theirs", "10,000 /s", f"2.00{TIMES}", f"≥ 1.5{TIMES}", "reached",
    ]  # fmt: skip
    slower = Mark("a place", 12.0, "µs", most=1.5, against="a short list", theirs=6.0, ratio=2.0)
    assert (slower.reached, slower.bound) == (False, f"≤ 1.5{TIMES}")
    assert Mark("start", 1.25, "s", most=3).bound == "≤ 3 s"


def test_the_table_has_a_column_for_those_parts_alone_that_there_were() -> None:
    assert "listeners" not in shown(a_report())


def test_a_contest_with_a_fault_is_marked_where_its_figure_stands() -> None:
    assert "ours (not to be trusted)" in shown(a_report(("5 requests were refused",)))
    assert "not to be trusted" not in shown(a_report())


def test_the_json_holds_every_round_and_says_the_same_as_the_table() -> None:
    told = json.loads(json.dumps(as_json(a_report(("5 requests were refused",)), 2)))
    ours = told["contests"][1]
    assert (ours["about"], ours["name"]) == ("Bookings", "ours")
    assert ours["per_second"] == {"median": 20_000, "least": 18_000, "greatest": 22_000}
    assert (ours["limit"], ours["trusted"], ours["rounds"][0]["requests"]) == ("server", False, 36_000)
    assert [mark["reached"] for mark in told["marks"]] == [True, False, None]
    assert told["remarks"] == ["a remark"]


@pytest.mark.parametrize(("value", "text"), [(18_204.4, "18,204"), (12.34, "12.3"), (1.049, "1.05"), (0.0, "0.00")])
def test_a_number_shows_the_figures_that_matter(value: float, text: str) -> None:
    assert number(value) == text
