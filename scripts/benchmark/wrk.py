"""Drives the system's `wrk`: closed-loop load over 64 connections, and what it counted."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.figures import Load
from scripts.benchmark.sales import Sale

CONNECTIONS = 64
"""Requests in flight at any time (closed loop)."""

SCRIPT = Path(__file__).with_name("load.lua")

MARK = "figures "
"""What the line of figures begins with, in the output of `load.lua`."""

GRACE_S = 20
"""How much longer than its duration wrk may take before it is given up."""


class LoadError(Exception):
    """The load generator did not do its work: its output says why."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One run of the generator: the load, and the seconds of processor time that the generator itself took."""

    load: Load
    generator_cpu_s: float


def missing() -> str | None:
    """None when wrk is there; else the one line that says how to get it. Root on Debian gets it at once."""
    if shutil.which("wrk"):
        return None
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-q", "-y", "wrk"]):
            subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if shutil.which("wrk"):
            return None
    return "wrk, the load generator, is not installed; get it with: sudo apt install wrk (or: brew install wrk)"


def parse(output: str) -> Load:
    """Reads what `load.lua` printed.

    Raises LoadError when there are no figures, when nothing was answered, or when the tokens ran out: the rest of
    the round would have been measured without load.
    """
    line = next((line for line in output.splitlines() if line.startswith(MARK)), None)
    if line is None:
        raise LoadError(f"wrk printed no figures: {output.strip()[-500:] or 'nothing at all'}")
    told = json.loads(line.removeprefix(MARK))
    if told["exhausted"]:
        raise LoadError(f"the tokens ran out after {told['requests']} requests: more are needed a round")
    if not told["requests"]:
        raise LoadError("not one request was answered")
    return Load(
        requests=told["requests"],
        duration_s=told["duration_us"] / 1e6,
        refused=told["status"],
        broken=told["connect"] + told["read"] + told["write"] + told["timeout"],
        p50_ms=told["p50_us"] / 1e3,
        p99_ms=told["p99_us"] / 1e3,
        max_ms=told["max_us"] / 1e3,
    )


def shoot(sale: Sale, tokens: Path, seconds: int) -> Shot:
    """Sends the sale's requests for `seconds`, each booking with a new token. Raises LoadError.

    One thread: it has ten times the speed of what is measured here, and takes no more than its share of few cores.
    """
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "5s", "-s", str(SCRIPT), sale.url, "--"]
    if sale.body:
        command += [str(tokens), sale.body, str(sale.event_id), str(sale.events)]
    elif sale.lookers is not None:
        command += [str(sale.lookers)]
    before = os.times()
    process = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False)
    after = os.times()
    if process.returncode:
        raise LoadError(f"wrk failed: {(process.stderr or process.stdout).strip()[-500:]}")
    cpu_s = (after.children_user + after.children_system) - (before.children_user + before.children_system)
    return Shot(parse(process.stdout), cpu_s)
