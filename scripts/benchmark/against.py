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

from scripts.benchmark.load import Plan, new_buyers, offer
from scripts.benchmark.processes import PartError
from scripts.benchmark.rounds import WARM_UP_S, Contender, Round, one_round
from scripts.benchmark.service import CHECKOUT, Service, serve
from scripts.benchmark.throughput import OPEN_CONNECTIONS, RATE_SHARE

HIGHER, LOWER = "higher is better", "lower is better"

FIGURES = {
    "bookings/s of one worker": HIGHER,
    "worker's processor time a booking, µs": LOWER,
    "all parts' processor time a booking, µs": LOWER,
    "/status storm, answers/s": HIGHER,
    "p99 at half rate, ms": LOWER,
}

THIS = "this code"
TRIES = 3
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
        # Python before 3.11.4, as Debian 12 has it, knows no filter.
        files.extraction_filter = getattr(tarfile, "data_filter", None)
        files.extractall(folder)  # noqa: S202 - an archive of this repository
    return named.stdout.strip()


def compare(
    folder: Path, commit: str, rounds: int, seconds: float, secret: str, say: Callable[[str], None]
) -> Comparison:
    """Runs both services at once and loads them in turn. Raises PartError.

    Each round starts both anew: two starts of the same code may differ by a tenth for as long as they run.
    """
    source = folder / "source"
    name = check_out(commit, source)
    taken: list[tuple[Mapping[str, float], Mapping[str, float]]] = []
    sources = {THIS: CHECKOUT, name: source}
    for number in range(rounds):
        turn = [THIS, name] if number % 2 == 0 else [name, THIS]  # neither is always the first
        with ExitStack() as running:
            sides = [
                Side(side, running.enter_context(serve(folder / f"{number}-{place}", secret, source=sources[side])))
                for place, side in enumerate(turn)
            ]
            found = _one_round(sides, seconds, number)
        ours, theirs = found[THIS], found[name]
        taken.append((ours, theirs))
        shares = ", ".join(f"{figure} {ours[figure] / theirs[figure]:.3f}" for figure in FIGURES)
        say(f"round {number + 1} of {rounds}, ratios: {shares}")
    return Comparison(name, taken)


def _one_round(sides: Sequence["Side"], seconds: float, number: int) -> dict[str, dict[str, float]]:
    for side in sides:
        side.bookings(WARM_UP_S)
    found: dict[str, dict[str, float]] = {side.name: side.bookings(seconds) for side in sides}
    for side in sides:
        found[side.name] |= side.storm(seconds)
    rate = RATE_SHARE * min(one["bookings/s of one worker"] for one in found.values())
    for side in sides:
        found[side.name] |= side.latency(rate, seconds, number)
    return found


class Side:
    """One of the two services."""

    def __init__(self, name: str, service: Service) -> None:
        self.name = name
        self._service = service

    def bookings(self, seconds: float) -> dict[str, float]:
        """A closed loop of bookings, and what it took from the processor until SQL had them all."""
        taken = self._good(lambda: one_round(self._service.contender(), seconds, new_buyers()))
        return dict(zip(list(FIGURES)[:3], (taken.load.per_second, taken.server_us, taken.all_us), strict=True))

    def storm(self, seconds: float) -> dict[str, float]:
        """A closed loop of reads of one event."""
        taken = self._good(lambda: one_round(Contender(self._service.storm, self._service.parts), seconds, 0))
        return {"/status storm, answers/s": taken.load.per_second}

    def latency(self, rate: float, seconds: float, seed: int) -> dict[str, float]:
        """An open loop of bookings."""

        def once() -> Round:
            plan = Plan(self._service.sale(), seconds, rate, OPEN_CONNECTIONS, seed=seed, first_buyer=new_buyers())
            [load] = offer([plan])
            return Round(load, {}, 0.0, 0.0, [*self._service.settle(), *load.faults])

        return {"p99 at half rate, ms": self._good(once).load.ms(0.99)}

    def _good(self, measure: Callable[[], Round]) -> Round:
        """A round without a fault; one with a fault is taken again, up to TRIES times. Raises PartError."""
        for _ in range(TRIES):
            taken = measure()
            if not taken.faults and taken.load.answered:
                return taken
        raise PartError(f"{self.name}: {'; '.join(taken.faults) or 'nothing was answered'}")


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
