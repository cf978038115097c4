"""Rate limits in a worker's memory: a token bucket for each caller, and bounded memory."""

import random
import tracemalloc

import pytest

from booking.inventory.box_office import RateLimit
from booking.web import local_limits
from booking.web.local_limits import LocalBuckets
from booking.web.problems import Problem

LIMIT = RateLimit(burst=5, per_second=2.0)


class Clock:
    """A monotonic clock that the test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def passes(buckets: LocalBuckets, caller: str = "ann") -> bool:
    try:
        buckets.charge(caller)
    except Problem:
        return False
    return True


def test_a_caller_gets_what_a_token_bucket_gives_at_random_times() -> None:
    clock, chance = Clock(), random.Random(1)
    buckets = LocalBuckets(LIMIT, "test", clock=clock)
    tokens, looked_at = dict.fromkeys(("ann", "bob"), 5.0), dict.fromkeys(("ann", "bob"), clock.now)
    refused = 0
    for _ in range(5_000):
        clock.now += chance.choice((0.0, 0.0, 0.25, 0.5, 1.0, 3.0))  # exact in binary
        caller = chance.choice(("ann", "ann", "bob"))
        tokens[caller] = min(5.0, tokens[caller] + LIMIT.per_second * (clock.now - looked_at[caller]))
        looked_at[caller] = clock.now
        passed = tokens[caller] >= 1
        assert passes(buckets, caller) == passed
        tokens[caller] -= passed
        refused += not passed
    assert refused > 20


def test_a_refusal_says_when_to_come_back_and_the_call_passes_then() -> None:
    clock = Clock()
    buckets = LocalBuckets(RateLimit(1, 0.1), "test", clock=clock)
    buckets.charge("ann")
    with pytest.raises(Problem) as refused:
        buckets.charge("ann")
    headers = dict(refused.value.headers)
    assert headers[b"retry-after"] == b"10"
    assert headers[b"ratelimit-policy"] == b'"test";q=1;w=10'
    clock.now += 10
    assert passes(buckets)


def test_without_a_limit_every_call_passes_and_nothing_is_stored() -> None:
    buckets = LocalBuckets(None, "test")
    assert all(passes(buckets) for _ in range(100))
    assert len(buckets) == 0


def test_callers_beyond_the_most_and_idle_ones_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_limits, "CALLERS_MAX", 1_000)
    clock = Clock()
    buckets = LocalBuckets(LIMIT, "test", clock=clock)
    tracemalloc.start()
    for number in range(20_000):
        buckets.charge(f"{number:0128}")
        assert len(buckets) <= 2_000
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 2_000 * 500
    clock.now += 100
    buckets.charge("ann")
    clock.now += 100
    buckets.charge("ann")
    assert len(buckets) <= 2
