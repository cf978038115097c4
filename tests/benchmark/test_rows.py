"""The names of the rows."""

import pytest

from scripts.benchmark.rows import FULL, QUICK, Row, chosen


def test_rows_are_chosen_by_their_names() -> None:
    assert chosen("large, restore") == {Row.LARGE, Row.RESTORE}


@pytest.mark.parametrize("words", ["lrage", "large,lrage", "", ","])
def test_a_name_that_is_none_is_told_with_all_that_there_are(words: str) -> None:
    with pytest.raises(ValueError, match=r"there are throughput, storm, .*listeners"):
        chosen(words)


def test_the_sizes_shrink_with_the_scale_but_not_to_nothing() -> None:
    assert FULL.sized(1_000_000) == 1_000_000
    assert QUICK.sized(1_000_000) == 20_000
    assert QUICK.sized(100) == 10
