"""Searches for a scenario in which the scripts and the model differ, from a seed, for a number of steps."""

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.model.match import Arena
from tests.model.steps import Scenario, scenarios

anything = scenarios()


def search(
    arena: Arena, seed_text: str, steps: int, *, shrink: bool = True, drawn: st.SearchStrategy[Scenario] = anything
) -> None:
    """Plays random scenarios until at least `steps` more are compared. The same seed gives the same scenarios.

    Raises Difference, or the error that a script failed with, from the smallest scenario found if `shrink` is set. The
    error's notes show that scenario.
    """
    enough, scenario = arena.steps + steps, 0
    while arena.steps < enough:
        _search_one(arena, f"{seed_text}:{scenario}", shrink, drawn)
        scenario += 1


def _search_one(arena: Arena, seed_text: str, shrink: bool, drawn: st.SearchStrategy[Scenario]) -> None:
    """Plays the empty scenario and a random one. With more examples, Hypothesis would mostly vary earlier ones."""

    @seed(seed_text)
    @settings(
        max_examples=2,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
    )
    @given(drawn)
    def play(scenario: Scenario) -> None:
        arena.play(scenario)

    play()
