"""The queue of mails. One process sends them; a mail stays in the queue until the server has taken or refused it."""

from collections.abc import Collection
from dataclasses import dataclass, field

import orjson
from sqlalchemy import Delete, Row, Update, delete, func, select, update

from booking.domain.callers import account_user_id
from booking.domain.mails import Lane, Mail, MailKind
from booking.domain.model import Booking, Rules
from booking.ledger import accounts, reads, resets
from booking.ledger.ledger import Ledger
from booking.ledger.tables import mails


@dataclass(frozen=True, slots=True)
class Reader:
    """Who gets a mail, and what it is about, as the database has it when the mail is sent."""

    user_id: str
    email: str = field(repr=False)
    booking: Booking | None = None
    rules: Rules | None = None
    """Of the event."""


class MailQueue:
    """The queue for the process that sends it. Every method raises LedgerUnavailable if the database can't be used."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def due(self, lane: Lane, now_ms: int, limit: int, without: Collection[int]) -> list[Mail]:
        """The mails of a lane that are to be sent now, the oldest first, except those with the ids `without`."""
        query = select(mails).where(mails.c.lane == lane, mails.c.due_at_ms <= now_ms, mails.c.id.not_in(without))
        async with self._ledger.reading() as connection:
            rows = await connection.execute(query.order_by(mails.c.due_at_ms, mails.c.id).limit(limit))
            return [_mail(row) for row in rows]

    async def reader(self, mail: Mail) -> Reader | None:
        """The reader of a mail; None if there is no such account (any more), or if a reset's token is not valid."""
        async with self._ledger.reading() as connection:
            if mail.kind is MailKind.RESET:
                if not await resets.is_valid(connection, resets.token_hash_of(mail)):
                    return None
                account = await accounts.find(connection, str(mail.facts["email_key"]))
                return None if account is None else Reader(account_user_id(account.id), account.email)
            account = await accounts.find_by_id(connection, mail.account_id or 0)
            if account is None or mail.event_id is None:
                return None
            booking = await reads.booking(connection, mail.event_id, int(str(mail.facts["number"])))
            event = await reads.event(connection, mail.event_id)
            rules = None if event is None else event.rules
            return Reader(account_user_id(account.id), account.email, booking, rules)

    async def begin(self, mail: Mail) -> bool:
        """Counts an attempt before it is made. Returns False if another process has begun one, or sent the mail."""
        begun = update(mails).where(mails.c.id == mail.id, mails.c.attempts == mail.attempts)
        async with self._ledger.writing() as connection:
            return (await connection.execute(begun.values(attempts=mail.attempts + 1))).rowcount == 1

    async def give_back(self, mail: Mail) -> None:
        """Uncounts an attempt in which nothing was sent."""
        await self._change(update(mails).where(mails.c.id == mail.id).values(attempts=mail.attempts))

    async def put_off(self, mail: Mail, until_ms: int) -> None:
        """The mail's next attempt is not before `until_ms`."""
        await self._change(update(mails).where(mails.c.id == mail.id).values(due_at_ms=until_ms))

    async def remove(self, mail: Mail) -> None:
        """Takes a mail out of the queue: it was sent, or never will be."""
        await self._change(delete(mails).where(mails.c.id == mail.id))

    async def backlog(self, now_ms: int) -> dict[Lane, tuple[int, int]]:
        """By lane: how many mails are to be sent by now, and since how many milliseconds the oldest of them is."""
        columns = (mails.c.lane, func.count().label("mails"), func.min(mails.c.due_at_ms).label("oldest_ms"))
        query = select(*columns).where(mails.c.due_at_ms <= now_ms).group_by(mails.c.lane)
        async with self._ledger.reading() as connection:
            found = {row.lane: (row.mails, now_ms - row.oldest_ms) for row in await connection.execute(query)}
        return {lane: found.get(lane, (0, 0)) for lane in Lane}

    async def _change(self, statement: Update | Delete) -> None:
        async with self._ledger.writing() as connection:
            await connection.execute(statement)


def _mail(row: "Row[tuple[object, ...]]") -> Mail:
    return Mail(
        name=row.name,
        kind=MailKind(row.kind),
        account_id=row.account_id,
        event_id=row.event_id,
        facts=orjson.loads(row.data),
        created_at_ms=row.created_at_ms,
        due_at_ms=row.due_at_ms,
        expires_at_ms=row.expires_at_ms,
        attempts=row.attempts,
        id=row.id,
    )
