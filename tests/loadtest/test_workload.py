"""How a buyer interprets an answer."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from booking.loadtest.calls import Call, Kind
from booking.loadtest.records import Fault, Seen
from booking.loadtest.wire import Response
from booking.loadtest.workload import RETRY_AFTER_SECONDS_MAX, SaleWorkload
from tests.loadtest.sale import PLAN, workload_of

BOOKING = {"id": "1-7", "status": "confirmed", "quantity": 1}


@pytest.fixture
def workload() -> SaleWorkload:
    """One buyer, who neither cancels nor repeats a call."""
    return workload_of(replace(PLAN, buyers=1, event_id=1, url="http://127.0.0.1:1", cancel_share=0.0))


def answer_of(status: int, body: bytes, head: bytes = b"") -> Response:
    return Response(status, head + b"\r\n\r\n" + body, len(head))


def asked(workload: SaleWorkload, kind: Kind = Kind.BOOK) -> Call:
    call = Call(kind, 0)
    workload.request(call)
    return call


def answered(workload: SaleWorkload, status: int, document: Any, kind: Kind = Kind.BOOK, head: bytes = b"") -> Call:
    call = asked(workload, kind)
    workload.answered(call, answer_of(status, orjson.dumps(document), head), 0, 0, 1_000)
    return call


def test_already_booked_may_name_the_booking_of_an_unknown_outcome(workload: SaleWorkload) -> None:
    workload.lost(asked(workload), "connection lost", 5)
    answered(workload, 409, {"code": "already_booked", "data": {"booking": BOOKING}}, Kind.AGAIN)
    assert workload.recorder.buyers[0].number == 7
    assert workload.recorder.buyers[0].seen == Seen.SENT | Seen.UNKNOWN | Seen.TAKEN
    assert workload.recorder.findings.examples == {}


def test_already_booked_need_not_name_the_booking(workload: SaleWorkload) -> None:
    answered(workload, 409, {"code": "already_booked", "data": None})
    assert workload.recorder.buyers[0].seen == Seen.SENT | Seen.TAKEN


def test_two_bookings_of_one_buyer_are_a_fault(workload: SaleWorkload) -> None:
    answered(workload, 202, {"data": BOOKING})
    answered(workload, 202, {"data": BOOKING}, Kind.AGAIN)
    assert workload.recorder.findings.examples == {}
    answered(workload, 202, {"data": {**BOOKING, "id": "1-8"}}, Kind.AGAIN)
    assert workload.recorder.findings.counts == {Fault.DOUBLE_BOOKED: 1}


def test_a_cancel_without_a_booking_shows_a_lost_booking(workload: SaleWorkload) -> None:
    answered(workload, 201, {"data": BOOKING})
    answered(workload, 404, {"code": "booking_not_found"}, Kind.CANCEL)
    assert workload.recorder.findings.counts == {Fault.LOST: 1}


def test_a_cancel_without_a_booking_after_an_interrupted_one_shows_nothing() -> None:
    plan = replace(PLAN, buyers=1, event_id=1, url="http://127.0.0.1:1", idempotent=True)
    workload = workload_of(plan)
    answered(workload, 201, {"data": BOOKING})
    call = asked(workload, Kind.CANCEL)
    workload.lost(call, "connection lost", 0)
    assert workload.next(10**12) is call
    workload.answered(call, answer_of(404, b'{"code": "booking_not_found"}'), 0, 0, 1_000)
    assert workload.recorder.findings.examples == {}
    assert workload.recorder.buyers[0].may_be_gone


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
def test_an_answer_outside_the_contract_is_unexpected(
    workload: SaleWorkload, status: int, document: Any, kind: Kind
) -> None:
    answered(workload, status, document, kind)
    assert workload.recorder.findings.counts == {Fault.UNEXPECTED: 1}


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [(b"1", 1.0), (b"3600", RETRY_AFTER_SECONDS_MAX), (b"Wed, 21 Oct 2026 07:28:00 GMT", 0.1), (None, 0.1)],
)
def test_a_refused_call_waits_for_its_retry_after_within_bounds(
    workload: SaleWorkload, retry_after: bytes | None, seconds: float
) -> None:
    head = b"" if retry_after is None else b"http/1.1 503 x\r\nretry-after: " + retry_after
    workload.next(0)
    call = answered(workload, 503, {"code": "overloaded"}, head=head)
    due_ns = 1_000 + int(seconds * 1e9)
    assert workload.next(due_ns - 1) is None
    assert not workload.finished()
    assert workload.next(due_ns) is call


def test_a_status_read_older_than_an_acknowledged_change_is_found(workload: SaleWorkload) -> None:
    answered(workload, 201, {"data": BOOKING})
    call = Call(Kind.STATUS, 0)
    call.seq_floor = 7
    event = {"capacity": 60, "available_tickets": 59, "tickets_held": 0, "tickets_sold": 1, "seq": 6}
    workload.answered(call, answer_of(200, orjson.dumps({"data": event})), 0, 0, 1_000)
    assert workload.recorder.findings.counts == {Fault.DISAGREEMENT: 1}


def test_a_call_that_awaits_a_retry_at_the_end_has_an_unknown_outcome() -> None:
    workload = workload_of(replace(PLAN, buyers=1, event_id=1, url="http://127.0.0.1:1", idempotent=True))
    workload.lost(asked(workload), "connection lost", 0)
    workload.read_back()
    assert workload.recorder.buyers[0].seen == Seen.SENT | Seen.UNKNOWN
