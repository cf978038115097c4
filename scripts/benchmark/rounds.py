"""Takes contenders in turn, round after round, so that a machine that drifts drifts under all of them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from scripts.benchmark import processes
from scripts.benchmark.load import CONNECTIONS, Load, Plan, Target, new_buyers, prepared

WARM_UP_S = 1

QUIET_CORES = 0.25
"""A machine on which no more than this is used is quiet; contenders that wait for their turn use a little, too."""

QUIET_WINDOW_S = 0.3
QUIET_SECONDS_MAX = 10.0
"""A round begins after so long even if the machine is not quiet."""

BUSY_CORES = 0.9
"""A single-threaded process that uses this much of a core has no more to give."""

OTHERS = "others"
"""The role of every other program on the machine."""

Parts = Mapping[str, list[int]]
"""Process ids by role."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A service under load: how a round begins, which processes it has, and what it has stored of the round."""

    open: Callable[[], Target]
    parts: Callable[[], Parts]
    stored: Callable[[Target], int] | None = None
    """Bookings that its books hold, once all are written; None if it keeps none."""
    settle: Callable[[], list[str]] = list
    """Waits until a round's work is done; says what is wrong."""
    rate: float | None = None
    """Calls a second, in an open loop; None: a closed loop, as fast as it goes."""


@dataclass(frozen=True, slots=True)
class Round:
    """One contender's turn: the load, and the cores that each part used meanwhile, by role."""

    load: Load
    cores: Mapping[str, float]
    server_us: float
    """Processor time of the server for one answer, in microseconds."""
    all_us: float
    """The same of all the service's parts, until the round's work was done."""
    faults: Sequence[str] = ()
    """Why the figure must not be trusted; empty for a good round."""

    @property
    def limit(self) -> str:
        """Which part had no more to give; the generator first, because every other figure is then a lower bound."""
        busy = [role for role in ("generator", "server", "redis") if self.cores.get(role, 0.0) >= BUSY_CORES]
        return busy[0] if busy else "none"


@dataclass(slots=True)
class Contest:
    """The rounds of one contender."""

    name: str
    rounds: list[Round] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Answers a second, round by round."""
        return [one.load.per_second for one in self.rounds]

    @property
    def rate(self) -> float:
        """Their median."""
        return median(self.rates)

    def ratio(self, other: "Contest") -> float:
        """This rate over the other's, the median of the rounds' ratios, so that an hour's drift falls out."""
        return median(mine / theirs for mine, theirs in zip(self.rates, other.rates, strict=True))


def one_round(contender: Contender, seconds: float, first_buyer: int) -> Round:
    """Opens a sale, makes the load, and reads the books afterwards."""
    target = contender.open()
    before_stored = contender.stored(target) if contender.stored else 0
    with prepared([Plan(target, seconds, contender.rate, first_buyer=first_buyer)]) as run:
        parts = contender.parts()
        before = {role: processes.used_cpu_s(pids) for role, pids in parts.items()}
        machine_s, started = processes.machine_cpu_s(), time.monotonic()
        [load] = run()
        elapsed_s = time.monotonic() - started
        used = {role: processes.used_cpu_s(pids) - before[role] for role, pids in parts.items()}
        machine_s = processes.machine_cpu_s() - machine_s
    cores = {role: seconds / elapsed_s for role, seconds in {**used, "generator": load.cpu_s}.items()}
    cores[OTHERS] = max(0.0, machine_s / elapsed_s - sum(cores.values()))
    faults = [*contender.settle(), *load.faults]
    if contender.parts() != parts:
        faults.append("a part was started again meanwhile, so its processor time is unknown")
    if contender.stored and not faults:
        stored = contender.stored(target) - before_stored
        if not load.answered <= stored <= load.answered + CONNECTIONS:
            faults.append(f"{load.answered} bookings were answered, {stored} are there")
    all_s = used["server"] + sum(
        processes.used_cpu_s(pids) - before[role] for role, pids in parts.items() if role in ("redis", "persister")
    )
    answered = max(1, load.answered)
    return Round(load, cores, 1e6 * used["server"] / answered, 1e6 * all_s / answered, faults)


def take_turns(
    contenders: Mapping[str, Contender], rounds: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Contest]:
    """Warms every contender up, then gives each one turn a round: A B C, A B C, …"""
    contests = {name: Contest(name) for name in contenders}
    for contender in contenders.values():
        one_round(contender, WARM_UP_S, new_buyers())
    for number in range(1, rounds + 1):
        first_buyer = new_buyers()
        for name, contender in contenders.items():
            wait_for_quiet()
            one = one_round(contender, seconds, first_buyer)
            contests[name].rounds.append(one)
            say(f"round {number} of {rounds}: {name}: {one.load.per_second:,.0f}/s")
            for fault in one.faults:
                say(f"  not to be trusted: {fault}")
    return contests


def wait_for_quiet() -> None:
    """Waits until the machine is at rest, so that one contender's last work is not another's burden."""
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while time.monotonic() < deadline:
        before, started = processes.machine_cpu_s(), time.monotonic()
        time.sleep(QUIET_WINDOW_S)
        if (processes.machine_cpu_s() - before) / (time.monotonic() - started) <= QUIET_CORES:
            return
