"""The record of each buyer's sale, and the kinds of fault that a load test can find."""

from dataclasses import dataclass, field
from enum import IntFlag, StrEnum

EXAMPLES_MAX = 5
"""Examples kept of each kind of fault; all are counted."""


class Seen(IntFlag):
    """What the service let one buyer see."""

    SENT = 1
    BOOKED = 2
    """201: acknowledged as booked."""
    JOINED = 4
    """202: acknowledged as waiting."""
    TAKEN = 8
    """409 `already_booked`."""
    UNKNOWN = 16
    """A booking was asked for, and what became of it was never said."""
    CANCELLED = 32
    """A cancel was acknowledged."""
    CANCEL_UNKNOWN = 64
    """A cancel was asked for, and what became of it was never said."""


ACKNOWLEDGED = Seen.BOOKED | Seen.JOINED


class Found(StrEnum):
    """What reading a buyer's booking after the sale showed."""

    UNREAD = ""
    """It could not be read, so this buyer's case stays open."""
    ABSENT = "absent"
    CONFIRMED = "confirmed"
    HELD = "held"
    WAITING = "waiting"


@dataclass(slots=True)
class BuyerRecord:
    """One buyer's sale. Moments are perf_counter_ns, which all processes of a machine share; 0 is never."""

    index: int
    quantity: int
    seen: int = 0
    """Flags of `Seen`; a plain int, since one is written for every answer."""
    number: int = 0
    """The booking's number, from the first answer that named it; 0 for none."""
    sent_ns: int = 0
    """When a booking was first asked for: before the first byte left."""
    acknowledged_ns: int = 0
    """When it was first acknowledged: after the last byte came."""
    cancel_sent_ns: int = 0
    found: Found = Found.UNREAD
    found_number: int = 0
    found_quantity: int = 0
    found_position: int = 0

    @property
    def user_id(self) -> str:
        """The buyer's name; the event is new in every run, so that the names need not be."""
        return user_id(self.index)

    @property
    def turned_away(self) -> bool:
        """Whether every answer was a refusal that promises that nothing was changed."""
        return self.seen == Seen.SENT

    @property
    def may_be_gone(self) -> bool:
        """Whether a cancel may have taken the booking away."""
        return bool(self.seen & (Seen.CANCELLED | Seen.CANCEL_UNKNOWN))


def user_id(index: int) -> str:
    """The `sub` of one buyer's token."""
    return f"buyer-{index}"


class Fault(StrEnum):
    """What a sale must not show; a verdict is clean when it found none of them."""

    OVERSOLD = "oversold"
    DOUBLE_BOOKED = "double-booked"
    LOST = "lost"
    INVERSION = "waiting-list inversions"
    IDLE = "unsold while somebody waits"
    DISAGREEMENT = "disagreements"
    """Two things the service says, or Redis and SQL, that can't both be true."""
    UNEXPECTED = "unexpected answers"
    NO_SALE = "turned away with nothing sold"
    """A buyer of a sale that did not take place: tickets were there, and no buyer was given one or a place to wait."""
    NOT_YET = "not in SQL yet"
    """A change that SQL had not come to when it was looked at: neither there nor lost."""
    UNSETTLED = "never settled"
    """A buyer whose booking could not be read after the sale, so that nothing can be said."""


OPEN = frozenset({Fault.NOT_YET, Fault.UNSETTLED})
"""Faults that prove nothing wrong; they only leave open whether anything is."""


class Verdict(StrEnum):
    """What all the findings come to, in a word. Only `clean` says that the sale was right."""

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
        """Counts a fault; `count` may stand for several that one example describes."""
        self.counts[fault] = self.counts.get(fault, 0) + count
        examples = self.examples.setdefault(fault, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append(example)

    def merge(self, other: "Findings") -> None:
        """Adds another's faults to these."""
        for fault, count in other.counts.items():
            first, *rest = other.examples[fault]
            self.add(fault, first, count)
            for example in rest:
                self.add(fault, example, 0)

    @property
    def verdict(self) -> Verdict:
        """The gravest of what was found: a proven fault, that nothing was sold, or what could not be judged."""
        if not self.counts:
            return Verdict.CLEAN
        if self.counts.keys() - OPEN - {Fault.NO_SALE}:
            return Verdict.NOT_CLEAN
        return Verdict.NO_SALE if Fault.NO_SALE in self.counts else Verdict.INCOMPLETE

    def to_json(self) -> dict[str, tuple[int, list[str]]]:
        """What `from_json` reads back."""
        return {str(fault): (count, self.examples[fault]) for fault, count in self.counts.items()}

    @classmethod
    def from_json(cls, found: dict[str, tuple[int, list[str]]]) -> "Findings":
        """Reads what another process found."""
        return cls(
            {Fault(fault): count for fault, (count, _) in found.items()},
            {Fault(fault): list(examples) for fault, (_, examples) in found.items()},
        )
