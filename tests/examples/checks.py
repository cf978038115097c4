"""What has to be true of every payment and every hold once the money has come to rest."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from booking.domain.changes import BookingChange, Change, ChangeKind
from booking.domain.model import BookingStatus

BOOKED, SETTLED = "booked", "settled"
"""The states at which an order in the shop's book has come to an end."""

OUTCOMES = {ChangeKind.BOOKED: "booking", ChangeKind.CONFIRMED: "booking", ChangeKind.REFUND_DUE: "refund_due"}
"""The changes with which a payment comes to its outcome, and what the table `payments` calls it."""

ENDS = {"booking": BOOKED, "refund_due": SETTLED}
"""For each outcome the state in the shop's book."""

UNPAID = {None, "open", "charged"}
"""The states in the shop's book of a payment that is not paid; None: it has no order."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """The four books that a payment is in."""

    paid: Mapping[str, int]
    """At the provider: the amount of each payment that is paid."""
    refunds: Mapping[str, int]
    """At the provider: the amount that was given back of each payment."""
    orders: Mapping[str, str]
    """In the shop: the state of the order of each payment."""
    payments: Mapping[str, tuple[str | None, bool]]
    """In the service's SQL: what each payment came to, and whether its refund is marked as done."""
    changes: Sequence[Change]
    """In the service's SQL: all changes."""
    price: int
    """Of one ticket."""


def payment_faults(accounts: Accounts) -> list[str]:
    """Every payment is one booking or one refund, in all four books; an unpaid one is neither.

    What was paid and not given back is the price of the tickets that were booked.
    """
    came_to: dict[str, list[tuple[str, int]]] = {}
    for change in accounts.changes:
        if isinstance(change, BookingChange) and change.payment_id is not None and change.kind in OUTCOMES:
            came_to.setdefault(change.payment_id, []).append((OUTCOMES[change.kind], change.quantity))
    faults = []
    for payment in sorted({*accounts.paid, *accounts.refunds, *accounts.orders, *accounts.payments, *came_to}):
        outcomes = came_to.get(payment, [])
        recorded, is_done = accounts.payments.get(payment, (None, False))
        state, paid, refunded = (
            accounts.orders.get(payment),
            accounts.paid.get(payment),
            accounts.refunds.get(payment, 0),
        )
        said = f"{payment}: changes {outcomes}, SQL {recorded}, shop {state}, paid {paid}, given back {refunded}"
        if paid is None:
            if outcomes or recorded or state not in UNPAID or refunded:
                faults.append(f"{said}: it is not paid")
        elif len(outcomes) != 1 or recorded != outcomes[0][0] or state != ENDS[recorded]:
            faults.append(said)
        elif paid - refunded != accounts.price * (outcomes[0][1] if recorded == "booking" else 0):
            faults.append(f"{said}: the amounts do not balance")
        elif recorded == "refund_due" and not is_done:
            faults.append(f"{said}: its refund is not marked as done")
    return faults


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which the service could not sell, in milliseconds since 1970 by Redis's clock."""

    began_ms: int
    ended_ms: int


@dataclass(slots=True)
class RollOn:
    """How long after their end holds gave their tickets on, by the times in SQL."""

    limit_ms: int
    late_ms: list[int] = field(default_factory=list)
    """Of each hold and offer that has ended, except those that an outage delayed."""
    delayed: int = 0
    """Those that an outage delayed."""
    offers: int = 0
    """How many of them were offers to people from the waiting list."""
    faults: list[str] = field(default_factory=list)

    @property
    def p99_ms(self) -> int:
        """The 99th percentile."""
        ordered = sorted(self.late_ms)
        return ordered[len(ordered) * 99 // 100] if ordered else 0


def roll_on(changes: Iterable[Change], outages: Sequence[Outage], until_ms: int, limit_ms: int) -> RollOn:
    """Looks at each hold whose end came before `until_ms`. It has to give its tickets on within `limit_ms`.

    If it ended while the service could not sell, the limit counts from the moment at which the service was back.
    """
    measured, ends = RollOn(limit_ms), dict[tuple[int, int], tuple[int, bool]]()
    for change in changes:
        if not isinstance(change, BookingChange):
            continue
        hold = change.event_id, change.number
        end, is_offer = ends.pop(hold, (0, False))
        if change.status is BookingStatus.HELD and change.expires_at_ms is not None:
            ends[hold] = change.expires_at_ms, is_offer or change.kind is ChangeKind.PROMOTED
        elif change.kind is ChangeKind.EXPIRED:
            _measure(measured, f"{hold[0]}-{hold[1]}", end, change.at_ms, outages)
            measured.offers += is_offer
    for (event_id, number), (end, _) in ends.items():
        if end + limit_ms < until_ms and not _delayed(end, until_ms, outages, limit_ms):
            measured.faults.append(f"{event_id}-{number}: ended {until_ms - end} ms ago and is still held")
    return measured


def _measure(measured: RollOn, hold: str, end_ms: int, at_ms: int, outages: Sequence[Outage]) -> None:
    is_late = at_ms - end_ms > measured.limit_ms
    if is_late and _delayed(end_ms, at_ms, outages, measured.limit_ms):
        measured.delayed += 1
        return
    measured.late_ms.append(at_ms - end_ms)
    if is_late:
        measured.faults.append(f"{hold}: gave its tickets on {at_ms - end_ms} ms after its end")


def _delayed(end_ms: int, at_ms: int, outages: Sequence[Outage], limit_ms: int) -> bool:
    """Whether an outage explains that a hold gave its tickets on later than its end."""
    return any(
        outage.began_ms <= end_ms + limit_ms and end_ms <= outage.ended_ms and at_ms <= outage.ended_ms + limit_ms
        for outage in outages
    )


def counted(changes: Iterable[Change]) -> Counter[ChangeKind]:
    """How many changes of each kind there are."""
    return Counter(change.kind for change in changes)
