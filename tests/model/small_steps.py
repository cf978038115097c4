"""The scripts with a step size of one, so that a few users reach the code that otherwise needs thousands.

A call then stops at the first item that changes something, and goes through the waiting list one
person at a time. Every answer and the whole state must be the model's all the same, which knows nothing of steps.
"""

from hypothesis import strategies as st

from booking.domain.model import Rules
from booking.inventory.scripts import Script
from tests.model.match import kind_of
from tests.model.settable_clock import rewritten, scripts_with_settable_clock
from tests.model.steps import (
    Book,
    Cancel,
    Change,
    LookBooking,
    Scenario,
    Step,
    Together,
    scenarios,
    users,
    weighted,
)

STEPS = {"CHANGES_MAX = 1000": "CHANGES_MAX = 1", "USERS_STEP = 1000": "USERS_STEP = 1"}


def scripts_of_small_steps() -> dict[str, Script]:
    """Every script that bounds its work, changed to the smallest bounds."""
    scripts = scripts_with_settable_clock()
    for large, small in STEPS.items():
        having = [script for script in scripts.values() if large in script.source.decode()]
        assert having, f"no script has {large} any more"
        scripts |= {script.name: rewritten(script, large, small) for script in having}
    return scripts


def _of_one_kind(step: Step) -> list[Step]:
    """The step itself if its commands are of one kind, else its commands one after another.

    Unfinished items go into the next call, after items of other kinds from the same exchange. The model does not know
    that order.
    """
    if not isinstance(step, Together) or len({kind_of(0, command) for command in step.commands}) == 1:
        return [step]
    return list(step.commands)


small_scenarios: st.SearchStrategy[Scenario] = scenarios().map(
    lambda scenario: Scenario(scenario.rules, [one for step in scenario.steps for one in _of_one_kind(step)])
)

_first_event = st.just(1)
_crowded = weighted(
    (10, st.builds(Book, _first_event, users, st.sampled_from((1, 2, 3, 4)))),
    (2, st.builds(Cancel, _first_event, users)),
    (
        3,
        st.builds(
            Change, _first_event, st.sampled_from((1, 1, 2, 2, 3, 3, 4, 5)).map(lambda capacity: {"capacity": capacity})
        ),
    ),
    (1, st.builds(LookBooking, _first_event, users)),
)
falling_capacities: st.SearchStrategy[Scenario] = st.builds(
    Scenario,
    st.builds(Rules, st.just("A"), st.sampled_from((4, 5)), max_per_user=st.just(4)).map(lambda rules: (rules,)),
    st.lists(_crowded, min_size=10, max_size=60),
)
"""A waiting list of groups, and a capacity that becomes too small for some of them."""
