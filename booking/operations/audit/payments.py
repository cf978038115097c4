"""Compares what Redis remembers of users' payments with SQL: by it, a payment that is told of again is decided."""

from collections.abc import Sequence

from booking.domain.model import Payment, PaymentOutcome
from booking.inventory.reader import InventoryReader
from booking.inventory.records import read_payments
from booking.ledger.ledger import Ledger
from booking.operations.audit.catch_up import READS_MAX, USERS_MAX, CatchUp, seq_of
from booking.operations.audit.findings import EventAudit, payment_as_json


async def compare_payments(reader: InventoryReader, ledger: Ledger, audit: EventAudit, catch_up: CatchUp) -> None:
    """Notes the users whose last payments differ. As with bookings, what differs is read again.

    Redis's side is searched for users that SQL lacks only if the numbers of users differ.
    """
    event_id, suspects, users = audit.event_id, dict[str, None](), 0
    async for page in ledger.payments(event_id):
        texts = await reader.payments_of(event_id, list(page))
        different = [user for user, text in zip(page, texts, strict=True) if not _agree(user, text, page[user])]
        suspects |= dict.fromkeys(different)
        users += len(page)
    if suspects or await reader.payers(event_id) != users:
        async for found in reader.payments(event_id):
            there = await ledger.payments_of(event_id, list(found))
            different = [user for user, text in found.items() if not _agree(user, text, there.get(user, []))]
            suspects |= dict.fromkeys(different)
    unsettled = list(suspects)
    for _ in range(READS_MAX):
        pages = [unsettled[start : start + USERS_MAX] for start in range(0, len(unsettled), USERS_MAX)]
        unsettled = [user for some in pages for user in await _read_again(reader, ledger, audit, catch_up, some)]
    audit.unsettled += len(unsettled)


async def _read_again(
    reader: InventoryReader, ledger: Ledger, audit: EventAudit, catch_up: CatchUp, users: Sequence[str]
) -> list[str]:
    """Notes the differences of the users whose payments did not change meanwhile, and returns the other users."""
    before = await reader.payments_of(audit.event_id, users)
    stored = await reader.event(audit.event_id) or {"seq": 0}
    if seq_of(await catch_up.wait_for(audit.event_id, stored["seq"])) < stored["seq"]:
        return list(users)  # SQL has not caught up, so nothing can be compared yet
    there = await ledger.payments_of(audit.event_id, users)
    after = await reader.payments_of(audit.event_id, users)
    unsettled = []
    for user, was, text in zip(users, before, after, strict=True):
        in_sql = there.get(user, [])
        if was != text:
            unsettled.append(user)
        elif not _agree(user, text, in_sql):
            _note(audit, user, text, in_sql)
    return unsettled


def _note(audit: EventAudit, user: str, text: bytes | None, in_sql: Sequence[Payment]) -> None:
    """Notes the payments of a user that differ, and no others."""
    in_redis = _read(user, text)
    if in_redis is None:
        audit.find("unreadable", user, redis=(text or b"").decode(errors="replace"))
        return
    ours, theirs = _compared(in_redis), _compared(in_sql)
    audit.find(
        "payment",
        user,
        [payment_as_json(one) for one in in_redis if theirs.get(one.id) != ours[one.id]],
        [payment_as_json(one) for one in in_sql if ours.get(one.id) != theirs[one.id]],
    )


def _agree(user: str, text: bytes | None, in_sql: Sequence[Payment]) -> bool:
    in_redis = _read(user, text)
    return in_redis is not None and _compared(in_redis) == _compared(in_sql)


def _read(user: str, text: bytes | None) -> list[Payment] | None:
    """The payments in Redis's text; None if it cannot be parsed."""
    try:
        return read_payments(user, text) if text else []
    except (KeyError, ValueError):
        return None


def _compared(payments: Sequence[Payment]) -> dict[str, tuple[object, ...]]:
    """What both sides have to know of each payment.

    Of one that came to a booking that is all: a part may have been given back since, and a hold that expired without a
    checkout has a number that SQL never heard of with its payment.
    """
    return {
        one.id: (one.outcome,)
        if one.outcome is PaymentOutcome.BOOKING
        else (one.outcome, one.number, one.was_cancelled, one.quantity)
        for one in payments
    }
