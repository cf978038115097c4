"""The commands of a sale, one method for each script: it builds the call, awaits its row and parses it."""

import asyncio
import secrets
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from booking.domain.details import DETAILS, NO_DETAILS, Detail, Price, detail_to_text
from booking.domain.epochs import history_of
from booking.domain.lags import Lag
from booking.domain.model import Event, Rules
from booking.domain.outcomes import EventOutcome, IdempotencyKey, Outcome, Status
from booking.inventory import keys
from booking.inventory.batcher import CommandBatcher, PreparedCall, Reply
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.inventory.primary_batchers import PrimaryBatchers
from booking.inventory.raw_connection import Argument
from booking.inventory.records import read_event, read_outcome
from booking.inventory.scripts import Script, load

CACHED_CALLS_MAX = 65_536
"""Prepared calls kept for reuse: they are built once for an event, not once for a request."""

ANY_TAG, NO_TAG = "*", "-"
"""In place of versions of an event's rules: every version, as `lua/change.lua` reads it, and none."""

PAYMENT_ID_BYTES = 16
"""Random bytes of a payment's id, so that nobody can guess it."""

WATCHED_MAX = 500
"""Events that one call asks about, which takes Redis some 0.3 ms."""

Decision = Coroutine[Any, Any, Outcome]
"""The coroutine of `_decide`. The commands return it as it is, which saves each call a coroutine of its own."""


KnownLags = tuple[dict[int, Lag], dict[int, Exception]]
"""How far SQL is behind each shard that answers, and the error of each other shard."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket: `burst` calls may come at once, `per_second` more are allowed each second.

    `burst` is `q` in the IETF's draft of the RateLimit headers.
    """

    burst: int
    per_second: float

    def times(self, factor: int) -> "RateLimit":
        """A limit `factor` times as large."""
        return RateLimit(self.burst * factor, self.per_second * factor)

    @property
    def interval_us(self) -> int:
        """Microseconds after which one more call is allowed; at least 1."""
        return max(1, round(1_000_000 / self.per_second))


UNLIMITED = 0
"""In place of how many times as large a caller's bucket is: it has no limit."""


@dataclass(frozen=True, slots=True)
class Acting:
    """A caller who acts for a user: the bucket that is charged and the idempotency keys are the caller's."""

    user_id: str
    times: int = 1
    """How many times as large as a user's bucket the caller's is."""
    asked_at: float | None = field(default=None, compare=False)
    """As in `CommandBatcher.submit`."""


class SeenEvent(NamedTuple):
    """What tells whether an event has changed since it was read; see `Event`."""

    id: int
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class CachedCall:
    """What all calls of one script for one event share."""

    batcher: CommandBatcher
    prepared: PreparedCall


class BoxOffice:
    """The only access to the inventory."""

    def __init__(
        self,
        batchers: PrimaryBatchers,
        epochs: Sequence[str],
        rate_limit: RateLimit | None,
        unsaved_limit: int,
    ) -> None:
        self._batchers = batchers
        self._epochs = epochs
        self._rate_limit = rate_limit
        self._unsaved_limit = unsaved_limit
        self._cached_calls: dict[tuple[str, int, Acting | None], CachedCall] = {}
        batchers.topology.on_change(self._cached_calls.clear)
        self._new_ids = asyncio.Lock()
        self._oldest: dict[int, tuple[bytes, float]] = {}
        """By shard: the oldest entry that SQL lacked at the last look, and since when, on the monotonic clock."""

    def book(
        self,
        event_id: int,
        user_id: str,
        quantity: int = 1,
        key: IdempotencyKey | None = None,
        acting: Acting | None = None,
    ) -> Decision:
        """Gives a user `quantity` tickets (all or none), or a place on the waiting list."""
        asked = f"book {quantity}" if acting is None else f"book {quantity} for {user_id}"
        return self._decide("book", event_id, (user_id, quantity), key, asked, acting)

    def cancel(
        self,
        event_id: int,
        user_id: str,
        quantity: int | None = None,
        key: IdempotencyKey | None = None,
        acting: Acting | None = None,
        reason: str = "",
        payment_id: str = "",
    ) -> Decision:
        """Cancels a user's live booking, or gives back `quantity` of its tickets if it has more than that.

        The freed tickets go to the head of the waiting list in the same step. `reason` is recorded if the caller is
        another user. With a `payment_id` it releases only the hold that this payment was begun for.
        """
        asked = f"cancel {user_id}" if quantity is None else f"give back {quantity} for {user_id}"
        if reason or payment_id:
            asked += f"\n{reason}"
        if payment_id:
            asked += f"\n{payment_id}"
        item = user_id, _or_empty(quantity), reason, payment_id
        return self._decide("cancel", event_id, item, key, asked, acting)

    def check_out(
        self,
        event_id: int,
        user_id: str,
        key: IdempotencyKey | None = None,
        acting: Acting | None = None,
        payment_id: str = "",
    ) -> Decision:
        """Begins the payment of a hold: extends the hold once, and gives it the payment's id.

        `payment_id` is that id, if the hold has none yet; by default one that nobody can guess.
        """
        asked = "checkout" if acting is None else f"checkout for {user_id}"
        payment_id = payment_id or secrets.token_urlsafe(PAYMENT_ID_BYTES)
        return self._decide("checkout", event_id, (user_id, payment_id), key, asked, acting)

    def confirm(
        self,
        event_id: int,
        user_id: str,
        key: IdempotencyKey | None = None,
        acting: Acting | None = None,
        payment_id: str = "",
        late: bool = False,
    ) -> Decision:
        """Makes a held booking final. `payment_id`, if it is not empty, has to be the hold's.

        If it is `late`, a payment for a hold that has ended comes to a booking or to a refund.
        """
        asked = "confirm" if acting is None else f"confirm for {user_id}"
        if payment_id or late:
            asked += f"\n{payment_id} {late}"
        return self._decide("confirm", event_id, (user_id, payment_id, int(late)), key, asked, acting)

    async def get_event(self, event_id: int) -> Event | None:
        """The event as it is now. Callers that ask at the same time share one read and one object."""
        reply, _ = await self._read(event_id)
        return self._event_of(event_id, reply)

    async def get_booking(self, event_id: int, user_id: str) -> Outcome:
        """A user's live booking, with its position if it is waiting."""
        reply, row = await self._read(event_id, user_id)
        if self._event_of(event_id, reply) is None:
            return Outcome(Status.EVENT_NOT_FOUND)
        return read_outcome(event_id, user_id, reply.rows[row])

    async def create(
        self, event_id: int, rules: Rules, organizer_id: str | None = None, asked_at: float | None = None
    ) -> EventOutcome:
        """Creates an event. Without an `organizer_id` it belongs to the administrators.

        `asked_at` as in `CommandBatcher.submit`.
        """
        head = (
            rules.name,
            rules.capacity,
            rules.max_per_user,
            rules.hold_seconds * 1000,
            *(
                _or_empty(value)
                for value in (rules.waitlist_limit, rules.opens_at_ms, rules.closes_at_ms, organizer_id)
            ),
        )
        items = [part for name in rules.details.members() for part in _rule(name, getattr(rules.details, name))]
        return await self._change_event("create", event_id, (*head, *items), asked_at)

    async def change(
        self,
        event_id: int,
        rules: Mapping[str, Detail],
        if_match: str | None = None,
        caller_id: str | None = None,
        asked_at: float | None = None,
    ) -> EventOutcome:
        """Changes the named rules and details. Times are in milliseconds, and have the names that the scripts use.

        If people wait, a much larger capacity is reached in several atomic steps.

        `caller_id` is recorded as the actor of the change. `asked_at` as in `CommandBatcher.submit`.

        With `if_match`, ANY_TAG or `Event.rules_tag`s separated by spaces, it changes them only if they are as in one
        of these versions. Raises OutcomeUnknown if a later step fails.
        """
        items = [part for name, value in rules.items() for part in _rule(name, value)]
        condition, caller = "" if if_match is None else if_match or NO_TAG, caller_id or ""
        outcome = await self._change_event("change", event_id, (condition, caller, *items), asked_at)
        while outcome.status is Status.MORE_TO_CHANGE:
            if condition not in ("", ANY_TAG) and outcome.event is not None:
                condition = outcome.event.rules_tag
            try:
                outcome = await self._change_event("change", event_id, (condition, caller, *items), None)
            except InventoryUnavailable as error:  # it means "nothing was changed", which earlier steps make false
                raise OutcomeUnknown(f"changed in part ({error})") from None
            if outcome.status is Status.PRECONDITION_FAILED:
                raise OutcomeUnknown("changed in part (another change came in between)")
        return outcome

    async def take_token(self, event_id: int, user_id: str, times: int = 1) -> int:
        """Takes a token from a user's bucket, which is `times` as large as usual, without booking anything.

        Returns 0, or the milliseconds to wait.
        """
        if self._rate_limit is None:
            return 0
        buckets = keys.event_keys(event_id, self.shards)[7:9]
        prepared = PreparedCall(load("take_token"), buckets, (*_bucket(self._rate_limit, times), user_id))
        return await self._first_number(prepared)

    async def take_address_token(self, address: str, limit: RateLimit) -> int:
        """Takes a token from a client address's bucket. Returns 0, or the milliseconds to wait."""
        bucket = keys.address_rate(address).encode()
        prepared = PreparedCall(load("take_address_token"), (bucket,), (limit.interval_us, limit.burst))
        return await self._first_number(prepared)

    async def next_event_id(self) -> int:
        """A new event id; no event has had it.

        On one server ids rise by one. A cluster has a counter for each shard, so that no primary is needed for all
        events. There, too, the next id is the highest one and 1, but ids of shards that cannot be reached are left out.
        """
        if self._batchers.topology.form != "cluster":
            return await self._count_event(keys.LAST_EVENT, 1)
        async with self._new_ids:  # otherwise callers at the same time would want the same id
            while True:
                wanted, failure = await self.last_event_id() + 1, InventoryUnavailable("no shard can be reached")
                for event_id in range(wanted, wanted + self.shards):
                    shard = self.shard_of(event_id)
                    claim = PreparedCall(load("claim_event_id"), (keys.last_event(shard),), (event_id,))
                    try:
                        reply, _ = await self._batchers.of_shard(shard).submit(claim)
                    except InventoryUnavailable as error:
                        failure = error
                        continue
                    if reply.rows[0][1]:
                        return event_id
                    break  # another worker has it: look for the highest one once more
                else:
                    raise failure

    async def last_event_id(self) -> int:
        """The highest event id that was assigned, of the shards that can be reached; 0 before the first.

        Raises InventoryUnavailable if none can be reached.
        """
        if self._batchers.topology.form != "cluster":
            return await self._count_event(keys.LAST_EVENT, 0)
        names = [keys.last_event(shard) for shard in range(self.shards)]
        names.append(keys.LAST_EVENT)  # what was one server before has this one
        found = await asyncio.gather(*(self._count_event(name, 0) for name in names), return_exceptions=True)
        numbers = [number for number in found if isinstance(number, int)]
        if not numbers:
            raise next(error for error in found if isinstance(error, BaseException))
        return max(numbers)

    async def _count_event(self, counter: bytes, step: int) -> int:
        return await self._first_number(PreparedCall(load("next_event_id"), (counter,), (step,)))

    async def lag(self, shard: int) -> Lag:
        """How much of the shard's stream is not in SQL yet. Raises InventoryUnavailable, OutcomeUnknown, Overloaded."""
        prepared = PreparedCall(load("lag"), (keys.changes(shard), keys.epoch(shard)), (self._epochs[shard],))
        reply, _ = await self._batchers.of_shard(shard).submit(prepared)
        return self._lag(shard, reply.rows[0])

    async def lags(self) -> list[Lag]:
        """Every shard's `lag`. Raises as it does."""
        return await asyncio.gather(*map(self.lag, range(self.shards)))

    async def known_lags(self) -> KnownLags:
        """The `lag` of each shard that has one now, and the error of each other shard."""
        found = await asyncio.gather(*map(self.lag, range(self.shards)), return_exceptions=True)
        lags, errors = dict[int, Lag](), dict[int, Exception]()
        for shard, lag in enumerate(found):
            if isinstance(lag, Lag):
                lags[shard] = lag
            elif isinstance(lag, InventoryUnavailable | OutcomeUnknown | Overloaded):
                errors[shard] = lag
            else:
                raise lag
        return lags, errors

    async def connect(self) -> None:
        """Connects to the primaries of all shards. Raises InventoryUnavailable if none can be reached."""
        lags, errors = await self.known_lags()
        if not lags:
            raise errors[0]

    def _lag(self, shard: int, row: Sequence[bytes | int]) -> Lag:
        """A shard's lag. Its age is at least as long as this process has seen the same oldest entry.

        So the age grows while SQL stands still, even if Redis's clock was ahead when the entry was written.
        """
        entries, waited_ms, whole, newest, oldest, lost = row
        now = time.monotonic()
        seen, since = self._oldest.get(shard, (b"", now))
        if seen != oldest:
            since = now
        self._oldest[shard] = bytes(oldest), since
        age_ms = max(int(waited_ms), round(1000 * (now - since))) if oldest else 0
        return Lag(int(entries), age_ms, whole == 1, bytes(newest).decode(), bytes(lost).decode())

    async def changed_events(self, shard: int, seen: Sequence[Event | SeenEvent]) -> list[int]:
        """The ids of those of a shard's events that may have changed since they were read as in `seen`.

        A change that time alone makes is not found. Each call asks for up to WATCHED_MAX events.
        """
        epoch = self._epochs[shard]
        history = history_of(epoch)
        found = [event.id for event in seen if event.epoch != history]
        seen = [event for event in seen if event.epoch == history]
        for start in range(0, len(seen), WATCHED_MAX):
            some = seen[start : start + WATCHED_MAX]
            names = (keys.epoch(shard), *(keys.event(event.id, self.shards) for event in some))
            prepared = PreparedCall(load("changed_events"), names, (epoch, *(event.seq for event in some)))
            reply, _ = await self._batchers.of_shard(shard).submit(prepared)
            found += [some[int(position) - 1].id for position in reply.rows[0]]
        return found

    async def events_to_expire(self, shard: int, me: str, lease_ms: int, most: int) -> list[int]:
        """Up to `most` events of a shard with expired holds; none while another process is the shard's sweeper."""
        prepared = PreparedCall(load("events_to_expire"), (keys.due(shard), keys.sweeper(shard)), (me, lease_ms, most))
        reply, _ = await self._batchers.of_shard(shard).submit(prepared)
        return [int(event_id) for event_id in reply.rows[0]]

    @property
    def shards(self) -> int:
        """The number of shards that the events are spread over."""
        return len(self._epochs)

    def use_epochs(self, epochs: Sequence[str]) -> None:
        """Expects these epochs from now on: a restored shard has a new one."""
        if list(epochs) != list(self._epochs):
            self._epochs = epochs
            self._cached_calls.clear()

    def shard_of(self, event_id: int) -> int:
        """The shard of an event."""
        return keys.shard_of(event_id, self.shards)

    def primary_of(self, shard: int) -> str:
        """The address of the shard's primary. Raises InventoryUnavailable if it is not known."""
        return self._batchers.topology.locate(shard)

    async def close(self) -> None:
        """Answers what is queued, then closes the connections."""
        await self._batchers.close()

    def _read(self, event_id: int, *item: Argument) -> asyncio.Future[tuple[Reply, int]]:
        cached = self._cached_call("get_event", event_id)
        return cached.batcher.submit(cached.prepared, item)

    async def _decide(
        self,
        name: str,
        event_id: int,
        item: tuple[Argument, ...],
        key: IdempotencyKey | None,
        asked: str,
        acting: Acting | None,
    ) -> Outcome:
        """`item` begins with the user. `asked` is stored with the answer to a key; another text is another request."""
        cached = self._cached_call(name, event_id, acting)
        replay, request = None, ""
        if key is not None:
            replay = keys.answers(event_id, self.shards, str(item[0]) if acting is None else acting.user_id)
            request = f"{key.key}\n{key.request_id}\n{asked}"
        asked_at = None if acting is None else acting.asked_at
        reply, row = await cached.batcher.submit(cached.prepared, item, replay, request, asked_at)
        outcome = read_outcome(event_id, str(item[0]), reply.rows[row])
        if outcome.status is Status.EVENT_NOT_FOUND:
            self._cached_calls.pop((name, event_id, acting), None)
        return outcome

    async def _change_event(
        self, name: str, event_id: int, head: Sequence[Argument], asked_at: float | None
    ) -> EventOutcome:
        prepared = self._prepare(load(name), event_id, *head)
        reply, _ = await self._batcher(event_id).submit(prepared, asked_at=asked_at)
        row = reply.rows[0]
        status = Status(int(row[0]))
        if status is Status.CAPACITY_BELOW_SOLD:
            return EventOutcome(status, tickets_taken=int(row[1]))
        return EventOutcome(status, read_event(event_id, row) if len(row) > 1 else None)

    async def _first_number(self, prepared: PreparedCall) -> int:
        reply, _ = await self._batchers.of_key(prepared.keys[0]).submit(prepared)
        return int(reply.rows[0][0])

    def _batcher(self, event_id: int) -> CommandBatcher:
        return self._batchers.of_shard(keys.shard_of(event_id, self.shards))

    def _cached_call(self, name: str, event_id: int, acting: Acting | None = None) -> CachedCall:
        cached = self._cached_calls.get((name, event_id, acting))
        if cached is None:
            script = load(name)
            interval_us, burst = _bucket(self._rate_limit, 1 if acting is None else acting.times)
            head: dict[str, Argument] = {
                "interval_us": interval_us,
                "burst": burst,
                "unsaved_limit": self._unsaved_limit,
                "caller": "" if acting is None else acting.user_id,
            }
            prepared = self._prepare(script, event_id, *(head[name] for name in script.header.arguments[2:]))
            if len(self._cached_calls) >= CACHED_CALLS_MAX:
                self._cached_calls.clear()
            cached = CachedCall(self._batcher(event_id), prepared)
            self._cached_calls[name, event_id, acting] = cached
        return cached

    def _event_of(self, event_id: int, reply: Reply) -> Event | None:
        if reply.event is None:
            if reply.rows[0][0] == Status.EVENT_NOT_FOUND:  # ids that do not exist must not fill the cache
                self._cached_calls.pop(("get_event", event_id, None), None)
            else:
                reply.event = read_event(event_id, reply.rows[0])
        return reply.event

    def _prepare(self, script: Script, event_id: int, *head: Argument) -> PreparedCall:
        expected_epoch = self._epochs[keys.shard_of(event_id, self.shards)]
        event_keys = keys.event_keys(event_id, self.shards)[: len(script.header.keys)]
        return PreparedCall(script, event_keys, (expected_epoch, event_id, *head))


def _bucket(limit: RateLimit | None, times: int) -> tuple[Argument, int]:
    """The interval and the burst of a bucket that is `times` as large; both are 0 if there is no limit.

    All buckets of an event take equally long to fill, because they are in the same two hashes, which alternate by that
    time (lua/shared/rates.lua). So the interval may have parts of a microsecond.
    """
    if limit is None or times == UNLIMITED:
        return 0, 0
    return limit.interval_us if times == 1 else repr(limit.interval_us / times), limit.burst * times


def _rule(name: str, value: Detail) -> tuple[str, Argument]:
    """A rule or a detail as the scripts read it."""
    if name in DETAILS:
        return name, "" if value == getattr(NO_DETAILS, name) else detail_to_text(value)
    assert not isinstance(value, Price)
    if name == "hold_seconds":
        return "hold_ms", 1_000 * int(value or 0)
    return name, _or_empty(value)


def _or_empty(value: Argument | None) -> Argument:
    return "" if value is None else value
