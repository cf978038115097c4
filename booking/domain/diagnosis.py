"""What `booking doctor` and the start of the service say about the ground they stand on."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a thing that was looked at is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and something about it should be changed."""
    FAULT = "fault"
    """It does not work, or what was promised about it is not true."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, what was found, and what to do about it."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    """What to do; empty where all is well."""


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name, Verdict.OK, found)


def warning(name: str, found: str, advice: str) -> Finding:
    """It works, but."""
    return Finding(name, Verdict.WARNING, found, advice)


def fault(name: str, found: str, advice: str) -> Finding:
    """It does not do."""
    return Finding(name, Verdict.FAULT, found, advice)
