"""Compares one event in Redis with the same event in SQL, while it may be selling, in constant memory."""

from collections import Counter
from collections.abc import Callable, Sequence

from booking.domain.model import Booking, BookingStatus
from booking.inventory import keys
from booking.inventory.reader import InventoryReader, Numbers
from booking.inventory.records import read_record
from booking.ledger.ledger import Ledger
from booking.operations.audit.catch_up import CatchUp, seq_of
from booking.operations.audit.counters import compare_counters, compare_rules
from booking.operations.audit.findings import EventAudit, booking_as_json

READS_MAX = 5
"""How often a user's booking that differs is looked at again before it is called unsettled."""

USERS_MAX = 1_000
"""Users whose bookings are asked for in one call of either side."""

Progress = Callable[[int], None]
"""Is told how many bookings more were looked at."""


async def audit_event(
    reader: InventoryReader,
    ledger: Ledger,
    event_id: int,
    progress: Progress = lambda _: None,
    catch_up: CatchUp | None = None,
) -> EventAudit:
    """Compares everything that both sides keep of an event. Raises InventoryUnavailable, LedgerUnavailable.

    Nothing is locked. What differs is looked at again: a booking that Redis had before and after SQL was read, when
    SQL had reached what Redis had before, was not changing, and then it is a difference. One `catch_up` for several
    events keeps a persister that does not run from being waited for at each of them.
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
        self._patience = catch_up
        self._audit = EventAudit(event_id)
        self._suspects: dict[str, None] = {}
        self._unreadable: set[str] = set()

    async def run(self) -> EventAudit:
        audit = self._audit
        shards = await self._ledger.shards()
        shard = keys.shard_of(self._event_id, max(1, len(shards)))
        epoch = await self._reader.epoch(shard)
        if shard in shards and epoch != shards[shard].epoch:
            audit.find("shard_lost", redis=epoch, database=shards[shard].epoch)
            return audit
        stored = await self._reader.event(self._event_id)
        record = await self._patience.wait_for(self._event_id, stored["seq"] if stored else 0)
        audit.seq_redis = stored["seq"] if stored else None
        audit.seq_database = record.seq if record else None
        if stored is None or record is None:
            if stored or record:
                audit.find("event_missing", redis=audit.seq_redis, database=audit.seq_database)
            return audit
        if record.seq < stored["seq"]:
            audit.find("seq", redis=stored["seq"], database=record.seq)
            return audit
        await self._compare_counters(stored)
        await self._check_history()
        await self._compare_bookings()
        return audit

    async def _compare_counters(self, stored: Numbers) -> None:
        seq = stored["seq"]
        counts = await self._ledger.counts_at(self._event_id, seq)
        rules = await self._ledger.rules_as_of(self._event_id, seq)
        compare_counters(self._audit, stored, counts, rules)
        compare_rules(self._audit, stored, rules)

    async def _check_history(self) -> None:
        """What SQL says alone: no change is missing, nobody was overtaken, nobody has two live bookings."""
        for gap in await self._ledger.seq_gaps(self._event_id):
            self._audit.find("seq_gap", database=f"{gap.first} to {gap.last}")
        for inversion in await self._ledger.inversions(self._event_id):
            self._audit.find("inversion", inversion.user_id, database=f"{self._event_id}-{inversion.number}")
        for user in await self._ledger.users_with_several_bookings(self._event_id):
            self._audit.find("two_bookings", user)

    async def _compare_bookings(self) -> None:
        """SQL's live bookings against Redis, and then Redis's against SQL, where they may differ.

        Where the event stood still and each of SQL's was found in Redis, as many of each status are the very same.
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
        """How many of SQL's live bookings there are by status; those that Redis has otherwise become suspects."""
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
        """How many live bookings Redis has by status, each waiting or held one being on its list as it says."""
        found: Counter[BookingStatus] = Counter()
        async for records in self._reader.records(self._event_id):
            letters = Counter(text[:1] for text in records.values())
            found[BookingStatus.CONFIRMED] += letters.pop(b"c", 0)
            # Of the confirmed, most by far, it takes no more than that: SQL's have been found.
            others = {user: self._read(user, text) for user, text in records.items() if text[:1] != b"c"}
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
        off = [one for one, place in zip(waiting, places, strict=True) if place != one.number]
        off += [one for one, end in zip(holding, ends, strict=True) if end != one.expires_at_ms]
        self._suspects |= dict.fromkeys(one.user_id for one in off)

    async def _compare_with_sql(self, records: dict[str, bytes]) -> None:
        found = {user: self._read(user, text) for user, text in records.items()}
        live = {user: booking for user, booking in found.items() if booking is not None}
        there = await self._ledger.live_bookings_of(self._event_id, list(live))
        self._suspects |= dict.fromkeys(user for user, booking in live.items() if there.get(user) != booking)
        self._progress(len(records))

    def _read(self, user: str, text: bytes | None) -> Booking | None:
        """The live booking that a record tells of; a record that cannot be read is a difference of its own."""
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
        """Looks at everybody again whose booking differed: it may just have been changing.

        At many of them at a time, since each look waits for the persister.
        """
        unsettled = list(self._suspects)
        for _ in range(READS_MAX):
            pages = [unsettled[start : start + USERS_MAX] for start in range(0, len(unsettled), USERS_MAX)]
            unsettled = [user for page in pages for user in await self._read_again(page)]
        self._audit.unsettled += len(unsettled)

    async def _read_again(self, users: Sequence[str]) -> list[str]:
        """Says what is wrong with those who stood still meanwhile, and returns the others."""
        before = await self._reader.records_of(self._event_id, users)
        stored = await self._reader.event(self._event_id) or {"seq": 0}
        record = await self._patience.wait_for(self._event_id, stored["seq"])
        if seq_of(record) < stored["seq"]:
            return list(users)  # the persister has fallen behind meanwhile, and SQL cannot tell yet
        theirs = await self._ledger.live_bookings_of(self._event_id, users)
        ours = {user: self._read(user, text) for user, text in zip(users, before, strict=True)}
        waits, holds = (
            [one for one in ours.values() if one is not None and one.status is status]
            for status in (BookingStatus.WAITING, BookingStatus.HELD)
        )
        places, ends = await self._reader.places(
            self._event_id, [one.user_id for one in waits], [one.user_id for one in holds]
        )
        after = await self._reader.records_of(self._event_id, users)
        still = {user for user, was, text in zip(users, before, after, strict=True) if was == text}
        for user in (user for user in users if user in still):
            if theirs.get(user) != ours[user]:
                self._audit.find("booking", user, booking_as_json(ours[user]), booking_as_json(theirs.get(user)))
        for one, place in zip(waits, places, strict=True):
            if one.user_id in still and place != one.number:
                self._audit.find("place", one.user_id, place, one.number)
        for one, end in zip(holds, ends, strict=True):
            if one.user_id in still and end != one.expires_at_ms:
                self._audit.find("hold", one.user_id, end, one.expires_at_ms)
        return [user for user in users if user not in still]

    async def _check_sizes(self, before: int | None, counted: Counter[BookingStatus]) -> None:
        """Nobody is on a list without a booking. Said only of an event that stood still while it was counted."""
        waits, holds, due_ms = await self._reader.sizes(self._event_id)
        if await self._seq() != before:
            return
        listed = {"waiting": waits, "holds": holds, "due": due_ms is not None}
        held = counted[BookingStatus.HELD]
        expected = {"waiting": counted[BookingStatus.WAITING], "holds": held, "due": held > 0}
        for name, value in listed.items():
            if value != expected[name]:
                self._audit.find("counter", redis={name: value}, database={name: expected[name]})
