"""Stacks, added up by function."""

import pytest

from scripts.benchmark.profile import Share, profile_table, shares

MAIN = "thread (17): MainThread"
STACKS = [
    f"{MAIN};run (/x/site-packages/uvicorn/server.py);book (booking/web/sale.py) 30",
    f"{MAIN};run (/x/site-packages/uvicorn/server.py);book (booking/web/sale.py);sign (/usr/lib/python3.11/hmac.py) 50",
    f"{MAIN};run (/x/site-packages/uvicorn/server.py);again (a.py);again (a.py) 20",
    "thread (18): Thread-1;wait (b.py) 99",
]


def test_a_functions_own_time_leaves_out_what_it_calls() -> None:
    found = {share.function: (share.own, share.whole) for share in shares(STACKS)}
    assert found["book (booking/web/sale.py)"] == (30, 80)
    assert found["run (uvicorn/server.py)"] == (0, 100)
    assert found["sign (hmac.py)"] == (50, 50)


def test_a_function_that_calls_itself_is_counted_once() -> None:
    assert Share("again (a.py)", 20, 20) in shares(STACKS)


def test_own_times_come_in_falling_order_and_make_up_the_whole() -> None:
    own = [share.own for share in shares(STACKS)]
    assert own == sorted(own, reverse=True)
    assert sum(own) == pytest.approx(100)


def test_nothing_sampled_is_an_empty_table() -> None:
    assert profile_table(shares([])).row_count == 0
