"""The oracle checks what has to be true after every fault has ended and the stream has drained."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange
from booking.inventory import keys
from booking.inventory.reader import InventoryReader
from booking.ledger import Ledger
from booking.operations.audit.comparison import audit_event
from tests.chaos.buyers import Memory
from tests.chaos.deployment import SHARDS

MAKING = (ChangeKind.BOOKED, ChangeKind.HELD, ChangeKind.JOINED)
ENDING = (ChangeKind.CANCELLED, ChangeKind.LEFT)
KEEPING = (ChangeKind.CONFIRMED, ChangeKind.CHECKOUT, ChangeKind.REFUND_DUE)
"""They change neither who has tickets nor who waits."""


@dataclass(slots=True)
class Verdict:
    """The faults that were found; empty if there are none."""

    faults: list[str] = field(default_factory=list)
    lost: int = 0
    """Acknowledged changes that are missing."""
    doubled: int = 0
    """Bookings beyond the number of requests for them."""


async def judge(
    inventory: InventoryReader,
    ledger: Ledger,
    events: Iterable[int],
    memories: Iterable[tuple[str, Memory]],
    told: Collection[int] = (),
) -> Verdict:
    """Checks these events, and these users' memories of them, against the five points of the fault suite.

    Of the shards `told` the service has said that acknowledged changes are lost. So that is no fault, but counted.
    """
    verdict = Verdict()
    memories_of: dict[int, dict[str, Memory]] = {}
    for user, memory in memories:
        memories_of.setdefault(memory.event_id, {})[user] = memory
    for event_id in events:
        audit = await audit_event(inventory, ledger, event_id)  # points 1 and 2, and point 4 in the database
        verdict.faults += [f"event {event_id}: {difference}" for difference in audit.differences]
        if audit.unsettled:
            verdict.faults.append(f"event {event_id}: {audit.unsettled} bookings change without any request")
        changes = [change async for page in pages(ledger, event_id) for change in page]
        verdict.faults += [f"event {event_id}: {fault}" for fault in replayed(changes)]
        _compare_with_memories(
            verdict, changes, memories_of.get(event_id, {}), is_told=keys.shard_of(event_id, SHARDS) in told
        )
    return verdict


def _compare_with_memories(
    verdict: Verdict, changes: Sequence[Change], memories_of: dict[str, Memory], *, is_told: bool
) -> None:
    """Point 5: every acknowledged change exists, or its loss was told; none was made more often than requested."""
    by_kind: dict[str, set[tuple[str, int]]] = {"booked": set(), "cancelled": set(), "confirmed": set()}
    made: Counter[str] = Counter()
    for change in changes:
        if isinstance(change, BookingChange):
            one = (change.user_id, change.number)
            if change.kind in MAKING:
                by_kind["booked"].add(one)
                made[change.user_id] += 1
            elif change.kind in ENDING:
                by_kind["cancelled"].add(one)
            elif change.kind is ChangeKind.CONFIRMED:
                by_kind["confirmed"].add(one)
    # Confirming a booking that is already confirmed makes no change.
    by_kind["confirmed"] |= by_kind["booked"]
    for user, memory in memories_of.items():
        for name, there in by_kind.items():
            missing = {number for number in getattr(memory, name) if (user, number) not in there}
            verdict.lost += len(missing)
            verdict.faults += [
                f"{user} got an acknowledgement that {memory.event_id}-{one} was {name}"
                for one in missing
                if not is_told
            ]
        if made[user] > memory.attempts:
            verdict.doubled += made[user] - memory.attempts
            verdict.faults.append(
                f"{user} asked {memory.attempts} times for event {memory.event_id}: {made[user]} made"
            )


def replayed(changes: Sequence[Change]) -> list[str]:
    """Points 1, 3 and 4 after every change: replays the changes and returns those that break a rule.

    A restoration skips numbers by a change of the event that leaves its capacity. The audit finds all other gaps.
    """
    sale, due = _Sale(), 1
    for change in changes:
        skips = isinstance(change, EventChange) and change.rules.capacity == sale.capacity and change.seq > due
        if change.seq != due and not skips:
            return [*sale.faults, f"seq {change.seq} instead of {due}"]
        due = change.seq + 1
        if isinstance(change, EventChange):
            sale.capacity = change.rules.capacity
        else:
            sale.play(change)
        if not 0 <= sum(sale.taken.values()) <= sale.capacity:
            sale.faults.append(f"seq {change.seq}: {sum(sale.taken.values())} of {sale.capacity} tickets are taken")
    return sale.faults


@dataclass(slots=True)
class _Sale:
    """The state of one event, built from its changes."""

    capacity: int = 0
    taken: dict[int, int] = field(default_factory=dict)
    """Tickets by booking number, of bookings that have tickets."""
    queue: dict[int, int] = field(default_factory=dict)
    """Tickets by booking number, of waiting bookings, in join order."""
    owners: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def play(self, change: BookingChange) -> None:
        """Applies the next change."""
        if change.kind in MAKING:
            if change.user_id in self.owners:
                self.faults.append(f"seq {change.seq}: {change.user_id} has two live bookings")
            self.owners.add(change.user_id)
            if change.kind is ChangeKind.JOINED:
                self.queue[change.number] = change.quantity
                return
            if self.queue:
                self.faults.append(f"seq {change.seq}: {change.user_id} overtook waiting users")
            self.taken[change.number] = change.quantity
        elif change.kind is ChangeKind.PROMOTED:
            if next(iter(self.queue), None) != change.number:
                self.faults.append(f"seq {change.seq}: {change.user_id} was promoted without being the head")
            self.queue.pop(change.number, None)
            self.taken[change.number] = change.quantity
        elif change.kind is ChangeKind.REDUCED:
            held = self.queue if change.number in self.queue else self.taken
            held[change.number] = change.quantity
        elif change.kind not in KEEPING:
            self.owners.discard(change.user_id)
            self.queue.pop(change.number, None)
            self.taken.pop(change.number, None)


async def pages(ledger: Ledger, event_id: int) -> AsyncIterator[list[Change]]:
    """All changes of an event, in order."""
    after = 0
    while page := await ledger.changes(event_id, after, 5_000):
        yield page
        after = page[-1].seq
