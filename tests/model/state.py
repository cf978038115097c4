"""What Redis stores about every event, and what the reference model says it should store."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from redis import Redis

from booking.domain.changes import Change
from booking.domain.details import Details, details_from_text
from booking.domain.model import Booking, BookingStatus, Payment
from booking.domain.reference.box_office import ReferenceBoxOffice
from booking.domain.reference.sale import Sale
from booking.inventory import keys
from booking.inventory.records import detail_fields, read_entry, read_payments, read_record
from tests.model.steps import EVENTS, SHARDS

NO_FIELDS = {"archived": "0", "offer_ms": "", "payment_ms": ""}
"""What the scripts read of an event that has never had details."""


@dataclass(frozen=True)
class EventState:
    """One event's keys. Its name and rules are compared through the answers and the stream."""

    counters: dict[str, int]
    details: Details
    detail_fields: dict[str, str]
    """The details that the scripts read in another form."""
    bookings: dict[str, Booking]
    waiting: list[str]
    holds: list[tuple[int, str]]
    payments: dict[str, list[Payment]]


@dataclass
class State:
    """The whole state. `news` are the stream entries since the last read, in each shard's order."""

    events: dict[int, EventState] = field(default_factory=dict)
    due: dict[int, int] = field(default_factory=dict)
    """When the first hold of each event ends."""
    news: list[list[Change]] = field(default_factory=list)


def expected_event(sale: Sale) -> EventState:
    """The expected content of an event's keys."""
    counters = {
        "available": sale.available,
        "held": sale.tickets(BookingStatus.HELD),
        "sold": sale.tickets(BookingStatus.CONFIRMED),
        "bookings": sale.count(BookingStatus.CONFIRMED),
        "holding": sale.count(BookingStatus.HELD),
        "backlog": sale.tickets(BookingStatus.WAITING),
        "seq": sale.seq,
        "created_at": sale.created_at_ms,
    }
    bookings = {user: replace(booking, position=None) for user, booking in sale.bookings.items()}
    details = sale.rules.details
    fields = {name: str(value) for name, value in detail_fields(details).items() if name != "details"}
    waiting, holds = list(sale.waiting), sorted(sale.hold_ends())
    payments = {user: list(mine) for user, mine in sale.payments.items()}
    return EventState(counters, details, NO_FIELDS | fields, bookings, waiting, holds, payments)


def expected(model: ReferenceBoxOffice) -> State:
    """The state according to the model. Clears the model's record of changes."""
    state = State(news=[[] for _ in range(SHARDS)])
    for event_id, sale in sorted(model.sales.items()):
        state.events[event_id] = expected_event(sale)
        if sale.hold_ends():
            state.due[event_id] = min(end for end, _ in sale.hold_ends())
        state.news[keys.shard_of(event_id, SHARDS)] += sale.changes
        sale.changes.clear()
    for news in state.news:
        news.sort(key=lambda change: change.event_id)
    return state


class StateReader:
    """Reads the keys of one server over a connection of its own, and each stream entry once."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._last = [b"0-0"] * SHARDS

    def read(self) -> State:
        """Reads the whole state in one exchange."""
        pipeline = self._redis.pipeline(transaction=False)
        for event_id in EVENTS:
            event, bookings, waiting, holds, *_, payments = keys.event_keys(event_id, SHARDS)
            pipeline.hgetall(event)
            pipeline.hgetall(bookings)
            pipeline.zrange(waiting, 0, -1)
            pipeline.zrange(holds, 0, -1, withscores=True)
            pipeline.hgetall(payments)
        for shard in range(SHARDS):
            pipeline.zrange(keys.due(shard), 0, -1, withscores=True)
            pipeline.xrange(keys.changes(shard), b"(" + self._last[shard])
        replies: list[Any] = pipeline.execute()
        state = State()
        for i, event_id in enumerate(EVENTS):
            found = _event(event_id, *replies[5 * i : 5 * i + 5])
            if found is not None:
                state.events[event_id] = found
        for shard in range(SHARDS):
            due, entries = replies[5 * len(EVENTS) + 2 * shard :][:2]
            state.due |= {int(event_id): int(end) for event_id, end in due}
            if entries:
                self._last[shard] = entries[-1][0]
            # Only the order within each event is promised, since events of a shard do not wait for each other.
            state.news.append(sorted(_changes(entries), key=lambda change: change.event_id))
        return state


def _event(
    event_id: int,
    fields: dict[bytes, bytes],
    records: dict[bytes, bytes],
    waiting: list[bytes],
    holds: list[tuple[bytes, float]],
    payments: dict[bytes, bytes],
) -> EventState | None:
    if not (fields or records or waiting or holds or payments):
        return None
    names = ("available", "held", "sold", "bookings", "holding", "backlog", "seq", "created_at")
    return EventState(
        {name: int(fields[name.encode()]) for name in names if name.encode() in fields},
        details_from_text(fields.get(b"details", b"")),
        {name: fields.get(name.encode(), default.encode()).decode() for name, default in NO_FIELDS.items()},
        {user.decode(): read_record(event_id, user.decode(), text) for user, text in records.items()},
        [user.decode() for user in waiting],
        [(int(end), user.decode()) for user, end in holds],
        {user.decode(): read_payments(user.decode(), text) for user, text in payments.items()},
    )


def _changes(entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Change]:
    return [read_entry([part for field in fields.items() for part in field]) for _, fields in entries]
