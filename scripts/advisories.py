"""Asks advisory services about what the lock pins, and tells "nothing is known" from "nobody could be asked"."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[1]
LOCK = CHECKOUT / "scripts" / "dev.lock"

CANARY = "jinja2==2.10"
"""A pin whose holes have been published since 2019 (CVE-2019-10906). A service that knows of none in it is none: an
index without advisories answers about every package alike, and silence is not a clean bill."""

CANARY_SECONDS_MAX = 20.0
AUDIT_SECONDS_MAX = 300.0

CLEAN, VULNERABLE, NOT_AUDITED = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Hole:
    """A known hole in something that is pinned."""

    package: str
    version: str
    advisory: str
    fixed_in: str

    def __str__(self) -> str:
        mended = f"fixed in {self.fixed_in}" if self.fixed_in else "no version fixes it yet"
        return f"{self.package} {self.version}: {self.advisory}, {mended}"


@dataclass(frozen=True, slots=True)
class Audited:
    """What came of asking one service."""

    asked: int
    """Packages that it knew of."""
    unknown: list[str]
    """Packages that it did not."""
    holes: list[Hole]


def services(osv_url: str | None) -> list[tuple[str, list[str]]]:
    """Each service by its name, with pip-audit's options for it, in the order in which they are tried."""
    if osv_url is not None:
        return [(osv_url, ["--vulnerability-service", "osv", "--osv-url", osv_url])]
    return [
        ("PyPI", ["--vulnerability-service", "pypi"]),
        ("OSV", ["--vulnerability-service", "osv"]),
    ]


def read(report: str) -> Audited:
    """Reads pip-audit's JSON. Raises ValueError where it is none."""
    found = json.loads(report)["dependencies"]
    holes = [
        Hole(one["name"], one["version"], _advisory(hole), ", ".join(hole.get("fix_versions", ())))
        for one in found
        for hole in one.get("vulns", ())
    ]
    unknown = [one["name"] for one in found if "skip_reason" in one]
    return Audited(len(found) - len(unknown), unknown, holes)


def _advisory(hole: dict[str, Any]) -> str:
    return " = ".join([hole["id"], *hole.get("aliases", ())])


def ask(requirements: Path, options: Sequence[str], seconds: float) -> Audited | None:
    """One service about all pins of a file; None where it cannot be asked."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"]
    quiet = ["--format", "json", "--progress-spinner", "off", "--desc", "off", "--timeout", "10"]
    try:
        ended = subprocess.run(
            [*command, *quiet, *options], capture_output=True, text=True, timeout=seconds, check=False
        )
        return read(ended.stdout)
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return None


def knows_holes(options: Sequence[str]) -> bool:
    """Whether a service tells of the holes that everybody knows."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as canary:
        canary.write(CANARY + "\n")
        canary.flush()
        told = ask(Path(canary.name), options, CANARY_SECONDS_MAX)
    return told is not None and bool(told.holes)


def main(arguments: Sequence[str]) -> int:
    """Prints what is known, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/audit", description=__doc__)
    parser.add_argument("--osv-url", help="an OSV service to ask instead of PyPI and osv.dev (…/v1/query)")
    parser.add_argument("--lock", type=Path, default=LOCK, help="the lock to look at; scripts/dev.lock")
    options = parser.parse_args(arguments)
    for name, wanted in services(options.osv_url):
        audited = ask(options.lock, wanted, AUDIT_SECONDS_MAX) if knows_holes(wanted) else None
        if audited is None:
            continue
        for hole in audited.holes:
            print(hole)
        unknown = f"; it does not know {', '.join(audited.unknown)}" if audited.unknown else ""
        verdict = f"{len(audited.holes)} known {'hole' if len(audited.holes) == 1 else 'holes'}"
        print(f"dependency audit: {verdict} in {audited.asked} packages, says {name}{unknown}")
        return VULNERABLE if audited.holes else CLEAN
    names = " nor ".join(name for name, _ in services(options.osv_url))
    print(f"dependency audit: NOT DONE: no advisories from {names}; nothing is known about {options.lock.name}")
    return NOT_AUDITED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
