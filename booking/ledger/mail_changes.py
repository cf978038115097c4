"""What the changes of an event call for mail, for the process that queues mails."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from booking.domain.changes import Change, ChangeKind
from booking.domain.mails import Mail
from booking.domain.model import Booking, BookingStatus, Rules
from booking.ledger import queueing, reads
from booking.ledger.ledger import Ledger
from booking.ledger.outbox import SPAN, Backlog, Beside, Page
from booking.ledger.reads import BOOKING_COLUMNS, LIVE, booking_of, change_of
from booking.ledger.tables import bookings, changes, mail_rounds
from booking.settings import ACCOUNT_PREFIX


@dataclass(frozen=True, slots=True)
class Round:
    """A change of an event that everyone is told of who has a live booking."""

    event_id: int
    seq: int
    at_ms: int
    changed: Sequence[str]
    """What has changed."""
    after_number: int = 0
    """The bookings with smaller numbers, and this one, have their mails."""


class MailChanges:
    """Reads what calls for mail. Every method raises LedgerUnavailable if the database can't be used."""

    def __init__(self, ledger: Ledger, reminded_ms_min: int) -> None:
        """A hold is reminded of if it is longer than `reminded_ms_min` milliseconds."""
        self._ledger = ledger
        self._reminded_ms_min = reminded_ms_min

    async def page(self, backlog: Backlog, most: int) -> Page:
        """The next `most` changes of an event that may call for mail. All others are left out by the database."""
        event_id, after = backlog.cursor.event_id, backlog.cursor.seq
        upto = min(backlog.upto, after + SPAN)
        of_account = and_(
            changes.c.user_id.startswith(ACCOUNT_PREFIX, autoescape=True),
            or_(
                changes.c.kind == ChangeKind.PROMOTED,
                changes.c.expires_at_ms > changes.c.at_ms + self._reminded_ms_min,
                and_(
                    or_(changes.c.status == BookingStatus.CANCELLED, changes.c.kind == ChangeKind.REDUCED),
                    changes.c.actor != changes.c.user_id,
                ),
            ),
        )
        query = (
            select(changes)
            .where(changes.c.event_id == event_id, changes.c.seq > after, changes.c.seq <= upto)
            .where(or_(changes.c.kind == ChangeKind.CHANGED, of_account))
            .order_by(changes.c.seq)
            .limit(most)
        )
        async with self._ledger.reading() as connection:
            found: list[Change] = [change_of(row) for row in (await connection.execute(query)).all()]
        return Page(found[-1].seq if len(found) == most else upto, found)

    async def rules_around(self, event_id: int, seq: int) -> tuple[Rules, Rules] | None:
        """The rules of an event before and after a change. A change of an older version does not tell its details."""
        async with self._ledger.reading() as connection:
            before, after = [await reads.rules_as_of(connection, event_id, at) for at in (seq - 1, seq)]
        return None if before is None or after is None else (before, after)

    async def next_round(self) -> Round | None:
        """A round that is not complete; None if all are."""
        async with self._ledger.reading() as connection:
            row = (
                await connection.execute(select(mail_rounds).order_by(mail_rounds.c.event_id).limit(1))
            ).one_or_none()
        if row is None:
            return None
        data = orjson.loads(row.data)
        return Round(row.event_id, row.seq, data["at_ms"], data["changed"], row.after_number)

    async def readers(self, event_id: int, after_number: int, most: int) -> list[Booking]:
        """The next `most` live bookings of accounts with a number above `after_number`."""
        query = (
            select(*BOOKING_COLUMNS)
            .where(bookings.c.event_id == event_id, bookings.c.number > after_number, bookings.c.status.in_(LIVE))
            .where(bookings.c.user_id.startswith(ACCOUNT_PREFIX, autoescape=True))
            .order_by(bookings.c.number)
            .limit(most)
        )
        async with self._ledger.reading() as connection:
            return [booking_of(row) for row in await connection.execute(query)]


def queued(mails: Sequence[Mail], rounds: Sequence[Round]) -> Beside:
    """Queues mails and begins rounds, in the transaction that moves the cursors past their changes."""

    async def write(connection: AsyncConnection) -> None:
        await queueing.add(connection, mails)
        if rounds:
            await connection.execute(insert(mail_rounds), [_row(one) for one in rounds])

    return write


def went_on(mails: Sequence[Mail], one: Round, after_number: int | None) -> Beside:
    """Queues the mails of a part of a round, which went on to `after_number`; None: it is complete."""

    async def write(connection: AsyncConnection) -> None:
        await queueing.add(connection, mails)
        mine = mail_rounds.c.event_id == one.event_id, mail_rounds.c.seq == one.seq
        if after_number is None:
            await connection.execute(delete(mail_rounds).where(*mine))
        else:
            await connection.execute(update(mail_rounds).where(*mine).values(after_number=after_number))

    return write


def _row(one: Round) -> dict[str, object]:
    data = orjson.dumps({"at_ms": one.at_ms, "changed": list(one.changed)}).decode()
    return {"event_id": one.event_id, "seq": one.seq, "after_number": one.after_number, "data": data}
