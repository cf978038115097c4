"""The scripts do what the reference model says after every step, for random steps in random order."""

import os

import pytest

from tests.model.match import Arena
from tests.model.money import paid_sales
from tests.model.search import search
from tests.model.small_steps import falling_capacities, scripts_of_small_steps, small_scenarios

SEED = os.environ.get("BOOKING_MODEL_SEED", "1")
STEPS = 1_200


def test_the_scripts_and_the_model_agree_on_payments_offers_and_parts(arena: Arena) -> None:
    print(f"BOOKING_MODEL_SEED={SEED}")
    search(arena, f"money:{SEED}", STEPS, drawn=paid_sales)
    assert arena.steps >= STEPS


@pytest.mark.parametrize("part", range(2))
def test_the_scripts_and_the_model_agree_on_every_answer_and_the_whole_state(arena: Arena, part: int) -> None:
    print(f"BOOKING_MODEL_SEED={SEED}, part {part}")
    search(arena, f"suite:{SEED}:{part}", STEPS)
    print(f"{arena.steps:,} steps")
    assert arena.steps >= STEPS


def test_the_scripts_and_the_model_agree_if_every_call_leaves_work_for_the_next(clean_valkey: str) -> None:
    print(f"BOOKING_MODEL_SEED={SEED}")
    with Arena(clean_valkey, scripts_of_small_steps()) as arena:
        search(arena, f"small:{SEED}", STEPS // 2, drawn=small_scenarios)
        search(arena, f"falling:{SEED}", STEPS // 2, drawn=falling_capacities)
        assert arena.steps >= STEPS
