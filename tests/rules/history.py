"""Checks an event's changes against every rule of a sale that a history of changes can show."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from booking.domain.changes import BookingChange, Change, ChangeKind

EXPIRY_MS_MAX = 10_000
"""From the end of a hold to its expiry, on Redis's clock. More than the contract's second, so that a busy machine does
not fail a test; only a sweeper that has stopped takes longer."""


@dataclass(slots=True)
class History:
    """The state of a sale, built from its changes. Raises AssertionError if a change breaks a rule."""

    capacity: int
    available: int
    queue: dict[int, int] = field(default_factory=dict)
    """Tickets by booking number, of waiting bookings, in join order."""
    holds: dict[int, int] = field(default_factory=dict)
    """The end of each hold by booking number, in milliseconds since 1970."""
    owners: dict[str, int] = field(default_factory=dict)
    """The booking number of each user's live booking."""
    kinds: Counter[ChangeKind] = field(default_factory=Counter)
    late_ms: int = 0
    """The longest time from a hold's end to its expiry, in milliseconds."""
    at_ms: int = 0

    def check_rest(self) -> None:
        """Checks that the head of the waiting list does not fit into the free tickets."""
        if self.queue:
            number, quantity = next(iter(self.queue.items()))
            assert quantity > self.available, f"booking {number} waited for {quantity} while {self.available} were free"

    def add(self, change: BookingChange) -> None:
        """Applies the next change."""
        if change.at_ms != self.at_ms:  # a different time means another script call
            self.check_rest()
            self.at_ms = change.at_ms
        self.kinds[change.kind] += 1
        match change.kind:
            case ChangeKind.BOOKED | ChangeKind.HELD | ChangeKind.JOINED:
                assert change.user_id not in self.owners, f"{change.user_id} has two live bookings"
                self.owners[change.user_id] = change.number
                if change.kind is ChangeKind.JOINED:
                    self.queue[change.number] = change.quantity
                else:
                    assert not self.queue, f"booking {change.number} overtook waiting users"
                    self._take(change)
            case ChangeKind.PROMOTED:
                assert next(iter(self.queue), None) == change.number, f"booking {change.number} was not the head"
                del self.queue[change.number]
                self._take(change)
            case ChangeKind.CONFIRMED:
                assert change.at_ms < self.holds.pop(change.number), f"booking {change.number} was confirmed too late"
            case ChangeKind.EXPIRED:
                late_ms = change.at_ms - self.holds.pop(change.number)
                assert 0 <= late_ms <= EXPIRY_MS_MAX, f"booking {change.number} expired {late_ms} ms after its end"
                self.late_ms = max(self.late_ms, late_ms)
                self._free(change)
            case ChangeKind.CANCELLED:
                self.holds.pop(change.number, None)
                self._free(change)
            case ChangeKind.LEFT:
                del self.queue[change.number]
                del self.owners[change.user_id]
        assert 0 <= self.available <= self.capacity, f"{self.available} of {self.capacity} were free"

    def _take(self, change: BookingChange) -> None:
        self.available -= change.quantity
        if change.expires_at_ms is not None:
            self.holds[change.number] = change.expires_at_ms

    def _free(self, change: BookingChange) -> None:
        self.available += change.quantity
        assert self.owners.pop(change.user_id) == change.number, f"{change.user_id} had another booking"


def checked_history(changes: Sequence[Change], capacity: int) -> History:
    """Checks all changes of an event whose capacity never changed. Raises AssertionError."""
    assert [change.seq for change in changes] == list(range(1, len(changes) + 1)), "a change is missing"
    assert changes[0].kind is ChangeKind.CREATED
    history = History(capacity, capacity)
    for change in changes[1:]:
        assert isinstance(change, BookingChange)
        history.add(change)
    history.check_rest()
    return history
