"""The same seed makes the same sale, however many processes run it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from booking.loadtest.plan import address_of, draw_intents
from tests.loadtest.sale import PLAN


def test_only_the_seed_decides_what_buyers_do() -> None:
    assert draw_intents(PLAN) == draw_intents(replace(PLAN, processes=5, connections=99))
    assert draw_intents(PLAN) != draw_intents(replace(PLAN, seed=4))


def test_the_shares_are_close_to_the_requested_ones() -> None:
    intents = draw_intents(replace(PLAN, buyers=20_000, cancel_share=0.1, quantity_max=4))
    assert sum(intent.cancels for intent in intents) == pytest.approx(2_000, rel=0.1)
    assert sum(intent.again for intent in intents) == pytest.approx(180, rel=0.3)
    assert {intent.quantity for intent in intents} == {1, 2, 3, 4}
    assert not any(intent.cancels and intent.again for intent in intents)


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 8), st.integers(8, 200))
def test_every_buyer_and_every_connection_belongs_to_one_process(buyers: int, processes: int, connections: int) -> None:
    plan = replace(PLAN, buyers=buyers, processes=processes)
    parts = range(processes)
    assert sorted(buyer for part in parts for buyer in plan.share_of(part)) == list(range(buyers))
    assert sum(plan.connections_of(part, connections) for part in parts) == connections


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8000", ("127.0.0.1", 8000, False)),
        ("http://localhost/", ("localhost", 80, False)),
        ("https://[::1]", ("::1", 443, True)),
    ],
)
def test_an_address_is_parsed(url: str, address: tuple[str, int, bool]) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://h/path", "http://h?q", "http://u@h", "http://h:99999"],
)
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"has to|Port"):
        address_of(url)
