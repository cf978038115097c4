"""The calls of buyers. A call includes all its attempts."""

from enum import IntEnum


class Kind(IntEnum):
    """Kinds of call; latency is measured for each."""

    BOOK = 0
    AGAIN = 1
    CANCEL = 2
    STATUS = 3
    READ = 4

    @property
    def label(self) -> str:
        """The kind as the report names it."""
        return ("book", "book again", "cancel", "status", "own booking")[self]

    @property
    def heading(self) -> str:
        """The label in the report's tables. A buyer's own booking is read after the sale, which the heading says."""
        return f"{self.label} (after)" if self is Kind.READ else self.label


class Call:
    """One call of one buyer, with all its attempts."""

    __slots__ = ("attempts", "buyer", "kind", "seq_floor", "unknown")

    def __init__(self, kind: Kind, buyer: int) -> None:
        self.kind = kind
        self.buyer = buyer
        self.attempts = 0
        self.unknown = False
        """Whether an earlier attempt may have succeeded."""
        self.seq_floor = 0
        """For a status read: the last change acknowledged before it was sent, which its response must show."""
