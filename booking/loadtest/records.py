"""The record of each buyer, and the kinds of fault that a load test can find."""

from dataclasses import dataclass, field
from enum import IntFlag, StrEnum

EXAMPLES_MAX = 5
"""The most examples of each kind of fault; all faults are counted."""


class Seen(IntFlag):
    """The responses that one buyer has got, as flags."""

    SENT = 1
    BOOKED = 2
    """201: acknowledged as booked."""
    JOINED = 4
    """202: acknowledged as waiting."""
    TAKEN = 8
    """409 `already_booked`."""
    UNKNOWN = 16
    """A booking was requested, and its outcome is unknown."""
    CANCELLED = 32
    """A cancel was acknowledged."""
    CANCEL_UNKNOWN = 64
    """A cancel was requested, and its outcome is unknown."""


ACKNOWLEDGED = Seen.BOOKED | Seen.JOINED


class Found(StrEnum):
    """The state of a buyer's booking that was read after the sale."""

    UNREAD = ""
    """It could not be read, so this buyer cannot be judged."""
    ABSENT = "absent"
    CONFIRMED = "confirmed"
    HELD = "held"
    WAITING = "waiting"


@dataclass(slots=True)
class BuyerRecord:
    """The record of one buyer. Times are perf_counter_ns, which all processes of a machine share; 0 means never."""

    index: int
    quantity: int
    seen: int = 0
    """Flags of `Seen`; a plain int, because it is written for every response."""
    number: int = 0
    """The booking's number, from the first response with one; 0 for none."""
    sent_ns: int = 0
    """When a booking was first requested: before the first byte was sent."""
    acknowledged_ns: int = 0
    """When it was first acknowledged: after the last byte was received."""
    cancel_sent_ns: int = 0
    found: Found = Found.UNREAD
    found_number: int = 0
    found_quantity: int = 0
    found_position: int = 0

    @property
    def user_id(self) -> str:
        """The buyer's user id. It may be the same in every run, because the event is new."""
        return user_id(self.index)

    @property
    def turned_away(self) -> bool:
        """Whether all responses were refusals that promise that nothing was changed."""
        return self.seen == Seen.SENT

    @property
    def may_be_gone(self) -> bool:
        """Whether a cancel may have removed the booking."""
        return bool(self.seen & (Seen.CANCELLED | Seen.CANCEL_UNKNOWN))


def user_id(index: int) -> str:
    """The `sub` of one buyer's token."""
    return f"buyer-{index}"


class Fault(StrEnum):
    """Kinds of fault. A verdict is clean if there are none."""

    OVERSOLD = "oversold"
    DOUBLE_BOOKED = "double-booked"
    LOST = "lost"
    INVERSION = "waiting-list inversions"
    IDLE = "unsold while somebody waits"
    DISAGREEMENT = "disagreements"
    """Two responses of the service, or Redis and SQL, contradict each other."""
    UNEXPECTED = "unexpected answers"
    NO_SALE = "turned away with nothing sold"
    """A buyer of a failed sale: tickets were left, and no buyer was given one or a place on the waiting list."""
    NOT_YET = "not in SQL yet"
    """A change that SQL did not have yet when it was read: it is not proven to be lost."""
    UNSETTLED = "never settled"
    """A buyer whose booking could not be read after the sale, so that it cannot be judged."""


OPEN = frozenset({Fault.NOT_YET, Fault.UNSETTLED})
"""Faults that prove no error; they only leave it open whether there is one."""


class Verdict(StrEnum):
    """The summary of all findings. Only `clean` means that the sale was correct."""

    CLEAN = "clean"
    NO_SALE = "no sale"
    INCOMPLETE = "incomplete"
    NOT_CLEAN = "not clean"


@dataclass(slots=True)
class Findings:
    """Faults by kind, with a few examples of each."""

    counts: dict[Fault, int] = field(default_factory=dict)
    examples: dict[Fault, list[str]] = field(default_factory=dict)

    def add(self, fault: Fault, example: str, count: int = 1) -> None:
        """Counts a fault; `count` is larger than 1 if one example describes several."""
        self.counts[fault] = self.counts.get(fault, 0) + count
        examples = self.examples.setdefault(fault, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append(example)

    def merge(self, other: "Findings") -> None:
        """Adds the faults of `other`."""
        for fault, count in other.counts.items():
            first, *rest = other.examples[fault]
            self.add(fault, first, count)
            for example in rest:
                self.add(fault, example, 0)

    @property
    def verdict(self) -> Verdict:
        """The verdict of the most serious finding: a proven fault, then no sale, then what could not be judged."""
        if not self.counts:
            return Verdict.CLEAN
        if self.counts.keys() - OPEN - {Fault.NO_SALE}:
            return Verdict.NOT_CLEAN
        return Verdict.NO_SALE if Fault.NO_SALE in self.counts else Verdict.INCOMPLETE

    def to_json(self) -> dict[str, tuple[int, list[str]]]:
        """The findings as JSON, for `from_json`."""
        return {str(fault): (count, self.examples[fault]) for fault, count in self.counts.items()}

    @classmethod
    def from_json(cls, found: dict[str, tuple[int, list[str]]]) -> "Findings":
        """The findings of another process, from its `to_json`."""
        return cls(
            {Fault(fault): count for fault, (count, _) in found.items()},
            {Fault(fault): list(examples) for fault, (_, examples) in found.items()},
        )
