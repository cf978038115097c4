"""What is cut from `book` to see what its rules cost is still there to be cut."""

import pytest

from booking.inventory.scripts import load
from scripts.benchmark.rules_cost import bare


def test_the_bare_script_has_none_of_the_rules() -> None:
    left = bare(load("book").source.decode())
    for rule in (
        "return SALE_PAUSED",
        "return QUANTITY_OVER_LIMIT",
        "return WAITLIST_FULL",
        "call_up(buyers)",
    ):
        assert rule not in left


def test_a_script_that_has_moved_on_is_told_and_not_measured() -> None:
    with pytest.raises(ValueError, match="mend CUTS"):
        bare("return 1")
