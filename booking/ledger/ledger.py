"""The ledger: the one way into the database for every other part."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from booking.domain.accounts import Account
from booking.domain.changes import Change, ShardBatch
from booking.domain.model import Booking, BookingStatus, Rules
from booking.ledger import accounts, reads, shards, writer
from booking.ledger.engine import open_engine
from booking.ledger.errors import LedgerError, LedgerUnavailable
from booking.ledger.failures import DuplicateRow, translated_errors
from booking.ledger.fold import fold
from booking.ledger.records import Count, EventRecord, SeqGap, ShardRecord

PING_SECONDS_MAX = 1.0
"""How long `ping` waits before it calls the database unavailable."""

LIVE_SPAN = 2_000
"""Booking numbers that `live_bookings` reads at a time, and so the most that it holds in memory."""


class Ledger:
    """A pool of connections to one database. Every method raises LedgerUnavailable when the database can't be used."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writing_engine = engine.execution_options(writing=True)
        self._pings: set[asyncio.Task[None]] = set()

    @classmethod
    def open(cls, address: str) -> Self:
        """Takes a SQLAlchemy URL (`Settings.database_address`) and connects when first used.

        Raises ValueError for an address that is neither PostgreSQL's nor a SQLite file's.
        """
        return cls(open_engine(address))

    async def close(self) -> None:
        """Closes every connection. To be called once, when nothing uses the ledger any more."""
        for ping in self._pings:
            ping.cancel()
        await asyncio.gather(*self._pings, return_exceptions=True)
        await self._engine.dispose()

    async def ping(self) -> None:
        """Asks the database for a sign of life. Raises LedgerUnavailable within a second if there is none."""
        ping = asyncio.create_task(self._ping())
        self._pings.add(ping)
        ping.add_done_callback(self._pings.discard)
        # Not wait_for: to cancel a call that hangs may take the driver longer than the caller has.
        done, _ = await asyncio.wait((ping,), timeout=PING_SECONDS_MAX)
        if not done:
            ping.cancel()
            raise LedgerUnavailable("the database did not answer in time")
        ping.result()

    async def _ping(self) -> None:
        async with self.reading() as connection:
            await connection.execute(text("SELECT 1 FROM shards LIMIT 1"))

    # The stream

    async def shards(self) -> dict[int, ShardRecord]:
        """Each shard with its epoch and cursor; empty before the service's first start."""
        async with self.reading() as connection:
            return await shards.read(connection)

    async def initialize_shards(self, epochs: Sequence[str]) -> dict[int, ShardRecord]:
        """Makes shard 0 to n-1 with these epochs if there are none yet, and answers what stands there then.

        Of several processes that start at once, one makes them and all get the same answer. A number of shards other
        than that of the epochs is for the caller to refuse.
        """
        standing = await self.shards()  # at every start but the first there is nothing to lock for
        if standing:
            return standing
        async with self._writing() as connection:
            return await shards.initialize_shards(connection, epochs)

    async def replace_shard(self, shard: int, seen: ShardRecord, new: ShardRecord) -> bool:
        """Gives a shard that is written into Redis anew another epoch, and its stream another beginning.

        False, and nothing is done, where it does not stand any more as it was `seen`: somebody else has been there.
        """
        async with self._writing() as connection:
            return await shards.replace_shard(connection, shard, seen, new)

    async def apply(self, batches: Sequence[ShardBatch]) -> int:
        """Applies the batches in one transaction, all of it or nothing, and answers how many changes they held.

        Raises CursorMoved where a shard does not stand at a batch's `after` in its epoch, and LedgerConflict where
        an event's `seq` would skip or repeat. LedgerUnavailable may come after the commit; the cursors tell.
        """
        # Folded before the transaction begins: meanwhile others get their turn at SQLite's single write lock.
        folded = fold(chain.from_iterable(batch.changes for batch in batches))
        try:
            async with self._writing() as connection:
                await writer.move_cursors(connection, batches)
                await writer.write(connection, folded)
        except DuplicateRow as error:
            async with self.reading() as connection:
                raise await writer.first_duplicate(connection, folded) or error from None
        return len(folded.changes)

    # Accounts

    async def add_account(self, email: str, email_key: str, password_hash: str, organizer: bool = False) -> Account:
        """Adds an account. Raises EmailTaken where one has this `email_key` (the email as it is compared)."""
        async with self._writing() as connection:
            return await accounts.add(connection, email, email_key, password_hash, organizer)

    async def find_account(self, email_key: str) -> Account | None:
        """The account with this `email_key`."""
        async with self.reading() as connection:
            return await accounts.find(connection, email_key)

    async def change_account(
        self, email_key: str, *, password_hash: str | None = None, organizer: bool | None = None
    ) -> Account | None:
        """Sets what is given, and answers the account as it is then; None where there is no such account."""
        async with self._writing() as connection:
            return await accounts.change(connection, email_key, password_hash, organizer)

    async def name_accounts(self, event_id: int) -> None:
        """Puts what an event has under the bare id of an account under the account's user id; may be done again."""
        async with self._writing() as connection:
            await accounts.name(connection, event_id)

    # Reads

    async def event(self, event_id: int) -> EventRecord | None:
        """One event with its rules."""
        async with self.reading() as connection:
            return await reads.event(connection, event_id)

    async def event_ids(self) -> list[int]:
        """Every event's id, in order."""
        async with self.reading() as connection:
            return await reads.event_ids(connection)

    async def last_event_id(self) -> int:
        """The highest event id, 0 where there is none."""
        async with self.reading() as connection:
            return await reads.last_event_id(connection)

    async def live_bookings(self, event_id: int) -> AsyncIterator[Booking]:
        """An event's waiting, held and confirmed bookings by number (so in join order), in constant memory.

        Read span by span, so no connection is held in between; what changes meanwhile may or may not be seen.
        """
        record = await self.event(event_id)
        for after in range(0, record.seq if record else 0, LIVE_SPAN):
            async with self.reading() as connection:
                span = await reads.live_span(connection, event_id, after, after + LIVE_SPAN)
            for booking in span:
                yield booking

    async def bookings_as_of(self, event_id: int, seq: int) -> AsyncIterator[list[Booking]]:
        """All bookings of an event as they were at its `seq`, by number, a span at a time and in constant memory.

        Read span by span, so no connection is held in between, and exact all the same. `seq` has to be one that the
        database has reached.
        """
        for after in range(0, seq, LIVE_SPAN):
            async with self.reading() as connection:
                span = await reads.span_as_of(connection, event_id, after, after + LIVE_SPAN, seq)
            if span:
                yield span

    async def counts_at(self, event_id: int, seq: int) -> dict[BookingStatus, Count]:
        """An event's bookings and their tickets by status at its `seq`; every status is there."""
        async with self.reading() as connection:
            as_of, counts = await reads.counts(connection, event_id)
        if as_of == seq:  # added up by the database, as long as it stands there
            return counts
        counted = {status: [0, 0] for status in BookingStatus}
        async for span in self.bookings_as_of(event_id, seq):
            for booking in span:
                count = counted[booking.status]
                count[0] += 1
                count[1] += booking.quantity
        return {status: Count(*count) for status, count in counted.items()}

    async def rules_as_of(self, event_id: int, seq: int) -> Rules:
        """An event's rules at its `seq`. Raises LedgerError where the database has no such event by then."""
        async with self.reading() as connection:
            rules = await reads.rules_as_of(connection, event_id, seq)
        if rules is None:
            raise LedgerError(f"event {event_id} has no rules at seq {seq}")
        return rules

    async def live_bookings_of(self, event_id: int, users: Sequence[str]) -> dict[str, Booking]:
        """The live bookings that these users (at most some thousands) have of an event, by user."""
        async with self.reading() as connection:
            return await reads.live_of(connection, event_id, list(users)) if users else {}

    async def inversions(self, event_id: int) -> list[Booking]:
        """Bookings that got their tickets after one that had joined the waiting list later; at most 1,000."""
        async with self.reading() as connection:
            return await reads.inversions(connection, event_id)

    async def users_with_several_bookings(self, event_id: int) -> list[str]:
        """Users with more than one live booking of an event; at most 1,000."""
        async with self.reading() as connection:
            return await reads.users_with_several(connection, event_id)

    async def counts(self, event_id: int) -> dict[BookingStatus, Count]:
        """An event's bookings and their tickets by status; every status is there."""
        async with self.reading() as connection:
            return (await reads.counts(connection, event_id))[1]

    async def seq_gaps(self, event_id: int) -> list[SeqGap]:
        """The changes of an event that are missing below its highest `seq`; at most 1,000 gaps."""
        async with self.reading() as connection:
            return await reads.seq_gaps(connection, event_id)

    async def changes(self, event_id: int, after_seq: int = 0, limit: int = 1_000) -> list[Change]:
        """An event's changes with a `seq` greater than `after_seq`, in order."""
        async with self.reading() as connection:
            return await reads.changes_page(connection, event_id, after_seq, limit)

    async def user_bookings(
        self, user_id: str, limit: int, starting_after: tuple[int, int] | None = None
    ) -> list[Booking] | None:
        """A user's bookings over all events, newest first.

        `starting_after` is the event id and number of a booking of theirs; None is answered where it isn't one.
        """
        async with self.reading() as connection:
            return await reads.user_page(connection, user_id, limit, starting_after)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection from the pool for a query of one's own, whose errors are the ledger's."""
        with translated_errors():
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        with translated_errors():
            async with self._writing_engine.begin() as connection:
                yield connection
