"""The findings of `booking doctor` and of the checks at the start of the service."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    """It works, but something should be changed."""
    FAULT = "fault"
    """It does not work, or it breaks a promise of the service."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: the verdict, what was found, and what to do."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    """What to do; empty for the verdict `ok`."""


def ok(name: str, found: str) -> Finding:
    """A finding with the verdict `ok`."""
    return Finding(name, Verdict.OK, found)


def warning(name: str, found: str, advice: str) -> Finding:
    """A finding with the verdict `warning`."""
    return Finding(name, Verdict.WARNING, found, advice)


def fault(name: str, found: str, advice: str) -> Finding:
    """A finding with the verdict `fault`."""
    return Finding(name, Verdict.FAULT, found, advice)
