"""Takes the contenders in turn, round after round, so that a machine that drifts drifts under all of them alike."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scripts.benchmark import processes, wrk
from scripts.benchmark.contenders import Contender
from scripts.benchmark.figures import OTHERS, Round
from scripts.benchmark.tokens import Buyers

REQUESTS_PER_S_MAX = 45_000
"""Tokens are made for this rate: above what one process answers, so that they never run out."""

WARM_UP_S = 1

QUIET_CORES = 0.25
"""A machine on which no more than this is used is quiet; contenders that wait for their turn use a little, too."""

QUIET_WINDOW_S = 0.3
QUIET_PATIENCE_S = 10.0
"""A round begins after so long even on a machine that does not come to rest."""


def one_round(contender: Contender, tokens: Path, seconds: int) -> Round:
    """Opens a sale, lets the buyers at it, and reads the books afterwards."""
    sale = contender.open_sale()
    parts = contender.parts()
    before = {role: processes.used_cpu_s(pids) for role, pids in parts.items()}
    machine_before, started = processes.machine_cpu_s(), time.monotonic()
    shot = wrk.shoot(sale, tokens, seconds)
    elapsed_s = time.monotonic() - started
    machine = (processes.machine_cpu_s() - machine_before) / elapsed_s
    cores = {role: (processes.used_cpu_s(pids) - before[role]) / elapsed_s for role, pids in parts.items()}
    cores["generator"] = shot.generator_cpu_s / elapsed_s
    cores[OTHERS] = max(0.0, machine - sum(cores.values()))
    return Round(shot.load, cores, tuple(contender.faults(sale, shot.load)))


def take_turns(
    contenders: Mapping[str, Contender], buyers: Buyers, rounds: int, seconds: int, say: Callable[[str], None]
) -> dict[str, list[Round]]:
    """Every contender is warmed up, then each has one turn a round: A B C, A B C, …

    The contenders of one round share its tokens: to each of them, every buyer is new.
    """
    with tokens_for(buyers, WARM_UP_S) as tokens:
        for contender in contenders.values():
            one_round(contender, tokens, WARM_UP_S)
    taken: dict[str, list[Round]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        with tokens_for(buyers, seconds) as tokens:
            for name, contender in contenders.items():
                wait_for_quiet()
                one = one_round(contender, tokens, seconds)
                taken[name].append(one)
                say(f"round {number} of {rounds}: {name}: {one.load.per_second:,.0f}/s")
                for fault in one.faults:
                    say(f"  not to be trusted: {fault}")
    return taken


def wait_for_quiet(patience_s: float = QUIET_PATIENCE_S) -> bool:
    """Waits until the machine is at rest, so that one contender's aftermath is not another's burden."""
    deadline = time.monotonic() + patience_s
    while True:
        before, started = processes.machine_cpu_s(), time.monotonic()
        time.sleep(QUIET_WINDOW_S)
        if (processes.machine_cpu_s() - before) / (time.monotonic() - started) <= QUIET_CORES:
            return True
        if time.monotonic() > deadline:
            return False


@contextmanager
def tokens_for(buyers: Buyers, seconds: int) -> Iterator[Path]:
    """A file with enough new buyers' tokens for one contender to be loaded so long; gone after the block."""
    path = buyers.file(REQUESTS_PER_S_MAX * seconds)
    try:
        yield path
    finally:
        path.unlink()
