"""Sends the queue of mails, each lane over connections of its own.

One process at a time runs the outbox, so a mail is sent by one at a time. It stays in the queue until the server has
taken it, so a crash loses none; one that the server took just before a crash is sent once more, with the same
Message-ID. An attempt is counted before it begins, so that no mail is sent for ever.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from email.message import EmailMessage
from typing import Any

import structlog

from booking.domain.mails import Lane, Mail
from booking.ledger.errors import LedgerError
from booking.ledger.mails import MailQueue, Reader
from booking.logs import ThrottledLogger
from booking.metrics import Metrics
from booking.outbox.messages import Messages
from booking.outbox.smtp import Deferred, MailConnection, MailServer, Refused, ServerAway

CONNECTIONS = {Lane.ACCOUNTS: 1, Lane.OFFERS: 4, Lane.CANCELLATIONS: 1, Lane.EVENTS: 2}
"""Connections of each lane, at most. A provider often allows ten of one sender."""

WAITS_SECONDS = (15, 60, 300, 900, 1_800, 3_600, 7_200, 14_400, 14_400, 14_400, 14_400)
"""The pauses after the attempts at one mail. After one attempt more, it is given up: within a day."""

AWAY_SECONDS_MAX = 60.0
"""The longest pause of a lane while the server cannot be used. The first is a second, and each is twice the last."""

LOOK_SECONDS = 0.5
"""Between two looks for mails, if there were none."""

IDLE_SECONDS_MAX = 5.0
"""How long a connection stays open without a mail."""

STOP_SECONDS_MAX = 3.0
"""How long a stop waits for mails that are being sent. One that is cut off is sent again later."""

BATCH = 50
"""Mails of a lane that are read at a time."""

SENT = "booking_mails_total"
"""The metric: mails by kind and outcome."""

log = structlog.get_logger()
_AWAY = ThrottledLogger("mails cannot be sent now")
_NO_DATABASE = ThrottledLogger("the queue of mails cannot be used now")


class Mailer:
    """Runs all lanes."""

    def __init__(
        self,
        queue: MailQueue,
        server: MailServer,
        messages: Messages,
        metrics: Metrics,
        has_lease: Callable[[], bool] = lambda: True,
    ) -> None:
        """Nothing is sent while `has_lease` returns False."""
        self._queue = queue
        self._server = server
        self._messages = messages
        self._metrics = metrics
        self._has_lease = has_lease

    async def run(self, stop: asyncio.Event) -> None:
        """Sends mails until `stop` is set, and then until what is under way is done, for some seconds."""
        async with asyncio.TaskGroup() as group:
            for lane in Lane:
                group.create_task(self._run_lane(lane, stop))

    async def _run_lane(self, lane: Lane, stop: asyncio.Event) -> None:
        """Reads the lane's mails, and gives each to the next connection that is free."""
        under_way: set[int] = set()
        waiting: asyncio.Queue[Mail] = asyncio.Queue(maxsize=1)
        connections = [
            asyncio.create_task(self._run_connection(waiting, under_way, stop)) for _ in range(CONNECTIONS[lane])
        ]
        reading = asyncio.create_task(self._read(lane, waiting, under_way))
        stopped: asyncio.Task[Any] = asyncio.create_task(stop.wait())
        tasks = (reading, *connections)
        try:
            await asyncio.wait((stopped, *tasks), return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            reading.cancel()
            await asyncio.wait(connections, timeout=STOP_SECONDS_MAX)
        finally:
            for task in (stopped, *tasks):
                task.cancel()
            await asyncio.gather(stopped, *tasks, return_exceptions=True)

    async def _read(self, lane: Lane, waiting: "asyncio.Queue[Mail]", under_way: set[int]) -> None:
        while True:
            mails: Sequence[Mail] = ()
            try:
                mails = await self._queue.due(lane, _now_ms(), BATCH, under_way)
            except LedgerError as error:
                _NO_DATABASE.error(reason=str(error))
            for mail in mails:
                under_way.add(mail.id)
                await waiting.put(mail)
            if not mails:
                await asyncio.sleep(LOOK_SECONDS)

    async def _run_connection(self, waiting: "asyncio.Queue[Mail]", under_way: set[int], stop: asyncio.Event) -> None:
        """Sends the mails that it gets, over a connection that it opens for them."""
        pause_seconds = 1.0
        mail: Mail | None = None
        while True:
            mail = await _next(waiting, stop, None) if mail is None else mail
            if mail is None:
                return
            try:
                async with self._server.connected() as connection:
                    while mail is not None and connection.is_usable:
                        await self._attempt(mail, connection)
                        under_way.discard(mail.id)
                        pause_seconds = 1.0
                        mail = await _next(waiting, stop, IDLE_SECONDS_MAX)
            except ServerAway as error:
                _AWAY.error(reason=str(error))
                self._metrics.count("booking_mail_server_failures_total")
                if stop.is_set():
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_seconds):
                        await stop.wait()
                pause_seconds = min(AWAY_SECONDS_MAX, 2 * pause_seconds)

    async def _attempt(self, mail: Mail, connection: MailConnection) -> None:
        """Makes one attempt at a mail. Raises ServerAway."""
        if not self._has_lease():
            await asyncio.sleep(LOOK_SECONDS)
            return
        try:
            reader = await self._queue.reader(mail)
            message = self._message(mail, reader)
            if message is None or reader is None:
                await self._end(mail, "expired" if mail.expires_at_ms <= _now_ms() else "of_no_use")
                return
            if not await self._queue.begin(mail):
                return
        except LedgerError as error:
            _NO_DATABASE.error(reason=str(error))
            await asyncio.sleep(LOOK_SECONDS)
            return
        try:
            await connection.send(message, reader.email)
        except ServerAway:
            await self._until_done(lambda: self._queue.give_back(mail))
            raise
        except Refused as error:
            await self._end(mail, "refused", reader, str(error))
        except Deferred as error:
            if mail.attempts < len(WAITS_SECONDS):
                self._count(mail, "deferred")
                due_at_ms = _now_ms() + WAITS_SECONDS[mail.attempts] * 1_000
                await self._until_done(lambda: self._queue.put_off(mail, due_at_ms))
            else:
                await self._end(mail, "given_up", reader, str(error))
        else:
            await self._end(mail, "sent")

    def _message(self, mail: Mail, reader: Reader | None) -> EmailMessage | None:
        """The message; None if it is of no use. A mail that cannot be written is none either, and is logged."""
        if reader is None or mail.expires_at_ms <= _now_ms():
            return None
        try:
            return self._messages.of(mail, reader)
        except Exception:  # the other mails have to be sent
            log.exception("a mail cannot be written", kind=mail.kind, mail=mail.name)
            return None

    async def _end(self, mail: Mail, outcome: str, reader: Reader | None = None, reason: str = "") -> None:
        """Takes a mail out of the queue. A failure is logged, with the reader's account and the address's domain."""
        self._count(mail, outcome)
        if reader is not None:
            domain = reader.email.rpartition("@")[2]
            log.warning(
                "a mail cannot be delivered",
                kind=mail.kind,
                user=reader.user_id,
                domain=domain,
                outcome=outcome,
                reason=reason,
            )
        await self._until_done(lambda: self._queue.remove(mail))

    async def _until_done(self, change: Callable[[], Awaitable[None]]) -> None:
        """Changes the queue, again and again while the database is away: else a mail would be sent twice."""
        while True:
            try:
                return await change()
            except LedgerError as error:
                _NO_DATABASE.error(reason=str(error))
                await asyncio.sleep(LOOK_SECONDS)

    def _count(self, mail: Mail, outcome: str) -> None:
        self._metrics.count(SENT, f'kind="{mail.kind}",outcome="{outcome}"')


async def _next(waiting: "asyncio.Queue[Mail]", stop: asyncio.Event, seconds: float | None) -> Mail | None:
    """The next mail; None after `seconds` without one (None: no limit), and at the stop."""
    if stop.is_set():
        return None
    getting, stopped = asyncio.ensure_future(waiting.get()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((getting, stopped), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return getting.result() if getting.done() else None
    finally:
        getting.cancel()
        stopped.cancel()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
