"""The commands of a sale, one method for each script: it builds the call, awaits its row and parses it."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from booking.domain.lags import Lag
from booking.domain.model import Event, Rules
from booking.domain.outcomes import EventOutcome, IdempotencyKey, Outcome, Status
from booking.inventory import keys
from booking.inventory.batcher import CommandBatcher, PreparedCall, Reply
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown
from booking.inventory.records import read_event, read_outcome
from booking.inventory.script_connection import Argument
from booking.inventory.scripts import Script, load

CACHED_CALLS_MAX = 65_536
"""Prepared calls kept for reuse: they are built once for an event, not once for a request."""

Decision = Coroutine[Any, Any, Outcome]
"""The coroutine of `_decide`. The commands return it as it is, which saves each call a coroutine of its own."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket: `burst` calls may come at once, `per_second` more are allowed each second.

    `burst` is `q` in the IETF's draft of the RateLimit headers.
    """

    burst: int
    per_second: float

    @property
    def interval_us(self) -> int:
        """Microseconds after which one more call is allowed; at least 1."""
        return max(1, round(1_000_000 / self.per_second))


@dataclass(frozen=True, slots=True)
class CachedCall:
    """What all calls of one script for one event share."""

    batcher: CommandBatcher
    prepared: PreparedCall


class BoxOffice:
    """The only access to the inventory. Shard n uses batcher n modulo their number; without a cluster there is one."""

    def __init__(
        self,
        batchers: Sequence[CommandBatcher],
        epochs: Sequence[str],
        rate_limit: RateLimit | None,
        unsaved_limit: int,
    ) -> None:
        self._batchers = batchers
        self._epochs = epochs
        self._rate_limit = rate_limit
        self._unsaved_limit = unsaved_limit
        self._cached_calls: dict[tuple[str, int], CachedCall] = {}

    def book(self, event_id: int, user_id: str, quantity: int = 1, key: IdempotencyKey | None = None) -> Decision:
        """Gives a user `quantity` tickets (all or none), or a place on the waiting list."""
        return self._decide("book", event_id, user_id, (user_id, quantity), key, f"book {quantity}")

    def cancel(
        self, event_id: int, user_id: str, caller_id: str | None = None, key: IdempotencyKey | None = None
    ) -> Decision:
        """Cancels a user's live booking. The freed tickets go to the head of the waiting list in the same step."""
        caller_id = caller_id or user_id
        return self._decide("cancel", event_id, caller_id, (user_id, caller_id), key, f"cancel {user_id}")

    def confirm(self, event_id: int, user_id: str, key: IdempotencyKey | None = None) -> Decision:
        """Makes a held booking final."""
        return self._decide("confirm", event_id, user_id, (user_id,), key, "confirm")

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

    async def create(self, event_id: int, rules: Rules, organizer_id: str | None = None) -> EventOutcome:
        """Creates an event. Without an `organizer_id` it belongs to the administrators."""
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
        return await self._change_event("create", event_id, head)

    async def change(self, event_id: int, rules: Mapping[str, Argument | None]) -> EventOutcome:
        """Changes the named rules. If people wait, a much larger capacity is reached in several atomic steps.

        Raises OutcomeUnknown if a later step fails.
        """
        head = [part for name, value in rules.items() for part in (name, _or_empty(value))]
        outcome = await self._change_event("change", event_id, head)
        while outcome.status is Status.MORE_TO_CHANGE:
            try:
                outcome = await self._change_event("change", event_id, head)
            except InventoryUnavailable as error:  # it means "nothing was changed", which earlier steps make false
                raise OutcomeUnknown(f"changed in part ({error})") from None
        return outcome

    async def take_token(self, event_id: int, user_id: str) -> int:
        """Takes a token from a user's bucket without booking anything. Returns 0, or the milliseconds to wait."""
        if self._rate_limit is None:
            return 0
        limit = self._rate_limit
        buckets = keys.event_keys(event_id, self.shards)[-2:]
        prepared = PreparedCall(load("take_token"), buckets, (limit.interval_us, limit.burst, user_id))
        return await self._first_number(prepared, self._batcher(event_id))

    async def take_address_token(self, address: str, limit: RateLimit) -> int:
        """Takes a token from a client address's bucket. Returns 0, or the milliseconds to wait."""
        bucket = keys.address_rate(address).encode()
        prepared = PreparedCall(load("take_address_token"), (bucket,), (limit.interval_us, limit.burst))
        return await self._first_number(prepared, self._batchers[0])

    async def next_event_id(self) -> int:
        """A new event id; no event has had it."""
        return await self._first_number(
            PreparedCall(load("next_event_id"), (keys.LAST_EVENT,), (1,)), self._batchers[0]
        )

    async def last_event_id(self) -> int:
        """The highest event id that was assigned; 0 before the first."""
        return await self._first_number(
            PreparedCall(load("next_event_id"), (keys.LAST_EVENT,), (0,)), self._batchers[0]
        )

    async def lags(self) -> list[Lag]:
        """How much of each shard's stream is not in SQL yet. Raises InventoryUnavailable."""
        asked = [
            self._batcher(shard).submit(
                PreparedCall(load("lag"), (keys.changes(shard), keys.epoch(shard)), (self._epochs[shard],))
            )
            for shard in range(len(self._epochs))
        ]
        replies = await asyncio.gather(*asked)
        return [
            Lag(int(entries), int(oldest_ms), whole == 1, bytes(newest).decode())
            for reply, _ in replies
            for entries, oldest_ms, whole, newest in reply.rows
        ]

    async def events_to_expire(self, shard: int, me: str, lease_ms: int, most: int) -> list[int]:
        """Up to `most` events of a shard with expired holds; none while another process is the shard's sweeper."""
        prepared = PreparedCall(load("events_to_expire"), (keys.due(shard), keys.sweeper(shard)), (me, lease_ms, most))
        reply, _ = await self._batcher(shard).submit(prepared)
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

    async def close(self) -> None:
        """Answers what is queued, then closes the connections."""
        for batcher in self._batchers:
            await batcher.close()

    async def _read(self, event_id: int, *item: Argument) -> tuple[Reply, int]:
        cached = self._cached_call("get_event", event_id)
        return await cached.batcher.submit(cached.prepared, item)

    async def _decide(
        self,
        name: str,
        event_id: int,
        caller_id: str,
        item: tuple[Argument, ...],
        key: IdempotencyKey | None,
        asked: str,
    ) -> Outcome:
        cached = self._cached_call(name, event_id)
        replay, request = None, ""
        if key is not None:
            replay = keys.replay(event_id, self.shards, caller_id, key.key)
            request = f"{key.request_id}\n{asked}"
        reply, row = await cached.batcher.submit(cached.prepared, item, replay, request)
        outcome = read_outcome(event_id, str(item[0]), reply.rows[row])
        if outcome.status is Status.EVENT_NOT_FOUND:
            self._cached_calls.pop((name, event_id), None)
        return outcome

    async def _change_event(self, name: str, event_id: int, head: Sequence[Argument]) -> EventOutcome:
        prepared = self._prepare(load(name), event_id, *head)
        reply, _ = await self._batcher(event_id).submit(prepared)
        row = reply.rows[0]
        status = Status(int(row[0]))
        if status is Status.CAPACITY_BELOW_SOLD:
            return EventOutcome(status, tickets_taken=int(row[1]))
        return EventOutcome(status, read_event(event_id, row) if len(row) > 1 else None)

    async def _first_number(self, prepared: PreparedCall, batcher: CommandBatcher) -> int:
        reply, _ = await batcher.submit(prepared)
        return int(reply.rows[0][0])

    def _batcher(self, event_id: int) -> CommandBatcher:
        return self._batchers[keys.shard_of(event_id, self.shards) % len(self._batchers)]

    def _cached_call(self, name: str, event_id: int) -> CachedCall:
        cached = self._cached_calls.get((name, event_id))
        if cached is None:
            script = load(name)
            limit = self._rate_limit
            limits = {
                "interval_us": 0 if limit is None else limit.interval_us,
                "burst": 0 if limit is None else limit.burst,
                "unsaved_limit": self._unsaved_limit,
            }
            prepared = self._prepare(script, event_id, *(limits[name] for name in script.header.arguments[2:]))
            if len(self._cached_calls) >= CACHED_CALLS_MAX:
                self._cached_calls.clear()
            cached = CachedCall(self._batcher(event_id), prepared)
            self._cached_calls[name, event_id] = cached
        return cached

    def _event_of(self, event_id: int, reply: Reply) -> Event | None:
        if reply.event is None:
            if reply.rows[0][0] == Status.EVENT_NOT_FOUND:  # ids that do not exist must not fill the cache
                self._cached_calls.pop(("get_event", event_id), None)
            else:
                reply.event = read_event(event_id, reply.rows[0])
        return reply.event

    def _prepare(self, script: Script, event_id: int, *head: Argument) -> PreparedCall:
        expected_epoch = self._epochs[keys.shard_of(event_id, self.shards)]
        event_keys = keys.event_keys(event_id, self.shards)[: len(script.header.keys)]
        return PreparedCall(script, event_keys, (expected_epoch, event_id, *head))


def _or_empty(value: Argument | None) -> Argument:
    return "" if value is None else value
