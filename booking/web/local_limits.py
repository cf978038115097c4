"""Rate limits in a worker's memory: a user's commands about all events together, and reads."""

import time
from collections.abc import Callable
from math import ceil

from starlette.types import Scope

from booking.inventory.box_office import RateLimit
from booking.web.password_limits import address_of
from booking.web.rate_limits import rate_limited

CALLERS_MAX = 50_000
"""Callers in one of the two dictionaries, of about 200 bytes each. With more, buckets are forgotten early."""

ALL_EVENTS_TIMES = 4
"""A user's commands about all events together may come at this many times the rate of one event (contract)."""


class LocalBuckets:
    """Token buckets by caller, in two dictionaries that take turns, like the rate limit's hashes in Redis.

    A bucket is the time at which it will be full again. A dictionary is written for as long as an empty bucket takes to
    fill, and read for as long again. So a bucket that is forgotten is full.
    """

    def __init__(self, limit: RateLimit | None, policy: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """If `limit` is None, there is no limit. `policy` is the bucket's name in the headers of a 429."""
        self._limit = limit
        self._policy = policy
        self._clock = clock
        self._interval = 0.0 if limit is None else 1 / limit.per_second
        self._span = 0.0 if limit is None else limit.burst * self._interval
        self._current: dict[str, float] = {}
        self._previous: dict[str, float] = {}
        self._turn_at = 0.0

    def charge(self, caller: str) -> None:
        """Takes a token from a caller's bucket. Raises Problem (429) if the bucket is empty."""
        if self._limit is None:
            return
        now = self._clock()
        if now >= self._turn_at or len(self._current) >= CALLERS_MAX:
            self._previous, self._current = self._current, {}
            self._turn_at = now + self._span
        full_at = self._current.get(caller) or self._previous.get(caller)
        if full_at is None or full_at < now:
            full_at = now
        elif (wait := full_at + self._interval - now - self._span) > 0.001:  # more than rounding
            raise rate_limited(self._policy, self._limit, ceil(1000 * wait))
        self._current[caller] = full_at + self._interval

    def __len__(self) -> int:
        return len(self._current) + len(self._previous)


def address_key(scope: Scope) -> str:
    """The bucket of a caller without credentials. No user id begins with a zero byte."""
    return f"\0{address_of(scope)}"
