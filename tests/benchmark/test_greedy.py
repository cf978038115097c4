"""Greedy clients on each kind of endpoint: each is answered, most of them with 429, and what they leave is bounded."""

from pathlib import Path

from scripts.benchmark import greedy

LIMITED = {"book", "cancel", "confirm", "book unknown events", "own bookings", "own booking", "events", "event",
           "wrong password"}  # fmt: skip
"""Kinds of endpoint whose callers are limited."""


TIGHT = {
    "BOOKING_RATE_LIMIT_BURST": "2",
    "BOOKING_RATE_LIMIT_PER_SECOND": "0.1",
    "BOOKING_READ_RATE_LIMIT_BURST": "2",
    "BOOKING_READ_RATE_LIMIT_PER_SECOND": "0.1",
    "BOOKING_AUTH_RATE_LIMIT_PER_MINUTE": "5",
}
"""Limits that a client exceeds in seconds even if the machine is busy. A buyer calls once."""


def test_greedy_clients_are_limited_and_keep_no_buyer_from_buying(tmp_path: Path) -> None:
    outcome = greedy.run(tmp_path, seconds=6, rate=20, connections=2, together=True, settings=TIGHT)
    beside = outcome.beside[greedy.TOGETHER]
    assert beside.faults == []
    assert beside.accepted > 0
    silent = [
        kind for kind, answers in outcome.answers.items() if not sum(answers[status] for status in range(200, 504))
    ]
    assert set(silent) <= {"report", "audit"}, "these two read all of an event, one at a time"
    assert {status for answers in outcome.answers.values() for status in answers if status >= 500} <= {503}
    assert {kind for kind, answers in outcome.answers.items() if answers[429]} >= LIMITED
    assert outcome.growth("redis") < greedy.REDIS_GROWTH_BYTES_MAX
    assert outcome.growth("worker") < greedy.WORKER_GROWTH_BYTES_MAX
