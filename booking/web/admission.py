"""How many requests a worker takes on at a time: as many as it can answer soon. The others are told so at once.

A queue that is only bounded by its length is as slow as it is long. This bound follows from what the worker has just
been seen to do: where the n-th at a time has waited twice as long as anybody should, n / 2 is what it can carry. A
burst may make a queue; only one that stands is a sign of too many (CoDel, RFC 8289, tells the two apart so).
"""

from urllib.parse import unquote_to_bytes

import httptools
import structlog

from booking.metrics import Meters
from booking.web.refusal import Refusal

WAIT_SECONDS_MAX = 0.08
"""How long a request that was taken on may be under way. With what it may have waited before that, and with others on
the processor, this keeps the p99 of what is accepted below the 250 ms that it may be when ten times too many come:
187 to 227 ms of `scripts/overload`, against 287 with 0.1."""

STANDING_SECONDS = 0.5
"""How long every answer has to have come late before the limit follows from it."""

LIMIT_AT_FIRST = 1_024
"""Requests that may be under way in one worker before there is too much: a burst as large as that is served whole, in
a fifth of a second. Twice as many would take longer than an accepted one may."""

LIMIT_MIN = 32
"""So many are always taken on; Redis works best with several at a time."""

LIMIT_MAX = 4_096

CUT_MAX = 4
"""One cut leaves at least this part: a moment's standstill tells little."""

GROWTH = 1 / 128
"""By how much the limit grows with each answer that came in time while it was needed: some 50 a second. Where it grows
by hundreds, it is past what can be carried before the first answer comes late."""

VERBS = frozenset((b"/book", b"/cancel", b"/confirm"))
"""The calls that a crowd makes, beside readings of an event or of one's own booking."""

EVENTS = b"/events/"

CROWD = (b"POST /book ", b"POST /cancel ", b"POST /confirm ", b"GET /status/", b"GET /events/")
"""How such requests begin."""


def is_quick(url: bytes) -> bool:
    """Whether a request is counted, and turned away when there are too many: what a crowd sends, and is answered with
    one step in Redis. Everything else has bounds of its own: passwords, listeners, the database's connections.

    Raises httptools.HttpParserInvalidURLError.
    """
    path = url.partition(b"?")[0]
    if path in VERBS:
        return True
    # As nobody spells it who does not want to be let through.
    if b"%" in path or b"#" in path or not path.startswith(b"/"):
        path = unquote_to_bytes(httptools.parse_url(path).path)
    return (
        path in VERBS
        or path.startswith(b"/status/")
        or (path.startswith(EVENTS) and (path.endswith(b"/booking") or path[len(EVENTS) :].isdigit()))
    )


class Admission:
    """Belongs to one worker. Costs a request some hundred nanoseconds."""

    __slots__ = ("_cut_at", "_late_since", "_sheds_told", "in_flight", "limit", "refusal", "sheds")

    def __init__(self, refusal: Refusal | None = None) -> None:
        self.in_flight = 0
        """Requests that were taken on and are not answered yet."""
        self.limit: float = LIMIT_AT_FIRST
        """As many as may be."""
        self.sheds = 0
        """Requests that were turned away."""
        self.refusal = Refusal("overloaded") if refusal is None else refusal
        self._sheds_told = 0
        self._cut_at = 0.0
        self._late_since = 0.0
        """Since when no answer has come in time; 0: the last one has."""

    @property
    def is_full(self) -> bool:
        """Whether the next one is to be turned away."""
        return self.in_flight >= self.limit

    def answered(self, place: int, began: float, now: float) -> None:
        """What was the `place`-th request under way has its answer; it `began` then, by the loop's clock in seconds."""
        self.in_flight -= 1
        waited = now - began
        if waited <= WAIT_SECONDS_MAX:
            self._late_since = 0.0
            if 2 * place > self.limit and self.limit < LIMIT_MAX:
                self.limit += GROWTH
        elif not self._late_since:
            self._late_since = now
        # Once for all that were under way together: what a cut does is seen in those that come after it.
        elif now - self._late_since > STANDING_SECONDS and began >= self._cut_at:
            self._cut_at = now
            affordable = place * WAIT_SECONDS_MAX / waited
            self.limit = max(LIMIT_MIN, min(self.limit, max(affordable, self.limit / CUT_MAX)))

    def gone(self) -> None:
        """A client that was taken on has left without an answer, or leaves what it gets unread."""
        self.in_flight -= 1

    def hand_over(self, meters: Meters) -> None:
        """Counts in what was turned away since the last time, once a second; a calm second forgets what a crowd was."""
        sheds, self._sheds_told = self.sheds - self._sheds_told, self.sheds
        if not sheds:
            self.limit = max(self.limit, min(2 * self.limit, LIMIT_AT_FIRST))
            return
        meters.count("booking_sheds_total", by=sheds)
        structlog.get_logger().warning("requests were turned away", requests=sheds, at_a_time=int(self.limit))
