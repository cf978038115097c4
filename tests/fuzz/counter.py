"""What was sent and answered: the figures of a run, and all its faults."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.fixtures.documented import documented

FAULTS_MAX = 50
"""Faults that are kept; beyond that they are counted."""


@dataclass(slots=True)
class Tally:
    """The figures of a run."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By operation and status."""
    faults: list[str] = field(default_factory=list)
    faulty: int = 0

    @property
    def requests(self) -> int:
        """How many were answered."""
        return sum(self.answers.values())

    def judge(
        self,
        label: str,
        method: str,
        target: str,
        status: int,
        headers: Mapping[str, str],
        content: bytes,
        wanted: str | None = None,
    ) -> None:
        """Counts an answer, and notes what is wrong with it: a 5xx, a difference from the document, or `wanted`."""
        self.answers[label, status] += 1
        found = documented().faults(method, target, status, headers, content)
        if status >= 500:
            found.insert(0, f"{method} {target}: {status} {content[:300]!r}")
        if wanted is not None:
            found.append(f"{method} {target}: {status}, {wanted}: {content[:300]!r}")
        for fault in found:
            self.note(fault)

    def note(self, fault: str) -> None:
        """Keeps a fault."""
        self.faulty += 1
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(fault)
