"""A match does the same steps with the reference model and with the scripts on a real server, and compares them."""

import asyncio
from collections.abc import Awaitable, Mapping
from types import TracebackType
from typing import Self

from redis import Redis

from booking.domain.model import Event
from booking.domain.outcomes import EventOutcome, Outcome
from booking.domain.reference.box_office import ReferenceBoxOffice
from booking.inventory import keys
from booking.inventory.box_office import Acting, BoxOffice
from booking.inventory.records import stored_epoch
from booking.inventory.scripts import Script
from tests.fixtures.stock import one_server
from tests.model.order import Kind, execution_order
from tests.model.settable_clock import CLOCK_KEY, RewrittenConnection
from tests.model.state import StateReader, expected
from tests.model.steps import (
    EVENTS,
    ORGANIZER,
    SHARDS,
    START_MS,
    Book,
    Cancel,
    Change,
    CheckOut,
    Command,
    Confirm,
    Create,
    Due,
    Look,
    LookBooking,
    Pass,
    Scenario,
    Step,
    Together,
)

Answer = Outcome | EventOutcome | Event | list[int] | None
SWEEPER_LEASE_MS = 60_000
EPOCHS = [f"epoch-{shard}" for shard in range(SHARDS)]
WITHIN_MS_US = 999
"""Microseconds that the clock adds to each millisecond. The scripts have to ignore them."""


class Difference(AssertionError):
    """The model and the scripts disagree."""


class Arena:
    """One server for many matches. Each match begins with an empty server."""

    def __init__(self, address: str, scripts: Mapping[str, Script]) -> None:
        self._address = address
        self._scripts = scripts
        self._runner = asyncio.Runner()
        self._redis: Redis = Redis.from_url(address)
        self.steps = 0
        """Commands compared so far and clock changes, over all matches."""

    def __enter__(self) -> Self:
        self._office = self._runner.run(self._open())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._runner.run(self._office.close())
        self._runner.close()
        self._redis.close()

    async def _open(self) -> BoxOffice:
        batchers = one_server(self._address, RewrittenConnection(self._address, self._scripts), queue_limit=1_000)
        return BoxOffice(batchers, EPOCHS, rate_limit=None, unsaved_limit=1_000_000)

    def play(self, scenario: Scenario) -> None:
        """Plays a scenario. Raises Difference at the first step after which the two sides differ."""
        self._redis.flushall()
        for shard, epoch in enumerate(EPOCHS):
            self._redis.set(keys.epoch(shard), stored_epoch(epoch))
        match = Match(self._office, self._redis)
        made = [Create(event_id, rules) for event_id, rules in zip(EVENTS, scenario.rules, strict=False)]
        for step in (*made, *scenario.steps):
            self.steps += len(step.commands) if isinstance(step, Together) else 1
            self._runner.run(match.do(step))


class Match:
    """A model and an emptied server."""

    def __init__(self, office: BoxOffice, redis: Redis) -> None:
        self._model = ReferenceBoxOffice()
        self._office = office
        self._redis = redis
        self._reader = StateReader(redis)
        self._set_clock(START_MS)

    async def do(self, step: Step) -> None:
        """Does one step on both sides and compares them. Raises Difference."""
        if isinstance(step, Pass):
            self._set_clock(self._now_ms + step.milliseconds)
            return
        commands = step.commands if isinstance(step, Together) else (step,)
        said = await asyncio.gather(*(by_the_scripts(self._office, command) for command in commands))
        for place in execution_order([kind_of(*numbered) for numbered in enumerate(commands)]):
            answer = by_the_model(self._model, commands[place], self._now_ms)
            _compare(f"the answer to {commands[place]}", said[place], answer)
        found, wanted = self._reader.read(), expected(self._model)
        _compare(f"the entries of the streams after {step}", found.news, wanted.news)
        _compare(f"the events after {step}", found.events, wanted.events)
        _compare(f"the ends of the first holds after {step}", found.due, wanted.due)

    def _set_clock(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._redis.set(CLOCK_KEY, now_ms * 1000 + WITHIN_MS_US)


def kind_of(place: int, command: Command) -> Kind:
    """Commands of equal kinds share a call. Each creation or change of an event is a kind of its own."""
    match command:
        case Look() | LookBooking() | Due():
            return None
        case Create() | Change():
            return command.event_id, place
        case _:
            return command.event_id, (type(command), acting(command.user_id, command.caller_id))


def acting(user_id: str, caller_id: str | None) -> Acting | None:
    """The caller, if another one than the user; calls of each share a call of a script."""
    return None if caller_id in (None, user_id) else Acting(str(caller_id))


def by_the_scripts(office: BoxOffice, command: Command) -> Awaitable[Answer]:
    """Does the command with the scripts."""
    match command:
        case Book(event_id, user_id, quantity, key, caller_id):
            return office.book(event_id, user_id, quantity, key, acting(user_id, caller_id))
        case Cancel(event_id, user_id, quantity, key, caller_id, reason, payment_id):
            caller = acting(user_id, caller_id)
            return office.cancel(event_id, user_id, quantity, key, caller, reason, payment_id or "")
        case CheckOut(event_id, user_id, payment_id, key, caller_id):
            return office.check_out(event_id, user_id, key, acting(user_id, caller_id), payment_id)
        case Confirm(event_id, user_id, key, caller_id, payment_id, late):
            return office.confirm(event_id, user_id, key, acting(user_id, caller_id), payment_id or "", late)
        case Look(event_id):
            return office.get_event(event_id)
        case LookBooking(event_id, user_id):
            return office.get_booking(event_id, user_id)
        case Create(event_id, rules):
            return office.create(event_id, rules, ORGANIZER)
        case Change(event_id, changed):
            return office.change(event_id, changed, caller_id=ORGANIZER)
        case Due(shard):
            return office.events_to_expire(shard, "the only sweeper", SWEEPER_LEASE_MS, most=2)


def by_the_model(model: ReferenceBoxOffice, command: Command, now_ms: int) -> Answer:
    """Does the command with the reference model."""
    match command:
        case Book(event_id, user_id, quantity, key, caller_id):
            return model.book(event_id, user_id, quantity, key, caller_id, now_ms=now_ms)
        case Cancel(event_id, user_id, quantity, key, caller_id, reason, payment_id):
            return model.cancel(event_id, user_id, quantity, key, caller_id, reason, payment_id, now_ms=now_ms)
        case CheckOut(event_id, user_id, payment_id, key, caller_id):
            return model.check_out(event_id, user_id, payment_id, key, caller_id, now_ms=now_ms)
        case Confirm(event_id, user_id, key, caller_id, payment_id, late):
            return model.confirm(event_id, user_id, key, caller_id, payment_id, late, now_ms=now_ms)
        case Look(event_id):
            return model.get_event(event_id, now_ms=now_ms)
        case LookBooking(event_id, user_id):
            return model.get_booking(event_id, user_id, now_ms=now_ms)
        case Create(event_id, rules):
            return model.create(event_id, rules, ORGANIZER, now_ms=now_ms)
        case Change(event_id, changed):
            return model.change(event_id, changed, ORGANIZER, now_ms=now_ms)
        case Due(shard):
            sales = [sale for sale in model.sales.values() if keys.shard_of(sale.id, SHARDS) == shard]
            firsts = sorted((min(sale.hold_ends())[0], sale.id) for sale in sales if sale.hold_ends())
            return [event_id for end, event_id in firsts if end <= now_ms][:2]


def _compare(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Difference(f"{what}:\n  the scripts: {found}\n  the model:   {wanted}")
