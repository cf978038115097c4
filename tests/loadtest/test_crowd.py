"""What an answer means to the buyer who asked."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from booking.loadtest.calls import Call, Kind
from booking.loadtest.crowd import RETRY_AFTER_SECONDS_MAX, Crowd
from booking.loadtest.records import Fault, Seen
from booking.loadtest.wire import Answer
from tests.loadtest.sale import PLAN, crowd_of

BOOKING = {"id": "1-7", "status": "confirmed", "quantity": 1}


@pytest.fixture
def crowd() -> Crowd:
    """One buyer, who neither cancels nor asks twice."""
    return crowd_of(replace(PLAN, buyers=1, event_id=1, url="http://127.0.0.1:1", cancel_share=0.0))


def asked(crowd: Crowd, kind: Kind = Kind.BOOK) -> Call:
    call = Call(kind, 0)
    crowd.request(call)
    return call


def answered(crowd: Crowd, status: int, document: Any, kind: Kind = Kind.BOOK, head: bytes = b"") -> Call:
    call = asked(crowd, kind)
    crowd.answered(call, Answer(status, head, orjson.dumps(document)), 1_000)
    return call


def test_already_booked_names_the_booking_that_an_unknown_outcome_left(crowd: Crowd) -> None:
    crowd.lost(asked(crowd), "connection lost", 5)
    answered(crowd, 409, {"code": "already_booked", "data": {"booking": BOOKING}}, Kind.AGAIN)
    assert crowd.notes.buyers[0].number == 7
    assert crowd.notes.buyers[0].seen == Seen.SENT | Seen.UNKNOWN | Seen.TAKEN
    assert crowd.notes.findings.examples == {}


def test_already_booked_need_not_name_the_booking(crowd: Crowd) -> None:
    answered(crowd, 409, {"code": "already_booked", "data": None})
    assert crowd.notes.buyers[0].seen == Seen.SENT | Seen.TAKEN


def test_two_bookings_for_one_buyer_are_one_too_many(crowd: Crowd) -> None:
    answered(crowd, 202, {"data": BOOKING})
    answered(crowd, 202, {"data": BOOKING}, Kind.AGAIN)
    assert crowd.notes.findings.examples == {}
    answered(crowd, 202, {"data": {**BOOKING, "id": "1-8"}}, Kind.AGAIN)
    assert crowd.notes.findings.counts == {Fault.DOUBLE_BOOKED: 1}


def test_a_cancel_that_finds_nothing_shows_a_lost_booking(crowd: Crowd) -> None:
    answered(crowd, 201, {"data": BOOKING})
    answered(crowd, 404, {"code": "booking_not_found"}, Kind.CANCEL)
    assert crowd.notes.findings.counts == {Fault.LOST: 1}


def test_a_cancel_that_finds_nothing_after_one_that_was_cut_off_shows_nothing() -> None:
    plan = replace(PLAN, buyers=1, event_id=1, url="http://127.0.0.1:1", idempotent=True)
    crowd = crowd_of(plan)
    answered(crowd, 201, {"data": BOOKING})
    call = asked(crowd, Kind.CANCEL)
    crowd.lost(call, "connection lost", 0)
    assert crowd.next(10**12) is call
    crowd.answered(call, Answer(404, b"", b'{"code": "booking_not_found"}'), 1_000)
    assert crowd.notes.findings.examples == {}
    assert crowd.notes.buyers[0].may_be_gone


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (200, {"data": BOOKING}, Kind.BOOK),
        (201, {"data": {"id": "seven"}}, Kind.BOOK),
        (201, {"data": []}, Kind.BOOK),
        (201, [], Kind.BOOK),
        (403, {"code": "sale_closed"}, Kind.BOOK),
        (404, {"code": "booking_not_found"}, Kind.BOOK),
        (404, {"code": "event_not_found"}, Kind.STATUS),
        (401, {"code": "unauthenticated"}, Kind.CANCEL),
        (500, {"oh": "no"}, Kind.READ),
        (200, {"data": {**BOOKING, "status": "sold"}}, Kind.READ),
    ],
)
def test_an_answer_that_nobody_should_get_is_unexpected(crowd: Crowd, status: int, document: Any, kind: Kind) -> None:
    answered(crowd, status, document, kind)
    assert crowd.notes.findings.counts == {Fault.UNEXPECTED: 1}


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [(b"1", 1.0), (b"3600", RETRY_AFTER_SECONDS_MAX), (b"Wed, 21 Oct 2026 07:28:00 GMT", 0.1), (None, 0.1)],
)
def test_a_refused_call_waits_as_long_as_it_was_told_within_bounds(
    crowd: Crowd, retry_after: bytes | None, seconds: float
) -> None:
    head = b"" if retry_after is None else b"http/1.1 503 x\r\nretry-after: " + retry_after
    crowd.next(0)
    call = answered(crowd, 503, {"code": "overloaded"}, head=head)
    due_ns = 1_000 + int(seconds * 1e9)
    assert crowd.next(due_ns - 1) is None
    assert not crowd.finished()
    assert crowd.next(due_ns) is call


def test_a_status_read_that_is_behind_an_acknowledged_change_shows(crowd: Crowd) -> None:
    answered(crowd, 201, {"data": BOOKING})
    call = Call(Kind.STATUS, 0)
    call.seq_floor = 7
    event = {"capacity": 60, "available_tickets": 59, "tickets_held": 0, "tickets_sold": 1, "seq": 6}
    crowd.answered(call, Answer(200, b"", orjson.dumps({"data": event})), 1_000)
    assert crowd.notes.findings.counts == {Fault.DISAGREEMENT: 1}


def test_a_call_still_to_be_repeated_at_the_end_is_of_unknown_outcome() -> None:
    crowd = crowd_of(replace(PLAN, buyers=1, event_id=1, url="http://127.0.0.1:1", idempotent=True))
    crowd.lost(asked(crowd), "connection lost", 0)
    crowd.read_back()
    assert crowd.notes.buyers[0].seen == Seen.SENT | Seen.UNKNOWN
