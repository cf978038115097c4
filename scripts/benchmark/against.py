"""This code against the code of a commit, in one run: the same loads on both, in turn, and the ratios."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from scripts.benchmark.contenders import CHECKOUT
from scripts.benchmark.load import Load, Plan, Target, prepared
from scripts.benchmark.processes import PartError, used_cpu_s
from scripts.benchmark.service import Service, serve

RATE_SHARE = 0.5
"""Latency is measured at this share of the lower of both rates."""

HIGHER, LOWER = "higher is better", "lower is better"

FIGURES = {
    "bookings/s of one worker": HIGHER,
    "worker's processor time a booking, µs": LOWER,
    "all parts' processor time a booking, µs": LOWER,
    "/status storm, answers/s": HIGHER,
    "p99 at half rate, ms": LOWER,
}

THIS = "this code"
GIT = shutil.which("git") or "git"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was measured of both sides, round by round; the first side is this code."""

    commit: str
    rounds: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]

    def ratios(self, figure: str) -> list[float]:
        """This code's figure over the other's, round by round."""
        return [ours[figure] / theirs[figure] for ours, theirs in self.rounds]

    def to_json(self) -> dict[str, object]:
        """Every figure of every round."""
        return {
            "against": self.commit,
            "rounds": [{THIS: dict(ours), self.commit: dict(theirs)} for ours, theirs in self.rounds],
            "ratios": {figure: median(self.ratios(figure)) for figure in FIGURES},
        }


def check_out(commit: str, folder: Path) -> str:
    """Writes the files of a commit into `folder`, and returns its short name. Raises PartError if there is none."""
    named = subprocess.run(
        [GIT, "rev-parse", "--short", f"{commit}^{{commit}}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if named.returncode:
        raise PartError(f"there is no commit {commit}: {named.stderr.strip()}")
    archive = subprocess.run([GIT, "archive", named.stdout.strip()], cwd=CHECKOUT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return named.stdout.strip()


def compare(
    folder: Path, commit: str, rounds: int, seconds: float, secret: bytes, say: Callable[[str], None]
) -> Comparison:
    """Runs both services at once and loads them in turn. Raises PartError."""
    source = folder / "source"
    name = check_out(commit, source)
    taken: list[tuple[Mapping[str, float], Mapping[str, float]]] = []
    with ExitStack() as running:
        sides = [
            Side(THIS, running.enter_context(serve(folder / "this", secret)), secret),
            Side(name, running.enter_context(serve(folder / "other", secret, source=source)), secret),
        ]
        for side in sides:
            side.bookings(1.0)
        for number in range(rounds):
            turn = sides if number % 2 == 0 else sides[::-1]  # neither is always the first
            found: dict[str, dict[str, float]] = {side.name: side.bookings(seconds) for side in turn}
            for side in turn:
                found[side.name] |= side.storm(seconds)
            rate = RATE_SHARE * min(one["bookings/s of one worker"] for one in found.values())
            for side in turn:
                found[side.name] |= side.latency(rate, seconds, number)
            taken.append((found[THIS], found[name]))
            ours, theirs = taken[-1]
            shares = ", ".join(f"{figure} {ours[figure] / theirs[figure]:.3f}" for figure in FIGURES)
            say(f"round {number + 1} of {rounds}, ratios: {shares}")
    return Comparison(name, taken)


class Side:
    """One of the two services."""

    def __init__(self, name: str, service: Service, secret: bytes) -> None:
        self.name = name
        self._service = service
        self._secret = secret.decode()
        self._buyers = 0

    def bookings(self, seconds: float) -> dict[str, float]:
        """A closed loop of bookings, and what it took from the processor until SQL had them all."""
        service = self._service
        with prepared([self._booking(seconds)]) as run:
            before = {role: used_cpu_s(pids) for role, pids in service.parts().items()}
            load = self._checked(run())
            server_s = used_cpu_s(service.parts()["server"]) - before["server"]
        if not service.wait_until_drained():
            raise PartError(f"{self.name}: SQL did not come level with Redis")
        others_s = sum(used_cpu_s(pids) - before[role] for role, pids in service.parts().items() if role != "server")
        return {
            "bookings/s of one worker": load.per_second,
            "worker's processor time a booking, µs": 1e6 * server_s / load.answered,
            "all parts' processor time a booking, µs": 1e6 * (server_s + others_s) / load.answered,
        }

    def storm(self, seconds: float) -> dict[str, float]:
        """A closed loop of reads of one event."""
        event_id = self._service.open_sale().event_id
        with prepared([Plan(Target(self._service.url, f"/status/{event_id}"), seconds)]) as run:
            return {"/status storm, answers/s": self._checked(run()).per_second}

    def latency(self, rate: float, seconds: float, seed: int) -> dict[str, float]:
        """An open loop of bookings."""
        with prepared([self._booking(seconds, rate, seed)]) as run:
            load = self._checked(run())
        self._service.wait_until_drained()
        return {"p99 at half rate, ms": load.ms(0.99)}

    def _booking(self, seconds: float, rate: float | None = None, seed: int = 1) -> Plan:
        sale = self._service.open_sale()
        target = Target(self._service.url, "/book", sale.body, self._secret, event_id=sale.event_id)
        plan = Plan(target, seconds, rate, first_buyer=self._buyers, seed=seed)
        self._buyers += plan.buyers_max
        return plan

    def _checked(self, load: Load) -> Load:
        if load.faults or not load.answered:
            raise PartError(f"{self.name}: {'; '.join(load.faults) or 'nothing was answered'}")
        return load


def show(found: Comparison, console: Console) -> None:
    """Prints the medians and the ratios."""
    title = f"{THIS} against {found.commit} ({len(found.rounds)} rounds in turn)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("figure (medians)")
    for heading in (THIS, found.commit, "ratio", "least to greatest"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for figure, direction in FIGURES.items():
        ratios = found.ratios(figure)
        ours, theirs = (median(side[figure] for side in sides) for sides in zip(*found.rounds, strict=True))
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        table.add_row(figure, f"{ours:,.1f}", f"{theirs:,.1f}", f"{median(ratios):.3f}", spread, direction)
    console.print(table)
