"""Those who ask where they stand."""

import pytest

from scripts.benchmark.figures import Load, Round
from scripts.benchmark.places import ASKING, spread_over, time_mark
from scripts.benchmark.report import Contest


def a_contest(name: str, *rates: int) -> Contest:
    return Contest(name, 1, [Round(Load(rate, 1.0, 0, 0, 1, 2, 3), {}) for rate in rates])


def test_those_who_ask_stand_all_over_the_list() -> None:
    asking = spread_over([("wait", 300_000), ("later", 700_000)])
    assert len(asking) == ASKING
    assert (asking[0], asking[299], asking[300]) == ("wait-000000000", "wait-000299000", "later-000000000")
    assert asking[-1] == "later-000699000"


def test_in_a_short_list_everybody_asks() -> None:
    assert spread_over([("wait", 3)]) == ["wait-000000000", "wait-000000001", "wait-000000002"]


def test_half_the_rate_is_twice_the_time() -> None:
    mark = time_mark("a place", a_contest("long", 500, 500), a_contest("short", 1_000, 1_000))
    assert (mark.value, mark.theirs, mark.ratio) == pytest.approx((2_000, 1_000, 2))
    assert mark.reached is False
