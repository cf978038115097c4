"""The table of payments: each one that was begun, its hold, and what it came to."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Row, and_, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.changes import BookingChange, ChangeKind
from booking.domain.model import BookingStatus, Payment, PaymentOutcome, Source
from booking.ledger.tables import bookings, payments

OUTCOMES = {
    ChangeKind.BOOKED: PaymentOutcome.BOOKING,
    ChangeKind.CONFIRMED: PaymentOutcome.BOOKING,
    ChangeKind.REFUND_DUE: PaymentOutcome.REFUND_DUE,
}
"""The changes with which a payment comes to its outcome."""


@dataclass(slots=True)
class PaymentStep:
    """The first change of one payment among consecutive changes, and the one with which it came to its outcome."""

    first: BookingChange
    outcome: BookingChange | None = None


PaymentSteps = dict[tuple[int, str], PaymentStep]
"""By event and payment."""


def fold_payment(steps: PaymentSteps, change: BookingChange, payment_id: str) -> None:
    """Adds a change of a booking with a payment to the steps."""
    step = steps.setdefault((change.event_id, payment_id), PaymentStep(change))
    if change.kind in OUTCOMES:
        step.outcome = change


async def write(connection: AsyncConnection, steps: PaymentSteps) -> None:
    """Inserts the payments that were begun, and their outcomes. Few bookings have payments, so this may be slow."""
    if not steps:
        return
    rows = [
        {
            "event_id": event_id,
            "payment_id": payment_id,
            "user_id": step.first.user_id,
            "number": step.first.number,
            "seq": step.first.seq,
            "outcome": None if step.outcome is None else OUTCOMES[step.outcome.kind].value,
            "outcome_seq": None if step.outcome is None else step.outcome.seq,
            "outcome_at_ms": None if step.outcome is None else step.outcome.at_ms,
        }
        for (event_id, payment_id), step in steps.items()
    ]
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(payments)
    outcome = {name: func.coalesce(payments.c[name], insert.excluded[name]) for name in _OUTCOME}
    await connection.execute(insert.on_conflict_do_update(index_elements=_KEY, set_=outcome), rows)


OF_HOLD = and_(bookings.c.event_id == payments.c.event_id, bookings.c.number == payments.c.number)
"""What joins a payment to its hold."""

_WITH_HOLDS = select(
    payments, bookings.c.quantity, bookings.c.status, bookings.c.source, bookings.c.created_at_ms
).join_from(payments, bookings, OF_HOLD)
_KEY = ("event_id", "payment_id")
_OUTCOME = ("outcome", "outcome_seq", "outcome_at_ms")


async def page(
    connection: AsyncConnection, event_id: int, after: tuple[str, int], limit: int
) -> Sequence[tuple[int, Payment]]:
    """Payments of an event after a user and a `seq`, by user and in the order in which they were begun.

    Each with its `seq`.
    """
    place = tuple_(payments.c.user_id, payments.c.seq)
    some = _WITH_HOLDS.where(payments.c.event_id == event_id, place > after)
    rows = await connection.execute(some.order_by(payments.c.user_id, payments.c.seq).limit(limit))
    return [(row.seq, _payment(row)) for row in rows]


async def of_users(connection: AsyncConnection, event_id: int, users: Sequence[str]) -> list[Payment]:
    """All payments of these users of an event, by user and in the order in which they were begun."""
    theirs = _WITH_HOLDS.where(payments.c.event_id == event_id, payments.c.user_id.in_(users))
    rows = await connection.execute(theirs.order_by(payments.c.user_id, payments.c.seq))
    return [_payment(row) for row in rows]


def _payment(row: Row[tuple[object, ...]]) -> Payment:
    outcome = None if row.outcome is None else PaymentOutcome(row.outcome)
    was_cancelled = outcome is None and row.status == BookingStatus.CANCELLED.value
    hold = row.number, row.quantity, row.created_at_ms, Source(row.source)
    return Payment(row.payment_id, row.user_id, *hold, outcome, was_cancelled)
