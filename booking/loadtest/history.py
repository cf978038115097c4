"""Judges a sale by its history in SQL: replays the changes, and compares the result with the buyers' records."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange
from booking.domain.model import Booking, BookingStatus
from booking.loadtest.records import BuyerRecord, Fault, Findings, Found, Seen

_TAKING = (BookingStatus.CONFIRMED, BookingStatus.HELD)
_LIVE = (*_TAKING, BookingStatus.WAITING)


class History:
    """Replays one event's changes in the order of `seq`, and collects faults in `findings`."""

    def __init__(self, tickets: int) -> None:
        self.findings = Findings()
        self.seq = 0
        self.live: dict[str, BookingChange] = {}
        """Each user's live booking after the changes."""
        self.numbers: dict[str, set[int]] = {}
        """The numbers of all bookings that each user ever had."""
        self.cancelled: set[tuple[str, int]] = set()
        self._tickets = tickets
        self._taken = 0
        self._queue: list[int] = []
        """Numbers of waiting bookings, in the order of joining. They increase, because a number is a `seq`."""
        self._quantities: dict[int, int] = {}
        self._table: dict[str, tuple[int, str, int]] = {}

    def apply(self, changes: Iterable[Change]) -> None:
        """Applies the next changes."""
        for change in changes:
            if change.seq != self.seq + 1:
                self.findings.add(
                    Fault.DISAGREEMENT, f"change {change.seq} follows change {self.seq}", abs(change.seq - self.seq - 1)
                )
            self.seq = change.seq
            if not isinstance(change, EventChange):
                self._apply_booking(change)

    def _apply_booking(self, change: BookingChange) -> None:
        user, before = change.user_id, self.live.get(change.user_id)
        if change.kind in (ChangeKind.BOOKED, ChangeKind.HELD, ChangeKind.JOINED):
            if before is not None:
                self.findings.add(Fault.DOUBLE_BOOKED, f"{user} has {before.number} and was given {change.number}")
                self._forget(before)
            self._check_order(change)
            self.numbers.setdefault(user, set()).add(change.number)
        elif before is None or before.number != change.number:
            self.findings.add(Fault.DISAGREEMENT, f"{change.kind} of booking {change.number}, which {user} has not")
            return
        else:
            if change.kind is ChangeKind.PROMOTED and self._queue[:1] != [change.number]:
                self.findings.add(
                    Fault.INVERSION,
                    f"booking {change.number} was promoted before booking {self._queue[0]}"
                    if self._queue
                    else f"booking {change.number} was promoted, and no one waited",
                )
            self._forget(before)
        if change.status in _LIVE:
            self.live[user] = change
            if change.status is BookingStatus.WAITING:
                self._queue.append(change.number)
                self._quantities[change.number] = change.quantity
            else:
                self._taken += change.quantity
        elif change.status is BookingStatus.CANCELLED:
            self.cancelled.add((user, change.number))
        if self._taken > self._tickets:
            self.findings.add(Fault.OVERSOLD, f"{self._taken} of {self._tickets} tickets were taken at {change.seq}")

    def _check_order(self, change: BookingChange) -> None:
        """A new booking must not overtake waiting ones, and must not wait if there are enough tickets."""
        if change.kind is ChangeKind.JOINED:
            needed = self._quantities[self._queue[0]] if self._queue else change.quantity
            if self._taken + needed <= self._tickets:
                self.findings.add(Fault.IDLE, f"{change.user_id} was made to wait, and there were tickets")
        elif self._queue:
            self.findings.add(Fault.INVERSION, f"{change.user_id} was served at {change.seq} past those who wait")

    def _forget(self, change: BookingChange) -> None:
        del self.live[change.user_id]
        if change.status is BookingStatus.WAITING:
            at = bisect_left(self._queue, change.number)
            del self._queue[at]
            del self._quantities[change.number]
        elif change.status in _TAKING:
            self._taken -= change.quantity

    def add_stored(self, booking: Booking) -> None:
        """Adds a live booking of SQL's table of bookings, to be compared."""
        if booking.user_id in self._table:
            self.findings.add(Fault.DOUBLE_BOOKED, f"{booking.user_id} has two live bookings in SQL")
        self._table[booking.user_id] = (booking.number, str(booking.status), booking.quantity)

    def compare(self, records: Sequence[BuyerRecord], redis_seq: int | None) -> int:
        """Compares the changes with the buyers' records; returns how many acknowledged changes are not in SQL yet.

        `redis_seq` is Redis's last change, None if Redis could not be read. While SQL is behind Redis, only changes
        up to SQL's last one are judged. A booking's number is the `seq` of the change that created it.
        """
        behind = redis_seq is None or self.seq < redis_seq
        if not behind:
            self._compare_final_states(records)
        missing = 0
        for record in records:
            if record.number and record.number not in self.numbers.get(record.user_id, ()):
                if behind and record.number > self.seq:
                    missing += 1
                else:
                    self.findings.add(Fault.LOST, f"{record.user_id}'s booking {record.number} is not in SQL")
            if record.seen & Seen.CANCELLED and (record.user_id, record.number) not in self.cancelled:
                # The response to a cancel has no `seq`, so until SQL has caught up, the cancel may still follow.
                if behind:
                    missing += 1
                else:
                    self.findings.add(Fault.LOST, f"the cancel of {record.user_id}'s {record.number} is not in SQL")
        return missing

    def _compare_final_states(self, records: Sequence[BuyerRecord]) -> None:
        """Compares the result of the changes with the service's responses, and with SQL's table of bookings."""
        if self._queue and self._taken + self._quantities[self._queue[0]] <= self._tickets:
            self.findings.add(Fault.IDLE, f"tickets are left, and booking {self._queue[0]} waits")
        found = {r.user_id: (r.found_number, str(r.found), r.found_quantity) for r in records if r.found_number}
        ends = {user: (c.number, str(c.status), c.quantity) for user, c in self.live.items()}
        unread = {r.user_id for r in records if r.found is Found.UNREAD}
        for name, left, right in (("the service", found, ends), ("the table of bookings", self._table, ends)):
            for user in left.keys() | right.keys():
                if left.get(user) != right.get(user) and user not in unread:
                    self.findings.add(
                        Fault.DISAGREEMENT, f"{user}: {name} says {left.get(user)}, the changes say {right.get(user)}"
                    )
