"""The verdict has exactly the faults that the records prove."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from booking.loadtest.records import BuyerRecord, Fault, Findings, Found, Seen, Verdict
from booking.loadtest.verdict import judge

SENT, BOOKED, JOINED = Seen.SENT, Seen.BOOKED, Seen.JOINED

# Two tickets. 1 and 2 have them, 3 and 4 wait; each got an answer before the next one's request.
ONE = BuyerRecord(1, 1, SENT | BOOKED, 2, 10, 11, 0, Found.CONFIRMED, 2, 1)
TWO = BuyerRecord(2, 1, SENT | BOOKED, 3, 20, 21, 0, Found.CONFIRMED, 3, 1)
THREE = BuyerRecord(3, 1, SENT | JOINED, 4, 30, 31, 0, Found.WAITING, 4, 1, 1)
FOUR = BuyerRecord(4, 1, SENT | JOINED, 5, 40, 41, 0, Found.WAITING, 5, 1, 2)
EVENT = {
    "capacity": 2,
    "available_tickets": 0,
    "tickets_held": 0,
    "tickets_sold": 2,
    "bookings_count": 2,
    "waiting_list_count": 2,
    "seq": 5,
}


def found(*records: BuyerRecord, tickets: int = 2, **event: Any) -> dict[Fault, list[str]]:
    return judge(tickets, records, {**EVENT, **event}).examples


def test_a_correct_sale_is_clean() -> None:
    assert found(ONE, TWO, THREE, FOUR) == {}


def test_the_order_of_the_records_does_not_matter() -> None:
    assert found(FOUR, TWO, THREE, ONE) == {}


@pytest.mark.parametrize(
    ("fault", "records"),
    [
        (Fault.UNSETTLED, (replace(ONE, found=Found.UNREAD), TWO, THREE, FOUR)),
        (Fault.LOST, (replace(ONE, found=Found.ABSENT, found_number=0), TWO, THREE, FOUR)),
        (Fault.LOST, (ONE, TWO, replace(THREE, found=Found.ABSENT, found_number=0), FOUR)),
        (Fault.LOST, (replace(ONE, seen=SENT | BOOKED | Seen.CANCELLED), TWO, THREE, FOUR)),
        (Fault.LOST, (ONE, replace(TWO, found=Found.WAITING, found_position=1), THREE, FOUR)),
        (Fault.LOST, (replace(ONE, seen=SENT | Seen.TAKEN, found=Found.ABSENT, found_number=0), TWO, THREE, FOUR)),
        (Fault.DOUBLE_BOOKED, (replace(ONE, found_number=9), TWO, THREE, FOUR)),
        (Fault.DOUBLE_BOOKED, (ONE, replace(TWO, number=2, found_number=2), THREE, FOUR)),
        (Fault.DISAGREEMENT, (replace(ONE, seen=SENT, number=0), TWO, THREE, FOUR)),
        (Fault.DISAGREEMENT, (replace(ONE, found_quantity=2), TWO, THREE, FOUR)),
        (Fault.OVERSOLD, (ONE, TWO, replace(THREE, found=Found.CONFIRMED), FOUR)),
        (Fault.OVERSOLD, (ONE, TWO, replace(THREE, seen=SENT | BOOKED | Seen.CANCELLED, cancel_sent_ns=35,
                                            found=Found.ABSENT, found_number=0), FOUR)),
        (Fault.INVERSION, (ONE, replace(TWO, number=6, found_number=6), THREE, FOUR)),
        (Fault.INVERSION, (ONE, TWO, replace(THREE, found_position=2), replace(FOUR, found_position=1))),
        (Fault.INVERSION, (ONE, TWO, replace(THREE, number=5, found_number=5, found_position=2),
                           replace(FOUR, number=4, found_number=4, found_position=1))),
    ],
)  # fmt: skip
def test_each_fault_is_found(fault: Fault, records: Sequence[BuyerRecord]) -> None:
    assert found(*records)[fault]


@pytest.mark.parametrize(
    ("fault", "event"),
    [
        (Fault.OVERSOLD, {"tickets_sold": 3, "available_tickets": -1}),
        (Fault.DISAGREEMENT, {"capacity": 3}),
        (Fault.DISAGREEMENT, {"bookings_count": 3}),
        (Fault.DISAGREEMENT, {"waiting_list_count": 1}),
        (Fault.IDLE, {"available_tickets": 1, "tickets_sold": 1}),
    ],
)
def test_impossible_counters_are_found(fault: Fault, event: dict[str, Any]) -> None:
    assert found(ONE, TWO, THREE, FOUR, **event)[fault]


@pytest.mark.parametrize("end", [Found.ABSENT, Found.CONFIRMED])
def test_a_booking_with_unknown_outcome_may_exist_or_not(end: Found) -> None:
    there = end is Found.CONFIRMED
    unknown = replace(
        ONE, seen=SENT | Seen.UNKNOWN, number=0, found=end, found_number=2 * there, found_quantity=1 * there
    )
    assert found(unknown, TWO, available_tickets=not there, tickets_sold=1 + there,
                 bookings_count=1 + there, waiting_list_count=0) == {}  # fmt: skip


def test_an_unknown_cancel_may_have_freed_the_ticket_or_not() -> None:
    cancelled = replace(ONE, seen=SENT | BOOKED | Seen.CANCEL_UNKNOWN, cancel_sent_ns=50)
    assert found(cancelled, TWO, THREE, FOUR) == {}
    gone = replace(cancelled, found=Found.ABSENT, found_number=0, found_quantity=0)
    promoted = replace(THREE, found=Found.CONFIRMED, found_position=0)
    assert found(gone, TWO, promoted, replace(FOUR, found_position=1), waiting_list_count=1) == {}


def test_overlapping_calls_may_have_either_order() -> None:
    at_once = replace(FOUR, sent_ns=25), replace(THREE, sent_ns=26)
    assert found(ONE, TWO, *at_once) == {}


def test_a_ticket_that_was_free_between_a_cancel_and_a_booking_is_not_oversold() -> None:
    left = replace(ONE, seen=SENT | BOOKED | Seen.CANCELLED, cancel_sent_ns=25, found=Found.ABSENT, found_number=0,
                   found_quantity=0)  # fmt: skip
    came = replace(THREE, seen=SENT | BOOKED, found=Found.CONFIRMED, found_position=0)
    assert found(left, TWO, came, waiting_list_count=0) == {}


def test_findings_can_be_sent_between_processes() -> None:
    findings = Findings()
    for user in range(9):
        findings.add(Fault.LOST, f"buyer-{user}")
    findings.add(Fault.OVERSOLD, "7 too many", count=7)
    there = Findings.from_json(orjson.loads(orjson.dumps(findings.to_json())))
    assert there == findings
    there.merge(findings)
    assert there.counts == {Fault.LOST: 18, Fault.OVERSOLD: 14}
    assert len(there.examples[Fault.LOST]) == 5


REFUSED = replace(ONE, seen=SENT, number=0, found=Found.ABSENT, found_number=0, found_quantity=0)
NOTHING_SOLD = {"available_tickets": 2, "tickets_sold": 0, "bookings_count": 0, "waiting_list_count": 0}


def test_a_sale_is_void_if_tickets_were_free_but_no_buyer_got_one() -> None:
    (line,) = found(REFUSED, replace(REFUSED, index=2), **NOTHING_SOLD)[Fault.NO_SALE]
    assert line.startswith("not one of 2 buyers was given a ticket or a place to wait, and 2 of 2 tickets are there")


def test_one_buyer_with_a_ticket_makes_it_a_sale() -> None:
    served = {**NOTHING_SOLD, "available_tickets": 1, "tickets_sold": 1, "bookings_count": 1}
    assert found(replace(REFUSED, index=3), TWO, **served) == {}


def test_a_sale_that_no_buyer_could_reach_has_no_verdict() -> None:
    assert list(found(**NOTHING_SOLD)) == [Fault.UNSETTLED]


@pytest.mark.parametrize(
    ("faults", "verdict"),
    [
        ((), Verdict.CLEAN),
        ((Fault.NO_SALE,), Verdict.NO_SALE),
        ((Fault.UNSETTLED, Fault.NO_SALE), Verdict.NO_SALE),
        ((Fault.UNSETTLED, Fault.NOT_YET), Verdict.INCOMPLETE),
        ((Fault.UNSETTLED, Fault.LOST), Verdict.NOT_CLEAN),
        ((Fault.NO_SALE, Fault.UNEXPECTED), Verdict.NOT_CLEAN),
    ],
)
def test_the_worst_finding_decides_the_verdict(faults: Sequence[Fault], verdict: Verdict) -> None:
    findings = Findings()
    for fault in faults:
        findings.add(fault, "an example")
    assert findings.verdict is verdict
