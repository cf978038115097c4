"""The consumer that tells accounts by mail: it queues the mails that changes call for, and sends the queue.

The mails of a change are queued in the transaction that moves the cursor past it, so each is queued once. A change that
everyone is told of who has a booking is queued in parts, between which other changes have their turn.
"""

import asyncio
import time
from dataclasses import replace

from booking.domain.changes import BookingChange
from booking.domain.mails import Mail
from booking.ledger.errors import LedgerError
from booking.ledger.mail_changes import MailChanges, Round, queued, went_on
from booking.ledger.mails import MailQueue
from booking.ledger.outbox import MAIL, Cursor
from booking.logs import ThrottledLogger
from booking.outbox import mail_decisions
from booking.outbox.context import Context
from booking.outbox.mailer import Mailer
from booking.outbox.messages import Messages
from booking.outbox.smtp import MailServer

NAME = "mail"
"""The consumer's name, in the log and among the listeners of news."""

EVENTS_MAX = 100
"""Events that are read in one turn."""

CHANGES_MAX = 1_000
"""Changes of one event that call for mail and are queued in one transaction."""

ROUND_MAX = 500
"""Mails of a round that are queued in one transaction: for some 10 ms no other can write to SQLite."""

IDLE_SECONDS = 30.0
"""Between two turns while there is nothing new."""


RETRY_SECONDS = 1.0
"""The pause after an error of the database."""

_NO_DATABASE = ThrottledLogger("mails cannot be queued now")


async def consume(context: Context) -> None:
    """Queues and sends mails until the stop. Raises LeaseLost, LedgerError. Without a mail server it does nothing."""
    settings = context.settings
    if settings.smtp_url is None or settings.mail_from is None or settings.public_url is None:
        await context.stop.wait()
        return
    secret = settings.signing_secret()
    mailer = Mailer(
        MailQueue(context.ledger.ledger),
        MailServer(settings.smtp_url, settings.mail_from),
        Messages(settings.mail_from, settings.public_url, secret),
        context.metrics,
        lambda: context.has_lease,
    )
    context.news.listeners.add(NAME)
    await context.ledger.begin(MAIL)
    tasks = [
        asyncio.create_task(Queueing(context).run(), name="queue mails"),
        asyncio.create_task(mailer.run(context.stop), name="send mails"),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Queueing:
    """Queues the mails that changes call for."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._changes = MailChanges(context.ledger.ledger, mail_decisions.REMINDED_MS_MIN)

    async def run(self) -> None:
        """Runs until the stop. Raises LeaseLost. An error of the database does not end what is being sent."""
        context = self._context
        while not context.stop.is_set():
            news = context.news.count
            try:
                has_more = await self._turn()
                has_more |= await self._go_on_with_a_round()
            except LedgerError as error:
                _NO_DATABASE.error(reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if not has_more:
                await context.news.wait(news, IDLE_SECONDS)

    async def _turn(self) -> bool:
        """Queues the mails of the next changes of some events. Returns whether there are more."""
        backlogs = await self._context.ledger.behind(MAIL, _now_ms(), EVENTS_MAX)
        mails: list[Mail] = []
        rounds: list[Round] = []
        moved: list[Cursor] = []
        has_more = len(backlogs) == EVENTS_MAX
        for backlog in backlogs:
            page = await self._changes.page(backlog, CHANGES_MAX)
            for change in page.changes:
                if isinstance(change, BookingChange):
                    mails += mail_decisions.of_booking(change)
                    continue
                rules = await self._changes.rules_around(change.event_id, change.seq)
                changed = [] if rules is None else mail_decisions.changed_for_buyers(*rules)
                if changed:
                    rounds.append(Round(change.event_id, change.seq, change.at_ms, changed))
            moved.append(replace(backlog.cursor, seq=page.upto))
            has_more |= page.upto < backlog.upto
        if moved:
            useful = [mail for mail in mails if mail.expires_at_ms > _now_ms()]
            await self._context.move(moved, queued(useful, rounds))
        return has_more

    async def _go_on_with_a_round(self) -> bool:
        """Queues a part of the mails of a round. Returns whether there was one."""
        one = await self._changes.next_round()
        if one is None:
            return False
        readers = await self._changes.readers(one.event_id, one.after_number, ROUND_MAX)
        mails = [mail_decisions.of_event(one, booking) for booking in readers]
        after_number = readers[-1].number if len(readers) == ROUND_MAX else None
        await self._context.move([], went_on([mail for mail in mails if mail is not None], one, after_number))
        return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
