"""Where a crowd's requests wait to be looked at, once a worker has taken on as many as it can answer.

Those who come in a burst get their turn a moment later. Whoever has waited as long as anybody should is turned away, a
few in each turn of the loop: that takes time, too, and a thousand at once would keep those who were taken on from their
answers for a long moment.
"""

import asyncio
from collections import deque
from typing import Protocol

from booking.web.admission import Admission

PATIENCE_SECONDS = 0.05
"""How long a request may wait here: with `WAIT_SECONDS_MAX` well below the 250 ms that an accepted one may take."""

A_TURN = 32
"""Requests that are looked at in one turn of the loop: about a millisecond's work."""

PAUSE_SECONDS = 0.005
"""Between two looks where nobody can be taken on or has waited for too long."""


class Waiting(Protocol):
    """A connection whose request has been read and not looked at."""

    def look_at_request(self, *, too_late: bool) -> None:
        """Begins with it, or turns it away."""


class Anteroom:
    """Belongs to one worker and its loop."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._waiting: deque[tuple[Waiting, float]] = deque()
        """Each with the time at which it has waited too long."""

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, connection: Waiting) -> None:
        """Has the connection's request looked at soon."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._take_turn)
        self._waiting.append((connection, loop.time() + PATIENCE_SECONDS))

    def _take_turn(self) -> None:
        waiting, loop = self._waiting, asyncio.get_running_loop()
        now, looks = loop.time(), 0
        try:
            while waiting and looks < A_TURN and not (self._admission.is_full and waiting[0][1] > now):
                looks += 1
                connection, end = waiting.popleft()
                connection.look_at_request(too_late=end <= now)
        finally:  # whatever comes of one request, the next ones have their turn
            if looks == A_TURN:
                loop.call_soon(self._take_turn)
            elif waiting:
                loop.call_later(PAUSE_SECONDS, self._take_turn)
