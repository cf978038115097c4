"""The rate limit of the scripts against a bucket in plain Python: who is let in, and how long the others wait."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from redis import Redis

from booking.domain.model import Rules
from booking.domain.outcomes import Status
from booking.inventory import keys
from booking.inventory.batcher import CommandBatcher
from booking.inventory.box_office import BoxOffice, RateLimit
from tests.model.match import EPOCHS
from tests.model.order import Kind, as_they_are_run
from tests.model.told_clock import CLOCK_KEY, RewrittenLink, scripts_told_the_time

SEED = os.environ.get("BOOKING_MODEL_SEED", "1")
START_US = 1_800_000_000_000_000
LIMIT = RateLimit(burst=3, per_second=0.02)
ADDRESS_LIMIT = RateLimit(burst=2, per_second=0.025)
"""Slow, since the server forgets a bucket by its real clock, which must not come into this."""

PASSING_US = (10_000_001, 20_000_000, 50_000_000, 70_000_999, 200_000_000)
PEOPLE = ("ann", "bob")


@dataclass
class Bucket:
    """Starts full, holds `burst` calls, and fills by one call in each interval."""

    limit: RateLimit
    filled_us: int = 0
    looked_at_us: int = 0

    def take(self, now_us: int) -> int:
        """0 if the call is let in, else the milliseconds after which it would be, rounded up."""
        interval = self.limit.interval_us
        self.filled_us = min(self.limit.burst * interval, self.filled_us + now_us - self.looked_at_us)
        self.looked_at_us = now_us
        if self.filled_us < interval:
            return -((self.filled_us - interval) // 1000)
        self.filled_us -= interval
        return 0


@dataclass(frozen=True)
class ScriptCall:
    """One call by someone: a verb about an event, or something about an address, where the person stands for it."""

    verb: str
    person: str
    event_id: int

    @property
    def bucket(self) -> tuple[str, int]:
        """Whose bucket it is taken from: one for all verbs, for each user and event."""
        return (self.person, 0 if self.verb == "address" else self.event_id)

    @property
    def kind(self) -> Kind:
        """What it shares a call with."""
        return None if self.verb in ("charge", "address") else (self.event_id, self.verb)

    async def send(self, office: BoxOffice) -> int:
        """The milliseconds to wait, 0 for whoever was let in."""
        if self.verb == "charge":
            return await office.take_token(self.event_id, self.person)
        if self.verb == "address":
            return await office.take_address_token(self.person, ADDRESS_LIMIT)
        match self.verb:
            case "book":
                outcome = await office.book(self.event_id, self.person)
            case "cancel for another":
                outcome = await office.cancel(self.event_id, "someone", caller_id=self.person)
            case _:
                outcome = await office.confirm(self.event_id, self.person)
        assert (outcome.status is Status.RATE_LIMITED) == (outcome.wait_ms > 0)
        return outcome.wait_ms


verbs = st.sampled_from(("book", "book", "cancel for another", "confirm", "charge", "address"))
calls = st.builds(ScriptCall, verbs, st.sampled_from(PEOPLE), st.sampled_from((1, 1, 2)))
steps = st.lists(st.sampled_from(PASSING_US) | st.lists(calls, min_size=1, max_size=6), min_size=10, max_size=40)


class Gate:
    """A box office with a rate limit, one event that exists and one that does not."""

    def __init__(self, address: str) -> None:
        self.redis = Redis.from_url(address)
        self.runner = asyncio.Runner()
        self.office = self.runner.run(self._open(address))

    async def _open(self, address: str) -> BoxOffice:
        batcher = CommandBatcher(RewrittenLink(address, scripts_told_the_time()), queue_limit=100)
        return BoxOffice([batcher], EPOCHS, LIMIT, unsaved_limit=1_000_000)

    def close(self) -> None:
        self.runner.run(self.office.close())
        self.runner.close()
        self.redis.close()

    def play(self, drawn: list[int | list[ScriptCall]]) -> None:
        self.redis.flushall()
        for shard, epoch in enumerate(EPOCHS):
            self.redis.set(keys.epoch(shard), epoch)
        now_us = START_US
        self.redis.set(CLOCK_KEY, now_us)
        self.runner.run(self.office.create(1, Rules("A", 10)))
        buckets: dict[tuple[str, int], Bucket] = {}
        for step in drawn:
            if isinstance(step, int):
                now_us += step
                self.redis.set(CLOCK_KEY, now_us)
                continue
            waits = self.runner.run(self._send(step))
            for place in as_they_are_run([call.kind for call in step]):
                call = step[place]
                limit = ADDRESS_LIMIT if call.verb == "address" else LIMIT
                bucket = buckets.setdefault(call.bucket, Bucket(limit, limit.burst * limit.interval_us, now_us))
                assert waits[place] == bucket.take(now_us), call

    async def _send(self, together: list[ScriptCall]) -> list[int]:
        return await asyncio.gather(*(call.send(self.office) for call in together))


@pytest.fixture
def gate(clean_valkey: str) -> Iterator[Gate]:
    opened = Gate(clean_valkey)
    yield opened
    opened.close()


def test_every_call_is_let_in_or_told_how_long_to_wait_as_a_bucket_in_plain_python_says(gate: Gate) -> None:
    print(f"BOOKING_MODEL_SEED={SEED}")

    @seed(f"bucket:{SEED}")
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def play(drawn: list[int | list[ScriptCall]]) -> None:
        gate.play(drawn)

    play()
    everyone = [ScriptCall("book", "ann", 1)] * (LIMIT.burst + 1)
    gate.play([everyone])  # a whole burst comes at once, and one more does not
    assert gate.redis.exists(*keys.event_keys(1, len(EPOCHS))[-2:]) == 1
