"""Plays a given number of steps on a server of its own: `scripts/model --steps 200000 --seed 1`."""

import argparse
import sys
import time

from booking.inventory.errors import InventoryUnavailable
from tests.fixtures.valkey import running_valkey
from tests.model.match import Arena, Difference
from tests.model.money import paid_sales
from tests.model.search import anything, search
from tests.model.settable_clock import scripts_with_settable_clock

ROUND = 5_000
"""Steps between two checks of the clock."""

PROGRESS_SECONDS = 10.0


def main() -> int:
    """Returns 1 if the scripts and the model differ, and prints the smallest scenario found that shows it."""
    parser = argparse.ArgumentParser(prog="scripts/model", description=__doc__)
    parser.add_argument("--steps", type=int, default=200_000, help="steps to compare, at least (200,000)")
    parser.add_argument("--seed", type=int, default=1, help="where the random scenarios begin (1)")
    asked = parser.parse_args()
    rounds = 0
    began = said = time.monotonic()
    print(f"seed {asked.seed}: {asked.steps:,} steps of the scripts against the model", flush=True)
    with running_valkey() as server, Arena(server.address, scripts_with_settable_clock()) as arena:
        while arena.steps < asked.steps:
            try:
                left = min(ROUND, asked.steps - arena.steps)
                search(arena, f"{asked.seed}:{rounds}", left, drawn=paid_sales if rounds % 2 else anything)
            except (Difference, InventoryUnavailable) as difference:
                notes = "\n".join(getattr(difference, "__notes__", []))
                print(f"a difference, by seed {asked.seed} in round {rounds}: {difference}\n{notes}")
                return 1
            rounds += 1
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                print(f"  {arena.steps:,} steps, {said - began:.0f} s", flush=True)
        print(f"seed {asked.seed}: no difference in {arena.steps:,} steps, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
