"""Compares the scripts' rate limit with a token bucket in plain Python: which calls pass, and how long others wait."""

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
from booking.inventory.box_office import Acting, BoxOffice, RateLimit
from tests.fixtures.stock import one_server
from tests.model.match import EPOCHS
from tests.model.order import Kind, execution_order
from tests.model.settable_clock import CLOCK_KEY, RewrittenConnection, scripts_with_settable_clock

SEED = os.environ.get("BOOKING_MODEL_SEED", "1")
START_US = 1_800_000_000_000_000
LIMIT = RateLimit(burst=3, per_second=0.02)
ADDRESS_LIMIT = RateLimit(burst=2, per_second=0.025)
"""A slow rate, because the server expires a bucket by its real clock, which must not affect this test."""

PASSING_US = (10_000_001, 20_000_000, 50_000_000, 70_000_999, 200_000_000)
PEOPLE = ("ann", "bob")


@dataclass
class Bucket:
    """A token bucket. It starts full with `burst` tokens and gains one token in each interval."""

    limit: RateLimit
    filled_us: int = 0
    looked_at_us: int = 0

    def take(self, now_us: int) -> int:
        """Takes a token. Returns 0, or the milliseconds until there is one, rounded up."""
        interval = self.limit.interval_us
        self.filled_us = min(self.limit.burst * interval, self.filled_us + now_us - self.looked_at_us)
        self.looked_at_us = now_us
        if self.filled_us < interval:
            return -((self.filled_us - interval) // 1000)
        self.filled_us -= interval
        return 0


@dataclass(frozen=True)
class ScriptCall:
    """One call of a user: a command about an event, or a check of an address, which the user's name then stands for."""

    verb: str
    person: str
    event_id: int

    @property
    def bucket(self) -> tuple[str, int]:
        """The bucket of this call. All commands of one user about one event share it."""
        return (self.person, 0 if self.verb == "address" else self.event_id)

    @property
    def kind(self) -> Kind:
        """Calls of equal kinds share a script call."""
        return None if self.verb in ("charge", "address") else (self.event_id, self.verb)

    async def send(self, office: BoxOffice) -> int:
        """Sends the call. Returns the milliseconds to wait, or 0 if it passed."""
        if self.verb == "charge":
            return await office.take_token(self.event_id, self.person)
        if self.verb == "address":
            return await office.take_address_token(self.person, ADDRESS_LIMIT)
        match self.verb:
            case "book":
                outcome = await office.book(self.event_id, self.person)
            case "cancel for another":
                outcome = await office.cancel(self.event_id, "someone", acting=Acting(self.person))
            case _:
                outcome = await office.confirm(self.event_id, self.person)
        assert (outcome.status is Status.RATE_LIMITED) == (outcome.wait_ms > 0)
        return outcome.wait_ms


verbs = st.sampled_from(("book", "book", "cancel for another", "confirm", "charge", "address"))
calls = st.builds(ScriptCall, verbs, st.sampled_from(PEOPLE), st.sampled_from((1, 1, 2)))
steps = st.lists(st.sampled_from(PASSING_US) | st.lists(calls, min_size=1, max_size=6), min_size=10, max_size=40)


class LimitedOffice:
    """A box office with a rate limit, an existing event and an unknown one."""

    def __init__(self, address: str) -> None:
        self.redis = Redis.from_url(address)
        self.runner = asyncio.Runner()
        self.office = self.runner.run(self._open(address))

    async def _open(self, address: str) -> BoxOffice:
        batchers = one_server(address, RewrittenConnection(address, scripts_with_settable_clock()), queue_limit=100)
        return BoxOffice(batchers, EPOCHS, LIMIT, unsaved_limit=1_000_000)

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
            for place in execution_order([call.kind for call in step]):
                call = step[place]
                limit = ADDRESS_LIMIT if call.verb == "address" else LIMIT
                bucket = buckets.setdefault(call.bucket, Bucket(limit, limit.burst * limit.interval_us, now_us))
                assert waits[place] == bucket.take(now_us), call

    async def _send(self, together: list[ScriptCall]) -> list[int]:
        return await asyncio.gather(*(call.send(self.office) for call in together))


@pytest.fixture
def limited(clean_valkey: str) -> Iterator[LimitedOffice]:
    opened = LimitedOffice(clean_valkey)
    yield opened
    opened.close()


def test_every_call_passes_or_waits_as_a_token_bucket_in_python_says(limited: LimitedOffice) -> None:
    print(f"BOOKING_MODEL_SEED={SEED}")

    @seed(f"bucket:{SEED}")
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def play(drawn: list[int | list[ScriptCall]]) -> None:
        limited.play(drawn)

    play()
    everyone = [ScriptCall("book", "ann", 1)] * (LIMIT.burst + 1)
    limited.play([everyone])  # a whole burst passes at once, and one more call does not
    assert limited.redis.exists(*keys.event_keys(1, len(EPOCHS))[7:9]) == 1
