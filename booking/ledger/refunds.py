"""Refunds: the payments that came too late for their tickets. Whether the money was given back is in SQL alone.

Applying changes never touches that (`payments.write`), so neither a restoration nor a repeated change clears it.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import desc, func, null, select, update

from booking.domain.model import PaymentOutcome
from booking.ledger.ledger import Ledger
from booking.ledger.payments import OF_HOLD
from booking.ledger.tables import bookings, payments

_IS_REFUND = payments.c.outcome == PaymentOutcome.REFUND_DUE.value
_IS_DONE = payments.c.done_at_ms.is_not(None)
_REFUNDS = select(payments, bookings.c.quantity).join_from(payments, bookings, OF_HOLD).where(_IS_REFUND)


@dataclass(frozen=True, slots=True)
class Refund:
    """One refund. Times are milliseconds since 1970 in UTC."""

    event_id: int
    payment_id: str
    user_id: str
    number: int
    """Of the hold that was paid for."""
    quantity: int
    due_at_ms: int
    done_at_ms: int | None
    """None while it is due."""
    done_by: str | None


async def page(
    ledger: Ledger, event_id: int, limit: int, after: str | None = None, *, done: bool | None = None
) -> list[Refund] | None:
    """An event's refunds, the newest first, after the payment `after`; None if that is no refund of the event.

    With `done`, only those that are, or are not.
    """
    query = _REFUNDS.where(payments.c.event_id == event_id)
    async with ledger.reading() as connection:
        if after is not None:
            place = select(payments.c.outcome_seq).where(
                payments.c.event_id == event_id, payments.c.payment_id == after, _IS_REFUND
            )
            seq = (await connection.execute(place)).scalar_one_or_none()
            if seq is None:
                return None
            query = query.where(payments.c.outcome_seq < seq)
        if done is not None:
            query = query.where(_IS_DONE if done else ~_IS_DONE)
        return _refunds(await connection.execute(query.order_by(desc(payments.c.outcome_seq)).limit(limit)))


async def mark(ledger: Ledger, event_id: int, payment_id: str, at_ms: int | None, by: str) -> Refund | None:
    """Marks a refund as done at `at_ms` by a user, or as due again (None). Returns None if there is none.

    One statement decides, so of several calls the first one's time and user stay.
    """
    values: dict[str, Any] = {"done_at_ms": null(), "done_by": null()}
    if at_ms is not None:
        values = {
            "done_at_ms": func.coalesce(payments.c.done_at_ms, at_ms),
            "done_by": func.coalesce(payments.c.done_by, by),
        }
    one = payments.c.event_id == event_id, payments.c.payment_id == payment_id
    async with ledger.writing() as connection:
        await connection.execute(update(payments).where(*one, _IS_REFUND).values(values))
        found = _refunds(await connection.execute(_REFUNDS.where(*one)))
    return found[0] if found else None


async def count(ledger: Ledger, event_id: int) -> tuple[int, int]:
    """The number of an event's refunds in all, and of those that are done."""
    query = select(func.count(), func.count(payments.c.done_at_ms)).where(payments.c.event_id == event_id, _IS_REFUND)
    async with ledger.reading() as connection:
        in_all, done = (await connection.execute(query)).one()
    return in_all, done


async def count_due(ledger: Ledger) -> tuple[int, int]:
    """The refunds of all events that are not done, and the number of these events. It reads all payments."""
    query = select(func.count(), func.count(payments.c.event_id.distinct())).where(_IS_REFUND, ~_IS_DONE)
    async with ledger.reading() as connection:
        due, events = (await connection.execute(query)).one()
    return due, events


def _refunds(rows: Any) -> list[Refund]:
    return [
        Refund(
            row.event_id,
            row.payment_id,
            row.user_id,
            row.number,
            row.quantity,
            row.outcome_at_ms,
            row.done_at_ms,
            row.done_by,
        )
        for row in rows
    ]
