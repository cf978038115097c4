"""Compares one event in Redis with the same event in SQL, while it may be selling, in constant memory."""

import asyncio
from collections.abc import Callable, Sequence

from booking.audit.findings import EventAudit, told
from booking.domain.model import Booking, BookingStatus
from booking.inventory import keys
from booking.inventory.records import read_record
from booking.inventory.stockroom import Numbers, Stockroom
from booking.ledger.ledger import Ledger
from booking.ledger.records import EventRecord

CATCH_UP_SECONDS = 5.0
"""How long the persister may take to bring what Redis had at a moment into SQL."""

POLL_SECONDS = 0.05

LOOKS_MAX = 5
"""How often a user's booking that differs is looked at again before it is called unsettled."""

COUNTERS = {
    "available_tickets": "available",
    "tickets_held": "held",
    "tickets_sold": "sold",
    "bookings_count": "bookings",
    "held_count": "holding",
    "waiting_tickets": "backlog",
}
"""An event's counters: their names in an answer, and in Redis."""

USERS_MAX = 1_000
"""Users whose bookings are asked for in one call of either side."""

Progress = Callable[[int], None]
"""Is told how many bookings more were looked at."""


async def audit_event(
    room: Stockroom, ledger: Ledger, event_id: int, progress: Progress = lambda _: None
) -> EventAudit:
    """Compares everything that both sides keep of an event. Raises InventoryUnavailable, LedgerUnavailable.

    Nothing is locked. What differs is looked at again: a booking that Redis had before and after SQL was read, when
    SQL had reached what Redis had before, was not changing, and then it is a difference.
    """
    return await _Comparison(room, ledger, event_id, progress).run()


class _Comparison:
    def __init__(self, room: Stockroom, ledger: Ledger, event_id: int, progress: Progress) -> None:
        self._room = room
        self._ledger = ledger
        self._event_id = event_id
        self._progress = progress
        self._audit = EventAudit(event_id)
        self._suspects: dict[str, None] = {}
        self._unreadable: set[str] = set()

    async def run(self) -> EventAudit:
        audit = self._audit
        shards = await self._ledger.shards()
        shard = keys.shard_of(self._event_id, max(1, len(shards)))
        epoch = await self._room.epoch(shard)
        if shard in shards and epoch != shards[shard].epoch:
            audit.find("shard_lost", redis=epoch, database=shards[shard].epoch)
            return audit
        stored = await self._room.event(self._event_id)
        record = await self._caught_up(stored["seq"] if stored else 0)
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

    async def _caught_up(self, seq: int) -> EventRecord | None:
        """The event in SQL, once it has come to `seq`, or as it is when that takes too long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + CATCH_UP_SECONDS
        record = await self._ledger.event(self._event_id)
        while (record.seq if record else 0) < seq and loop.time() < end:
            await asyncio.sleep(POLL_SECONDS)
            record = await self._ledger.event(self._event_id)
        return record

    async def _compare_counters(self, stored: Numbers) -> None:
        """Redis's counters against what SQL's bookings added up to at the very same `seq`."""
        audit = self._audit
        counts = await self._ledger.counts_as_of(self._event_id, stored["seq"])
        rules = await self._ledger.rules_as_of(self._event_id, stored["seq"])
        confirmed, held, waiting = (
            counts[status] for status in (BookingStatus.CONFIRMED, BookingStatus.HELD, BookingStatus.WAITING)
        )
        audit.redis = {"capacity": stored["capacity"]} | {name: stored[key] for name, key in COUNTERS.items()}
        audit.database = {
            "capacity": rules.capacity,
            "available_tickets": rules.capacity - held.tickets - confirmed.tickets,
            "tickets_held": held.tickets,
            "tickets_sold": confirmed.tickets,
            "bookings_count": confirmed.bookings,
            "held_count": held.bookings,
            "waiting_tickets": waiting.tickets,
        }
        parts = sum(audit.redis[name] for name in ("available_tickets", "tickets_held", "tickets_sold"))
        if parts != audit.redis["capacity"] or audit.redis["available_tickets"] < 0:
            audit.find("capacity", redis=audit.redis)
        if audit.database["available_tickets"] < 0:
            audit.find("capacity", database=audit.database)
        for name, value in audit.redis.items():
            if value != audit.database[name]:
                audit.find("counter", redis={name: value}, database={name: audit.database[name]})

    async def _check_history(self) -> None:
        """What SQL says alone: no change is missing, nobody was overtaken, nobody has two live bookings."""
        for gap in await self._ledger.seq_gaps(self._event_id):
            self._audit.find("seq_gap", database=f"{gap.first} to {gap.last}")
        for inversion in await self._ledger.inversions(self._event_id):
            self._audit.find("inversion", inversion.user_id, database=f"{self._event_id}-{inversion.number}")
        for user in await self._ledger.users_with_several_bookings(self._event_id):
            self._audit.find("two_bookings", user)

    async def _compare_bookings(self) -> None:
        """Each side's bookings against the other's: SQL's live ones by Redis, then all of Redis's by SQL."""
        page: list[Booking] = []
        async for booking in self._ledger.live_bookings(self._event_id):
            page.append(booking)
            if len(page) == USERS_MAX:
                await self._hold_against_redis(page)
                page = []
        await self._hold_against_redis(page)
        before = (await self._room.event(self._event_id) or {}).get("seq")
        counted = {b"c": 0, b"h": 0, b"w": 0, b"x": 0}
        async for records in self._room.records(self._event_id):
            for text in records.values():
                counted[text[:1]] = counted.get(text[:1], 0) + 1
            await self._hold_against_sql(records)
        await self._settle()
        await self._check_sizes(before, counted)

    async def _hold_against_redis(self, page: Sequence[Booking]) -> None:
        users = [booking.user_id for booking in page]
        for booking, text in zip(page, await self._room.records_of(self._event_id, users), strict=True):
            if not _same(booking, self._read(booking.user_id, text)):
                self._suspects[booking.user_id] = None
        self._audit.bookings += len(page)
        self._progress(len(page))

    async def _hold_against_sql(self, records: dict[str, bytes]) -> None:
        found = {user: self._read(user, text) for user, text in records.items()}
        live = {user: booking for user, booking in found.items() if booking is not None}
        there = await self._ledger.live_bookings_of(self._event_id, list(live))
        for user, booking in live.items():
            if not _same(there.get(user), booking):
                self._suspects[user] = None
        by_status = {
            status: [booking for booking in live.values() if booking.status is status]
            for status in (BookingStatus.WAITING, BookingStatus.HELD)
        }
        waiting, holding = by_status[BookingStatus.WAITING], by_status[BookingStatus.HELD]
        places, ends = await self._room.places(
            self._event_id, [one.user_id for one in waiting], [one.user_id for one in holding]
        )
        off = [one for one, place in zip(waiting, places, strict=True) if place != one.number]
        off += [one for one, end in zip(holding, ends, strict=True) if end != one.expires_at_ms]
        self._suspects |= dict.fromkeys(one.user_id for one in off)
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

    async def _settle(self) -> None:
        """Looks at everybody again whose booking differed: it may just have been changing.

        At many of them at a time, since each look waits for the persister.
        """
        unsettled = list(self._suspects)
        for _ in range(LOOKS_MAX):
            pages = [unsettled[start : start + USERS_MAX] for start in range(0, len(unsettled), USERS_MAX)]
            unsettled = [user for page in pages for user in await self._look_again(page)]
        self._audit.unsettled += len(unsettled)

    async def _look_again(self, users: Sequence[str]) -> list[str]:
        """Says what is wrong with those who stood still meanwhile, and returns the others."""
        before = await self._room.records_of(self._event_id, users)
        stored = await self._room.event(self._event_id) or {"seq": 0}
        await self._caught_up(stored["seq"])
        theirs = await self._ledger.live_bookings_of(self._event_id, users)
        ours = {user: self._read(user, text) for user, text in zip(users, before, strict=True)}
        waits, holds = (
            [one for one in ours.values() if one is not None and one.status is status]
            for status in (BookingStatus.WAITING, BookingStatus.HELD)
        )
        places, ends = await self._room.places(
            self._event_id, [one.user_id for one in waits], [one.user_id for one in holds]
        )
        after = await self._room.records_of(self._event_id, users)
        still = {user for user, was, text in zip(users, before, after, strict=True) if was == text}
        for user in (user for user in users if user in still):
            if not _same(theirs.get(user), ours[user]):
                self._audit.find("booking", user, told(ours[user]), told(theirs.get(user)))
        for one, place in zip(waits, places, strict=True):
            if one.user_id in still and place != one.number:
                self._audit.find("place", one.user_id, place, one.number)
        for one, end in zip(holds, ends, strict=True):
            if one.user_id in still and end != one.expires_at_ms:
                self._audit.find("hold", one.user_id, end, one.expires_at_ms)
        return [user for user in users if user not in still]

    async def _check_sizes(self, before: int | None, counted: dict[bytes, int]) -> None:
        """Nobody is on a list without a booking. Said only of an event that stood still while it was counted."""
        waits, holds, due_ms = await self._room.sizes(self._event_id)
        stored = await self._room.event(self._event_id) or {}
        if stored.get("seq") != before:
            return
        listed = {"waiting": waits, "holds": holds, "due": due_ms is not None}
        expected = {"waiting": counted[b"w"], "holds": counted[b"h"], "due": counted[b"h"] > 0}
        for name, value in listed.items():
            if value != expected[name]:
                self._audit.find("counter", redis={name: value}, database={name: expected[name]})


def _same(one: Booking | None, other: Booking | None) -> bool:
    """Whether both are the same booking in the same state; a position is not part of that."""
    return (one is None and other is None) or (one is not None and other is not None and told(one) == told(other))
