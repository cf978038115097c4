"""Which requests a worker takes on now, which wait for a slot, and which it turns away.

The limit of requests under way follows from one measurement: how long commands wait in front of Redis. A queue that is
bounded by its length alone is as slow as it is long, and how long requests take says little: a quick 401 hides a queue
that stands. A burst may make a queue; only a delay that stays above its target is overload (CoDel, RFC 8289).
"""

import asyncio
from collections import deque
from typing import Protocol

DELAY_SECONDS_TARGET = 0.04
"""How long the oldest command of a batch may have waited for it."""

STANDING_SECONDS = 0.5
"""How long every batch has to be late before the limit is cut, and the least time between two cuts."""

LIMIT_AT_FIRST = 1_024
"""Requests that may be under way in one worker: a burst of this size is served whole, in a fifth of a second."""

LIMIT_MIN = 32
"""The limit is never lower. Redis works best with several commands in a call."""

LIMIT_MAX = 4_096

CUT_MAX = 4
"""One cut leaves at least this part of the limit: one standstill says little."""

GROWTH = 1 / 128
"""How much the limit grows for each command that was sent in time while the limit was needed: some 50 a second."""

SLOT_WAIT_SECONDS_MAX = 0.05
"""How long a request waits for a slot before it is turned away."""

REJECTIONS_A_TURN = 32
"""Requests that are turned away in one turn of the event loop: about a millisecond of work."""

TURN_SECONDS = 0.005
"""The time between two looks at those who wait."""


class Waiter(Protocol):
    """A whole request that has no slot yet."""

    gone: bool
    """Whether its client has left."""

    def start(self) -> None:
        """Runs it. It holds a slot until `LoadShedder.release`."""

    def turn_away(self) -> None:
        """Answers it with the rejection `overloaded`."""


class LoadShedder:
    """Slots for the requests of one worker, and the requests that wait for one. Belongs to one event loop."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Requests that hold a slot."""
        self.limit: float = LIMIT_AT_FIRST
        """How many may."""
        self.turned_away = 0
        """Requests that were turned away since the worker started."""
        self._waiting: deque[tuple[float, Waiter]] = deque()
        """Each with the loop's time at which it has waited for too long; oldest first."""
        self._is_scheduled = False
        self._late_since: float | None = None
        """Since when every batch has been late."""
        self._cut_at = 0.0
        self._turned_away_before = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def admit(self, waiter: Waiter) -> bool:
        """Whether the request may start now, and holds a slot. If not, it waits: it is started or turned away later."""
        if self.in_flight < self.limit and not self._waiting:
            self.in_flight += 1
            return True
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + SLOT_WAIT_SECONDS_MAX, waiter))
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_later(TURN_SECONDS, self._look)
        return False

    def release(self) -> None:
        """A request gives its slot back: it is answered, or its client has left, or leaves the response unread."""
        self.in_flight -= 1
        if self._waiting:
            self._fill()

    def observe_delay(self, seconds: float, commands: int) -> None:
        """A batch was sent: so long did the oldest of its commands wait for it."""
        now = asyncio.get_running_loop().time()
        if seconds <= DELAY_SECONDS_TARGET:
            self._late_since = None
            if 2 * self.in_flight > self.limit:
                self.limit = min(LIMIT_MAX, self.limit + commands * GROWTH)
        elif self._late_since is None:
            self._late_since = now
        elif min(now - self._late_since, now - self._cut_at) > STANDING_SECONDS:
            self._cut_at = now
            affordable = self.in_flight * DELAY_SECONDS_TARGET / seconds
            self.limit = max(LIMIT_MIN, min(self.limit, max(affordable, self.limit / CUT_MAX)))

    def relax(self) -> int:
        """To be called once a second: returns the requests turned away since the last call.

        A second without any doubles a limit that was cut, up to what it was at first.
        """
        turned_away, self._turned_away_before = self.turned_away - self._turned_away_before, self.turned_away
        if not turned_away:
            self.limit = max(self.limit, min(2 * self.limit, LIMIT_AT_FIRST))
        return turned_away

    def _fill(self) -> None:
        while self._waiting and self.in_flight < self.limit:
            _, waiter = self._waiting.popleft()
            if not waiter.gone:
                self.in_flight += 1
                waiter.start()

    def _look(self) -> None:
        """Starts what fits, and turns away those who have waited for too long: a few in each turn of the loop."""
        loop = asyncio.get_running_loop()
        self._is_scheduled = True
        try:
            self._fill()
            now, left = loop.time(), REJECTIONS_A_TURN
            while self._waiting and left and self._waiting[0][0] <= now:
                left -= 1
                _, waiter = self._waiting.popleft()
                if not waiter.gone:
                    self.turned_away += 1
                    waiter.turn_away()
        finally:  # one failure does not keep the others waiting for ever
            self._is_scheduled = bool(self._waiting)
            if self._waiting:
                is_overdue = self._waiting[0][0] <= loop.time()
                loop.call_later(0 if is_overdue else TURN_SECONDS, self._look)
