"""A short run of `scripts/examples/proof`."""

from pathlib import Path

import pytest

from tests.chaos.client import START_SECONDS_MAX
from tests.chaos.deployment import open_embedded
from tests.examples.__main__ import MOODS
from tests.examples.buyers import Habits
from tests.examples.parts import running_till
from tests.examples.proof import ORGANIZER, PARTS, Plan, Proof

PATIENCE_SECONDS = 300
"""The bound for a whole run on a busy machine."""

PLAN = Plan(
    buyers=200,
    rate=25.0,
    seed=14,
    kills=True,
    habits=Habits(leave=0.25, cancel=0.15, part=0.15, late=0.5, late_seconds=(4.0, 8.0), quick_seconds=(0.0, 0.5)),
    offer_seconds=3,
    kill_pause=(0.3, 0.6),
    kill_turns=1,
    jumps=True,
    roll_on_ms=round(1000 * START_SECONDS_MAX),
)
"""The limit of a second is measured by the script, not here: the machine may be busy with other tests."""


@pytest.mark.timeout(PATIENCE_SECONDS)
async def test_every_payment_ends_once_whatever_is_killed(tmp_path: Path) -> None:
    async with open_embedded(None, 2, tmp_path, answer_seconds=START_SECONDS_MAX) as deployment:
        with running_till(deployment.services[0], tmp_path / "shop", ORGANIZER, MOODS) as till:
            result = await Proof(deployment, till, PLAN).run()
    assert result.faults == []
    assert result.figures["buyers"] == PLAN.buyers
    assert all(result.figures[name] for name in ("bookings", "refunds", "refunds of a part", "offers ended")), (
        result.figures
    )
    assert set(deployment.kills) == {part.partition("-")[0] for part in PARTS}
