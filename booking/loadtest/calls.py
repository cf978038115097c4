"""What a buyer asks the service for: one call, over all its attempts."""

from enum import IntEnum


class Kind(IntEnum):
    """Kinds of call, each with a latency of its own."""

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
        """The label, with what a reader has to know of it: one's own booking is read when the sale is over."""
        return f"{self.label} (after)" if self is Kind.READ else self.label


class Call:
    """One thing that one buyer wants, over all its attempts."""

    __slots__ = ("attempts", "buyer", "kind", "seq_floor", "unknown")

    def __init__(self, kind: Kind, buyer: int) -> None:
        self.kind = kind
        self.buyer = buyer
        self.attempts = 0
        self.unknown = False
        """Whether an earlier attempt may have gone through."""
        self.seq_floor = 0
        """For a status read: a change that was acknowledged before it left, so that it has to show."""
