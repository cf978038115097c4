"""Compares one event in Redis with the same event in SQL, in constant memory. The event may be selling meanwhile."""

from collections import Counter
from collections.abc import Callable, Sequence

from booking.domain.epochs import follows
from booking.domain.model import Booking, BookingStatus
from booking.inventory import keys
from booking.inventory.reader import InventoryReader, StoredEvent
from booking.inventory.records import is_confirmed, read_record
from booking.ledger.ledger import Ledger
from booking.operations.audit.catch_up import READS_MAX, USERS_MAX, CatchUp, seq_of
from booking.operations.audit.counters import compare_counters, compare_details, compare_rules
from booking.operations.audit.findings import EventAudit, booking_as_json
from booking.operations.audit.payments import compare_payments

Progress = Callable[[int], None]
"""A function that is called with the number of bookings compared since the last call."""


async def audit_event(
    reader: InventoryReader,
    ledger: Ledger,
    event_id: int,
    progress: Progress = lambda _: None,
    catch_up: CatchUp | None = None,
) -> EventAudit:
    """Compares everything that Redis and SQL store of an event. Raises InventoryUnavailable, LedgerUnavailable.

    Nothing is locked. A booking that differs is read again: from Redis, from SQL after it has caught up, and from Redis
    once more. If both records in Redis are equal and SQL's booking was not made meanwhile, the difference is real. Give
    one `catch_up` to all events of an audit: if no persister runs, the audit then does not wait for it at each event.
    """
    return await _Comparison(reader, ledger, event_id, progress, catch_up or CatchUp(ledger)).run()


class _Comparison:
    def __init__(
        self, reader: InventoryReader, ledger: Ledger, event_id: int, progress: Progress, catch_up: CatchUp
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._event_id = event_id
        self._progress = progress
        self._catch_up = catch_up
        self._audit = EventAudit(event_id)
        self._suspects: dict[str, None] = {}
        self._unreadable: set[str] = set()

    async def run(self) -> EventAudit:
        audit = self._audit
        shards = await self._ledger.shards()
        shard = keys.shard_of(self._event_id, max(1, len(shards)))
        epoch = await self._reader.epoch(shard)
        if shard in shards and epoch != shards[shard].epoch and not follows(epoch or "", shards[shard].epoch):
            audit.find("shard_lost", redis=epoch, database=shards[shard].epoch)
            return audit
        found = await self._reader.stored_event(self._event_id)
        stored = found.numbers if found else None
        record = await self._catch_up.wait_for(self._event_id, stored["seq"] if stored else 0)
        audit.seq_redis = stored["seq"] if stored else None
        audit.seq_database = record.seq if record else None
        if found is None or stored is None or record is None:
            if stored or record:
                audit.find("event_missing", redis=audit.seq_redis, database=audit.seq_database)
            return audit
        if record.seq < stored["seq"]:
            audit.find("seq", redis=stored["seq"], database=record.seq)
            return audit
        await self._compare_counters(found)
        if found.organizer_id != record.organizer_id:
            audit.find("organizer", redis=found.organizer_id, database=record.organizer_id)
        await self._check_history()
        await self._compare_bookings()
        await compare_payments(self._reader, self._ledger, audit, self._catch_up)
        return audit

    async def _compare_counters(self, found: StoredEvent) -> None:
        stored, seq = found.numbers, found.numbers["seq"]
        counts = await self._ledger.counts_at(self._event_id, seq)
        rules = await self._ledger.rules_as_of(self._event_id, seq)
        compare_counters(self._audit, stored, counts, rules)
        compare_rules(self._audit, stored, rules)
        compare_details(self._audit, found, rules.details)

    async def _check_history(self) -> None:
        """Checks SQL alone: no change is missing, no user was overtaken, no user has two live bookings."""
        for gap in await self._ledger.seq_gaps(self._event_id):
            self._audit.find("seq_gap", database=f"{gap.first} to {gap.last}")
        for inversion in await self._ledger.inversions(self._event_id):
            self._audit.find("inversion", inversion.user_id, database=f"{self._event_id}-{inversion.number}")
        for user in await self._ledger.users_with_several_bookings(self._event_id):
            self._audit.find("two_bookings", user)

    async def _compare_bookings(self) -> None:
        """Compares SQL's live bookings with Redis, and then Redis's with SQL if they may differ.

        The second comparison is not needed if the event did not change, each booking of SQL was found in Redis, and
        both have the same number of bookings of each status.
        """
        before = await self._seq()
        matched = await self._compare_all_with_redis()
        counted = await self._count_redis()
        if self._suspects or counted != matched or await self._seq() != before:
            async for records in self._reader.records(self._event_id):
                await self._compare_with_sql(records)
        await self._read_suspects_again()
        await self._check_sizes(before, counted)

    async def _seq(self) -> int | None:
        return (await self._reader.event(self._event_id) or {}).get("seq")

    async def _compare_all_with_redis(self) -> Counter[BookingStatus]:
        """Counts SQL's live bookings by status; users whose booking is different in Redis become suspects."""
        found: Counter[BookingStatus] = Counter()
        page: list[Booking] = []
        async for booking in self._ledger.live_bookings(self._event_id):
            page.append(booking)
            if len(page) == USERS_MAX:
                await self._compare_with_redis(page)
                found.update(one.status for one in page)
                page = []
        await self._compare_with_redis(page)
        found.update(one.status for one in page)
        return found

    async def _compare_with_redis(self, page: Sequence[Booking]) -> None:
        users = [booking.user_id for booking in page]
        for booking, text in zip(page, await self._reader.records_of(self._event_id, users), strict=True):
            if booking != self._read(booking.user_id, text):
                self._suspects[booking.user_id] = None
        self._audit.bookings += len(page)
        self._progress(len(page))

    async def _count_redis(self) -> Counter[BookingStatus]:
        """Counts Redis's live bookings by status; users whose entry on a list does not match become suspects."""
        found: Counter[BookingStatus] = Counter()
        async for records in self._reader.records(self._event_id):
            # Most bookings are confirmed. To count them is enough: SQL's bookings have been found in Redis.
            others = {user: self._read(user, text) for user, text in records.items() if not is_confirmed(text)}
            found[BookingStatus.CONFIRMED] += len(records) - len(others)
            live = [booking for booking in others.values() if booking is not None]
            found.update(one.status for one in live)
            await self._compare_with_lists(live)
        return +found

    async def _compare_with_lists(self, live: Sequence[Booking]) -> None:
        waiting = [one for one in live if one.status is BookingStatus.WAITING]
        holding = [one for one in live if one.status is BookingStatus.HELD]
        places, ends = await self._reader.places(
            self._event_id, [one.user_id for one in waiting], [one.user_id for one in holding]
        )
        different = [one for one, place in zip(waiting, places, strict=True) if place != one.number]
        different += [one for one, end in zip(holding, ends, strict=True) if end != one.expires_at_ms]
        self._suspects |= dict.fromkeys(one.user_id for one in different)

    async def _compare_with_sql(self, records: dict[str, bytes]) -> None:
        found = {user: self._read(user, text) for user, text in records.items()}
        live = {user: booking for user, booking in found.items() if booking is not None}
        there = await self._ledger.live_bookings_of(self._event_id, list(live))
        self._suspects |= dict.fromkeys(user for user, booking in live.items() if there.get(user) != booking)
        self._progress(len(records))

    def _read(self, user: str, text: bytes | None) -> Booking | None:
        """The live booking of a record; a record that cannot be parsed is noted as a difference."""
        if text is None:
            return None
        try:
            booking = read_record(self._event_id, user, text)
        except (KeyError, ValueError):
            if user not in self._unreadable:
                self._unreadable.add(user)
                self._audit.find("unreadable", user, redis=text.decode(errors="replace"))
            return None
        return None if booking.status is BookingStatus.EXPIRED else booking

    async def _read_suspects_again(self) -> None:
        """Reads the bookings of all suspects again, because they may have been changing.

        Many at a time, because each read waits for the persister.
        """
        unsettled = list(self._suspects)
        for _ in range(READS_MAX):
            pages = [unsettled[start : start + USERS_MAX] for start in range(0, len(unsettled), USERS_MAX)]
            unsettled = [user for page in pages for user in await self._read_again(page)]
        self._audit.unsettled += len(unsettled)

    async def _read_again(self, users: Sequence[str]) -> list[str]:
        """Notes the differences of the users whose booking did not change meanwhile, and returns the other users."""
        begun = await self._seq() or 0
        before = await self._reader.records_of(self._event_id, users)
        stored = await self._reader.event(self._event_id) or {"seq": 0}
        record = await self._catch_up.wait_for(self._event_id, stored["seq"])
        if seq_of(record) < stored["seq"]:
            return list(users)  # SQL has not caught up, so nothing can be compared yet
        in_sql = await self._ledger.live_bookings_of(self._event_id, users)
        in_redis = {user: self._read(user, text) for user, text in zip(users, before, strict=True)}
        waits, holds = (
            [one for one in in_redis.values() if one is not None and one.status is status]
            for status in (BookingStatus.WAITING, BookingStatus.HELD)
        )
        places, ends = await self._reader.places(
            self._event_id, [one.user_id for one in waits], [one.user_id for one in holds]
        )
        after = await self._reader.records_of(self._event_id, users)
        ended = await self._seq() or 0
        # Nothing in Redis, twice: a booking that SQL has may have been made and cancelled in between.
        between = {user for user, booking in in_sql.items() if begun < booking.number <= ended}
        settled = {user for user, was, text in zip(users, before, after, strict=True) if was == text} - between
        for user in (user for user in users if user in settled):
            if in_sql.get(user) != in_redis[user]:
                self._audit.find("booking", user, booking_as_json(in_redis[user]), booking_as_json(in_sql.get(user)))
        for one, place in zip(waits, places, strict=True):
            if one.user_id in settled and place != one.number:
                self._audit.find("place", one.user_id, place, one.number)
        for one, end in zip(holds, ends, strict=True):
            if one.user_id in settled and end != one.expires_at_ms:
                self._audit.find("hold", one.user_id, end, one.expires_at_ms)
        return [user for user in users if user not in settled]

    async def _check_sizes(self, before: int | None, counted: Counter[BookingStatus]) -> None:
        """Notes a list that has more users than bookings; only if the event did not change while it was counted."""
        waits, holds, due_ms = await self._reader.sizes(self._event_id)
        if await self._seq() != before:
            return
        listed = {"waiting": waits, "holds": holds, "due": due_ms is not None}
        held = counted[BookingStatus.HELD]
        expected = {"waiting": counted[BookingStatus.WAITING], "holds": held, "due": held > 0}
        for name, value in listed.items():
            if value != expected[name]:
                self._audit.find("counter", redis={name: value}, database={name: expected[name]})
