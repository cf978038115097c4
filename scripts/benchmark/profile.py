"""Where one worker's time goes, function by function: py-spy samples it during a round that does not count."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from scripts.benchmark import wrk
from scripts.benchmark.contenders import CHECKOUT
from scripts.benchmark.processes import PartError
from scripts.benchmark.service import Service

SAMPLES_PER_S = 200
"""Often enough for shares of one percent in a few seconds, and rarely enough to take no more than that itself."""

FUNCTIONS_SHOWN = 30

LEAD_S = 1
"""The load runs this long before the samples begin and after they end."""

GIVEN_UP_S = 60


EVENT_LOOP_THREAD = "MainThread"

LIBRARY = re.compile(r"^.*/lib/python3\.\d+/")


@dataclass(frozen=True, slots=True)
class Share:
    """A function's part of the worker's busy time, in percent: in itself, and with all that it calls."""

    function: str
    own: float
    whole: float


def profile(service: Service, tokens: Path, folder: Path, seconds: int) -> list[Share]:
    """Loads the service and samples its first worker meanwhile. Raises LoadError, and PartError if py-spy fails."""
    output = folder / "stacks.txt"
    pid = service.parts()["server"][0]
    program = Path(sys.executable).with_name("py-spy")
    command = [str(program), "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(SAMPLES_PER_S)]
    sale = service.open_sale()
    # py-spy needs the right to read another process: root, or a kernel.yama.ptrace_scope of 0.
    with subprocess.Popen(
        [*command, "--threads", "--function", "--format", "raw", "--output", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as spy:
        try:
            wrk.shoot(sale, tokens, seconds + 2 * LEAD_S)
            told, _ = spy.communicate(timeout=GIVEN_UP_S)
        finally:
            spy.kill()
    if spy.returncode or not output.exists():
        raise PartError(f"py-spy could not watch the worker (as root it can): {told.strip()[-300:]}")
    return shares(output.read_text(encoding="utf-8").splitlines())


def shares(stacks: Iterable[str]) -> list[Share]:
    """Reads stacks as py-spy writes them, `thread;outer (file);inner (file) samples`; the greatest own share first.

    Only the event loop's thread counts: threads that wait for work are now and then taken for busy.
    """
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    total = 0
    for line in stacks:
        stack, _, samples = line.rpartition(" ")
        thread, *stacked = stack.split(";")
        if not stacked or not thread.endswith(EVENT_LOOP_THREAD):
            continue
        frames = [_short(frame) for frame in stacked]
        total += int(samples)
        own[frames[-1]] += int(samples)
        for frame in set(frames):  # A function that calls itself is on the stack once.
            whole[frame] += int(samples)
    return [
        Share(function, 100 * own[function] / total, 100 * count / total)
        for function, count in sorted(whole.items(), key=lambda item: (-own[item[0]], -item[1]))
    ]


def profile_table(found: Sequence[Share]) -> Table:
    """The functions that take the most."""
    table = Table(title="Where the worker's time goes", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("function")
    table.add_column("own %", justify="right")
    table.add_column("with what it calls %", justify="right")
    for share in found[:FUNCTIONS_SHOWN]:
        table.add_row(share.function, f"{share.own:.1f}", f"{share.whole:.1f}")
    return table


def _short(frame: str) -> str:
    """Files by their place in their package: `booking/web/sale.py`, `uvicorn/server.py`."""
    name, _, file = frame.rpartition(" (")
    for start in (f"{CHECKOUT}/", "site-packages/"):
        file = file.rpartition(start)[2]
    return f"{name} ({re.sub(LIBRARY, '', file)}"
