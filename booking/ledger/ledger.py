"""The ledger: the only access to the database for all other packages."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain
from typing import Any, Self, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from booking.domain.accounts import Account, Role
from booking.domain.callers import account_id_of
from booking.domain.changes import Change, ShardBatch
from booking.domain.model import PAYMENTS_MAX, Booking, BookingStatus, Payment, Rules
from booking.ledger import accounts, engine, payments, reads, resets, service, shards, writer
from booking.ledger.engine import CONNECTIONS_MAX, open_engine
from booking.ledger.errors import LedgerError, LedgerUnavailable
from booking.ledger.failures import DuplicateRow, translated_errors
from booking.ledger.fold import fold
from booking.ledger.records import AccountEmail, Count, EventRecord, SeqGap, ShardRecord

T = TypeVar("T")

PING_SECONDS_MAX = 1.0
"""How long `ping` waits before it raises LedgerUnavailable."""

LIVE_SPAN = 2_000
"""Booking numbers that one query reads, and so the most bookings in memory."""


class Ledger:
    """A pool of connections to one database. Every method raises LedgerUnavailable if the database can't be used.

    Lists, reports and audits take all connections but one. It stays free for what others wait for and what is short:
    cursors, accounts, changes.
    """

    def __init__(self, async_engine: AsyncEngine, connections: int) -> None:
        self._engine = async_engine
        self._writing_engine = async_engine.execution_options(writing=True)
        self._readings = asyncio.Semaphore(max(1, connections - 1))
        self._bounded: set[asyncio.Task[Any]] = set()

    @classmethod
    def open(cls, address: str, connections: int = CONNECTIONS_MAX) -> Self:
        """Takes a SQLAlchemy URL (`Settings.database_address`); opens up to `connections` when they are first used.

        Raises ValueError if the address is neither of PostgreSQL nor of a SQLite file.
        """
        return cls(open_engine(address, connections=connections), connections)

    async def close(self) -> None:
        """Closes every connection. To be called once, after the last use of the ledger."""
        for question in self._bounded:
            question.cancel()
        await asyncio.gather(*self._bounded, return_exceptions=True)
        await self._engine.dispose()

    async def ping(self) -> None:
        """Checks that the database answers. Raises LedgerUnavailable within a second if it does not."""
        await self._within(PING_SECONDS_MAX, self._ping())

    async def _within(self, seconds: float, question: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(question)
        self._bounded.add(task)
        task.add_done_callback(self._bounded.discard)
        # Not wait_for: the driver may take longer to cancel a hanging call than the caller can wait.
        done, _ = await asyncio.wait((task,), timeout=seconds)
        if not done:
            task.cancel()
            raise LedgerUnavailable("the database did not answer in time")
        return task.result()

    async def _ping(self) -> None:
        async with self._connected() as connection:
            await connection.execute(text("SELECT 1 FROM shards LIMIT 1"))

    # The stream

    async def shards(self, seconds_max: float | None = None) -> dict[int, ShardRecord]:
        """Each shard with its epoch and cursor; empty before the service's first start.

        Raises LedgerUnavailable if the answer takes longer than `seconds_max` (None: no limit).
        """
        if seconds_max is not None:
            return await self._within(seconds_max, self.shards())
        async with self._connected() as connection:
            return await shards.read(connection)

    async def initialize_shards(self, epochs: Sequence[str]) -> dict[int, ShardRecord]:
        """Creates shards 0 to n-1 with these epochs if there are none yet, and returns all shards.

        If several processes start at the same time, one creates them and all get the same result. The caller has to
        check their number, which may differ from the number of epochs.
        """
        existing = await self.shards()  # only the first start needs a lock
        if existing:
            return existing
        async with self._writing() as connection:
            return await shards.initialize_shards(connection, epochs)

    async def replace_shard(self, shard: int, seen: ShardRecord, new: ShardRecord) -> bool:
        """Gives a shard that is restored a new epoch and cursor.

        Returns False and changes nothing if the shard is not as `seen` any more: another process has changed it.
        """
        async with self._writing() as connection:
            return await shards.replace_shard(connection, shard, seen, new)

    async def replace_shards(
        self, replaced: Mapping[int, tuple[ShardRecord, ShardRecord]], seconds_max: float | None = None
    ) -> None:
        """Does `replace_shard` for several: each has what it is seen as, and what it becomes.

        Raises LedgerUnavailable if it takes longer than `seconds_max` (None: no limit); it may be done all the same.
        """
        if seconds_max is not None:
            await self._within(seconds_max, self.replace_shards(replaced))
            return
        async with self._writing() as connection:
            for shard, (seen, new) in sorted(replaced.items()):
                await shards.replace_shard(connection, shard, seen, new)

    async def apply(self, batches: Sequence[ShardBatch]) -> int:
        """Applies the batches in one transaction, all or none, and returns the number of changes.

        Raises CursorMoved if a shard is not at the batch's `after` in its epoch, and LedgerConflict if an event's `seq`
        would skip or repeat. LedgerUnavailable may come after the commit; the cursors show whether it happened.
        """
        # Folded before the transaction, so that SQLite's single write lock is held for a shorter time.
        folded = fold(chain.from_iterable(batch.changes for batch in batches))
        try:
            async with self._writing() as connection:
                await writer.move_cursors(connection, batches)
                await writer.write(connection, folded)
        except DuplicateRow as error:
            async with self.reading() as connection:
                raise await writer.first_duplicate(connection, folded) or error from None
        return len(folded.changes)

    async def skip_numbers(self, event_id: int, count: int) -> None:
        """Raises an event's `seq` by `count`, so that no booking gets a number that was told to another user."""
        async with self._writing() as connection:
            await shards.skip_numbers(connection, event_id, count)

    # What all nodes have to agree on

    async def signing_secret(self) -> str | None:
        """The fingerprint of the secret that signs tokens; None if no node has started yet."""
        async with self.reading() as connection:
            return await service.read(connection, service.FINGERPRINT)

    async def agree_on_signing_secret(self, fingerprint: str) -> str:
        """The fingerprint of the secret that signs tokens. The first caller decides on its own."""
        agreed = await self.signing_secret()
        if agreed is None:
            with suppress(DuplicateRow):  # another node has decided at the same time
                async with self._writing() as connection:
                    await service.add(connection, service.FINGERPRINT, fingerprint)
            agreed = await self.signing_secret()
        return agreed or fingerprint

    async def replace_signing_secret(self, fingerprint: str) -> None:
        """Replaces the fingerprint of the secret that signs tokens."""
        async with self._writing() as connection:
            await service.replace(connection, service.FINGERPRINT, fingerprint)

    # Accounts

    async def add_account(self, email: str, email_key: str, password_hash: str, role: Role = Role.USER) -> Account:
        """Adds an account. Raises EmailTaken if an account has this `email_key` (the email in its compared form)."""
        async with self._writing() as connection:
            return await accounts.add(connection, email, email_key, password_hash, role)

    async def find_account(self, email_key: str) -> Account | None:
        """The account with this `email_key`; None if there is none."""
        async with self._connected() as connection:
            return await accounts.find(connection, email_key)

    async def find_account_by_id(self, account_id: int) -> Account | None:
        """The account with this id; None if there is none, or if it was removed."""
        async with self._connected() as connection:
            return await accounts.find_by_id(connection, account_id)

    async def has_organizer(self) -> bool:
        """Whether any account is an organizer's or an administrator's."""
        async with self._connected() as connection:
            return await accounts.has_organizer(connection)

    async def emails_of(self, user_ids: Iterable[str]) -> dict[str, AccountEmail]:
        """By user id: the email of each of these users (a few thousand at most) who has an account here."""
        account_ids = [account_id for user_id in user_ids if (account_id := account_id_of(user_id)) is not None]
        if not account_ids:
            return {}
        async with self.reading() as connection:
            return await accounts.emails(connection, account_ids)

    async def accounts(self) -> AsyncIterator[Account]:
        """Every account by id, in pages."""
        after_id = 0
        while True:
            async with self.reading() as connection:
                page = await accounts.page(connection, after_id, LIVE_SPAN)
            if not page:
                return
            for account in page:
                yield account
            after_id = page[-1].id

    async def change_account(
        self,
        email_key: str,
        *,
        password_hash: str | None = None,
        role: Role | None = None,
        old_hash: str | None = None,
    ) -> Account | None:
        """Sets the given values, and returns the account; None if there is no such account.

        With `old_hash`, returns None if the account has another hash by now. A new password, and a role that may do
        less, end all tokens of the account.
        """
        async with self._writing() as connection:
            return await accounts.change(connection, email_key, password_hash, role, old_hash)

    async def remove_account(self, email_key: str) -> Account | None:
        """Erases an account's email and password, and ends its tokens. Returns it as it was; None if there is none."""
        async with self._writing() as connection:
            return await accounts.remove(connection, email_key)

    async def request_reset(self, email_key: str, token_hash: str, nonce: str) -> None:
        """Writes a request for a new password and its mail, and ends earlier requests for this email.

        Does the same whether or not an account has the email, and nothing after some requests within an hour.
        """
        async with self._writing() as connection:
            await resets.request(connection, email_key, token_hash, nonce)

    async def is_valid_reset(self, token_hash: str) -> bool:
        """Whether the reset token with this hash may set a password now."""
        async with self._connected() as connection:
            return await resets.is_valid(connection, token_hash)

    async def reset_password(self, token_hash: str, password_hash: str) -> Account | None:
        """Sets the password of the account of a reset token, and ends all of its tokens, this one included.

        Returns None if the token is not valid, or if no account has its email.
        """
        async with self._writing() as connection:
            return await resets.use(connection, token_hash, password_hash)

    async def tokens_from(self, account_id: int) -> int:
        """Tokens of this account with an earlier `iat` (seconds since 1970) are not valid; 0 if there is none."""
        async with self._connected() as connection:
            return await accounts.tokens_from(connection, account_id)

    async def tokens_ended(self, since: int) -> dict[str, int]:
        """By user id: since when tokens are valid, of the accounts whose tokens were ended after `since` (seconds)."""
        async with self._connected() as connection:
            return await accounts.tokens_ended(connection, since)

    async def name_accounts(self, event_id: int) -> None:
        """Renames an event's bookings and changes from an account's bare id to its user id. May be repeated."""
        async with self._writing() as connection:
            await accounts.name(connection, event_id)

    # Reads

    async def event(self, event_id: int) -> EventRecord | None:
        """One event with its rules; None if there is no such event."""
        async with self.reading() as connection:
            return await reads.event(connection, event_id)

    async def seqs(self, event_ids: Collection[int]) -> dict[int, int]:
        """The `seq` of each of these events (a few thousand at most) that exists."""
        async with self._connected() as connection:
            return await reads.seqs(connection, event_ids)

    async def event_ids(self) -> list[int]:
        """Every event's id, in order."""
        async with self.reading() as connection:
            return await reads.event_ids(connection)

    async def last_event_id(self) -> int:
        """The highest event id; 0 if there is none."""
        async with self.reading() as connection:
            return await reads.last_event_id(connection)

    async def live_bookings(self, event_id: int) -> AsyncIterator[Booking]:
        """An event's waiting, held and confirmed bookings by number, which is join order, in constant memory.

        Each page is a query of its own, and no connection is held in between. Changes made meanwhile may be seen.
        """
        record = await self.event(event_id)
        after: int | None = 0
        while after is not None and after < (record.seq if record else 0):
            async with self.reading() as connection:
                span = await reads.live_span(connection, event_id, after, after + LIVE_SPAN)
                after = await _next_span(connection, event_id, after + LIVE_SPAN, span)
            for booking in span:
                yield booking

    async def bookings_as_of(self, event_id: int, seq: int, span: int = LIVE_SPAN) -> AsyncIterator[list[Booking]]:
        """All bookings of an event as they were at its `seq`, by number, in pages and in constant memory.

        A page covers `span` numbers, so it has at most as many bookings. Each page is a query of its own, and no
        connection is held in between; the result is exact all the same. The database has to have reached `seq`.
        """
        after: int | None = 0
        while after is not None and after < seq:
            async with self.reading() as connection:
                page = await reads.span_as_of(connection, event_id, after, after + span, seq)
                after = await _next_span(connection, event_id, after + span, page)
            if page:
                yield page

    async def payments(self, event_id: int) -> AsyncIterator[dict[str, list[Payment]]]:
        """The last payments of each user of an event, up to PAYMENTS_MAX, in the order in which they were begun.

        In pages, like `live_bookings`; each user is in one of them.
        """
        after, mine, is_last = ("", 0), list[Payment](), False
        while not is_last:
            async with self.reading() as connection:
                page = await payments.page(connection, event_id, after, LIVE_SPAN)
            whole, is_last = dict[str, list[Payment]](), len(page) < LIVE_SPAN
            for seq, payment in page:
                if mine and mine[-1].user_id != payment.user_id:
                    whole[mine[-1].user_id], mine = mine[-PAYMENTS_MAX:], []
                mine.append(payment)
                after = payment.user_id, seq
            if is_last and mine:
                whole[mine[-1].user_id] = mine[-PAYMENTS_MAX:]
            if whole:
                yield whole

    async def payments_of(self, event_id: int, users: Sequence[str]) -> dict[str, list[Payment]]:
        """The last payments of each of these users (a few thousand at most) of an event, as `payments` has them."""
        found = dict[str, list[Payment]]()
        async with self.reading() as connection:
            for payment in await payments.of_users(connection, event_id, users) if users else ():
                found.setdefault(payment.user_id, []).append(payment)
        return {user: mine[-PAYMENTS_MAX:] for user, mine in found.items()}

    async def counts_at(self, event_id: int, seq: int) -> dict[BookingStatus, Count]:
        """The numbers of an event's bookings and of their tickets at its `seq`, for every status."""
        async with self.reading() as connection:
            as_of, counts = await reads.counts(connection, event_id)
        if as_of == seq:  # the database's sums are for this `seq`
            return counts
        counted = {status: [0, 0] for status in BookingStatus}
        async for span in self.bookings_as_of(event_id, seq):
            for booking in span:
                count = counted[booking.status]
                count[0] += 1
                count[1] += booking.quantity
        return {status: Count(*count) for status, count in counted.items()}

    async def rules_as_of(self, event_id: int, seq: int) -> Rules:
        """An event's rules at its `seq`. Raises LedgerError if the event did not exist at that `seq`."""
        async with self.reading() as connection:
            rules = await reads.rules_as_of(connection, event_id, seq)
        if rules is None:
            raise LedgerError(f"event {event_id} has no rules at seq {seq}")
        return rules

    async def live_bookings_of(self, event_id: int, users: Sequence[str]) -> dict[str, Booking]:
        """The live bookings of these users (a few thousand at most) for an event, by user."""
        async with self.reading() as connection:
            return await reads.live_of(connection, event_id, list(users)) if users else {}

    async def inversions(self, event_id: int) -> list[Booking]:
        """Bookings that were promoted after one that had joined the waiting list later; at most 1,000."""
        async with self.reading() as connection:
            return await reads.inversions(connection, event_id)

    async def users_with_several_bookings(self, event_id: int) -> list[str]:
        """Users with more than one live booking of an event; at most 1,000."""
        async with self.reading() as connection:
            return await reads.users_with_several(connection, event_id)

    async def counts(self, event_id: int) -> dict[BookingStatus, Count]:
        """The numbers of an event's bookings and of their tickets, for every status."""
        async with self.reading() as connection:
            return (await reads.counts(connection, event_id))[1]

    async def seq_and_counts(self, event_id: int) -> tuple[int, dict[BookingStatus, Count]]:
        """An event's `seq` (0 if it has no bookings here), and the numbers of bookings and tickets at that `seq`."""
        async with self.reading() as connection:
            return await reads.counts(connection, event_id)

    async def seq_gaps(self, event_id: int) -> list[SeqGap]:
        """The gaps in an event's changes below its highest `seq`; at most 1,000."""
        async with self.reading() as connection:
            return await reads.seq_gaps(connection, event_id)

    async def changes(self, event_id: int, after_seq: int = 0, limit: int = 1_000) -> list[Change]:
        """An event's changes with a `seq` greater than `after_seq`, in order."""
        async with self.reading() as connection:
            return await reads.changes_page(connection, event_id, after_seq, limit)

    async def user_bookings(
        self, user_id: str, limit: int, starting_after: tuple[int, int] | None = None
    ) -> list[Booking] | None:
        """A user's bookings of all events, newest first.

        `starting_after` is the event id and number of one of their bookings. Returns None if it is not.
        """
        async with self.reading() as connection:
            return await reads.user_page(connection, user_id, limit, starting_after)

    async def live_events(self, user_id: str) -> list[int]:
        """The events that a user has a live booking of, by id."""
        async with self.reading() as connection:
            return await reads.live_events(connection, user_id)

    async def live_events_of(self, user_ids: Sequence[str], limit: int) -> dict[str, list[int]]:
        """The events that each of these users has a live booking of, the newest ids first, up to `limit` a user."""
        async with self.reading() as connection:
            return await reads.live_events_of(connection, user_ids, limit)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection from the pool, for the caller's own queries. Their errors are raised as the ledger's errors."""
        try:
            async with asyncio.timeout(engine.POOL_WAIT_SECONDS):
                await self._readings.acquire()
        except TimeoutError:
            raise LedgerUnavailable("every connection for reports is in use") from None
        try:
            async with self._connected() as connection:
                yield connection
        finally:
            self._readings.release()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that writes, for another module of this package."""
        async with self._writing() as connection:
            yield connection

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        with translated_errors():
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        with translated_errors():
            async with self._writing_engine.begin() as connection:
                yield connection


async def _next_span(connection: AsyncConnection, event_id: int, upto: int, page: Sequence[Booking]) -> int | None:
    """After which number the next page begins. An empty page may be the first of many, after skipped numbers."""
    if page:
        return upto
    number = await reads.next_number(connection, event_id, upto)
    return None if number is None else number - 1
