"""The workload of one process: which call is next, and which must be repeated."""

import heapq
from collections.abc import Mapping
from random import Random
from time import perf_counter_ns
from typing import Any

import orjson

from booking.loadtest.calls import Call, Kind
from booking.loadtest.histogram import Histogram
from booking.loadtest.plan import Intent, Plan
from booking.loadtest.recorder import Recorder
from booking.loadtest.records import Seen
from booking.loadtest.wire import Requests, Response

ATTEMPTS_MAX = 8
"""The most attempts of one call."""

RETRY_AFTER_SECONDS_MAX = 2.0
"""A longer Retry-After is reduced to this, so that the load test ends in time."""

RETRY_SECONDS = 0.1
"""The wait without a Retry-After."""

DEFINITE_REFUSALS = frozenset({"inventory_unavailable", "overloaded", "rate_limited"})
"""Codes of 429 and 503 that promise that nothing was changed; after any other the outcome is unknown."""


class SaleWorkload:
    """All buyers of one process. Single-threaded; `recorder` keeps the responses."""

    def __init__(self, plan: Plan, intents: Mapping[int, Intent], tokens: Mapping[int, bytes]) -> None:
        self.recorder = Recorder(plan.tickets, intents)
        self.latencies = {kind: Histogram() for kind in Kind}
        self.in_flight = 0
        self.closed = False
        """Set when the time is up: no new calls start, and those in flight are completed."""
        self._plan = plan
        self._intents = intents
        self._tokens = tokens
        self._requests = Requests(plan)
        self._arrivals = list(intents)
        self._draw = Random(plan.seed)  # noqa: S311 - a reproducible sale, not a secret
        self._draw.shuffle(self._arrivals)
        self._arrivals.reverse()
        self._step = 0
        self._follow_ups: list[tuple[int, int, Call]] = []
        self._retries: list[tuple[int, int, Call]] = []
        self._order = 0
        self._again: int | None = None
        self._status_credit = 0.0

    def finished(self) -> bool:
        """Whether no call is in flight and none will follow."""
        if self.in_flight:
            return False
        return self.closed or not (self._arrivals or self._retries or self._follow_ups or self._again is not None)

    def read_back(self) -> None:
        """Starts the reads after the sale: every buyer who requested a booking reads it."""
        self.closed = False
        for _, _, call in self._retries:
            if call.unknown:
                self.recorder.mark_unknown(call)
        self._retries.clear()
        self._follow_ups.clear()
        self._again = None
        self._arrivals.clear()
        self._status_credit = 0.0
        for record in self.recorder.buyers.values():
            if record.seen & Seen.SENT:
                self._push(self._follow_ups, 0, Call(Kind.READ, record.index))

    def next(self, now_ns: int) -> Call | None:
        """The call to send now, or None. Retries go first, then the others in order."""
        if self.closed:
            return None
        if self._retries and self._retries[0][0] <= now_ns:
            return heapq.heappop(self._retries)[2]
        self._step += 1
        if self._again is not None:
            buyer, self._again = self._again, None
            return Call(Kind.AGAIN, buyer)
        if self._follow_ups and (not self._arrivals or self._follow_ups[0][0] <= self._step):
            return heapq.heappop(self._follow_ups)[2]
        if self._status_credit >= 1.0:
            self._status_credit -= 1.0
            call = Call(Kind.STATUS, 0)
            call.seq_floor = self.recorder.seq_seen
            return call
        if not self._arrivals:
            return None
        buyer = self._arrivals.pop()
        self._status_credit += self._plan.status_share
        if self._intents[buyer].again:
            self._again = buyer
        return Call(Kind.BOOK, buyer)

    def request(self, call: Call) -> bytes:
        """The request bytes of a call; counts an attempt."""
        call.attempts += 1
        if call.kind is Kind.STATUS:
            return self._requests.status()
        token = self._tokens[call.buyer]
        if call.kind is Kind.READ:
            return self._requests.read(token)
        record = self.recorder.buyers[call.buyer]
        key = b"%d-%d" % (call.kind, call.buyer) if self._plan.idempotent else None
        if call.kind is Kind.CANCEL:
            if not record.cancel_sent_ns:
                record.cancel_sent_ns = perf_counter_ns()
            return self._requests.cancel(token, key)
        if not record.sent_ns:
            record.sent_ns = perf_counter_ns()
            record.seen |= 1
        return self._requests.book(token, record.quantity, key)

    def answered(self, call: Call, response: Response, due_ns: int, sent_ns: int, now_ns: int) -> None:  # noqa: ARG002
        """Records a response, or schedules another attempt."""
        self.latencies[call.kind].record(now_ns - due_ns)
        status = response.status
        try:
            document: Any = orjson.loads(response.body)
            if status < 300:
                self.recorder.succeeded(call, status, document["data"], now_ns)
                self.recorder.count(call, str(status))
                self._schedule_cancel(call)
                return
            code = str(document["code"])
            known = status in (429, 503) or self.recorder.refused(call, status, code, document, now_ns)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            self.recorder.count(call, f"{status} unreadable")
            self.recorder.unexpected(call, f"{status} with a body that is not what the contract says")
            return
        self.recorder.count(call, f"{status} {code}")
        if not known:
            self.recorder.unexpected(call, f"{status} {code}")
        elif status in (429, 503):
            wait = response.header(b"retry-after")
            seconds = min(float(wait), RETRY_AFTER_SECONDS_MAX) if wait and wait.isdigit() else RETRY_SECONDS
            self._retry_later(call, unknown=code not in DEFINITE_REFUSALS, seconds=seconds, now_ns=now_ns)

    def lost(self, call: Call, why: str, now_ns: int) -> None:
        """Handles a lost connection or a timeout of a call in flight, which may have succeeded."""
        self.recorder.count(call, why)
        self._retry_later(call, unknown=True, seconds=RETRY_SECONDS, now_ns=now_ns)

    def _retry_later(self, call: Call, *, unknown: bool, seconds: float, now_ns: int) -> None:
        reads = call.kind in (Kind.STATUS, Kind.READ)
        call.unknown = call.unknown or (unknown and not reads)
        # Without a key, a second attempt could book twice if the first one succeeded. The read after the sale decides.
        again = reads or not unknown or self._plan.idempotent
        if again and call.attempts < ATTEMPTS_MAX and not self.closed:
            self._push(self._retries, now_ns + int(seconds * 1e9), call)
        elif call.unknown:
            self.recorder.mark_unknown(call)

    def _schedule_cancel(self, call: Call) -> None:
        """Schedules the cancel of a buyer who will cancel, at a random time until the last buyer has booked."""
        if call.kind is Kind.BOOK and self._intents[call.buyer].cancels:
            delay = self._draw.randint(1, max(1, len(self._arrivals)))
            self._push(self._follow_ups, self._step + delay, Call(Kind.CANCEL, call.buyer))

    def _push(self, heap: list[tuple[int, int, Call]], when: int, call: Call) -> None:
        self._order += 1
        heapq.heappush(heap, (when, self._order, call))
