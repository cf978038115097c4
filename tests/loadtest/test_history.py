"""The history in SQL shows every fault that the answers may hide."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from booking.domain.changes import BookingChange, Change, ChangeKind, EventChange
from booking.domain.model import Booking, BookingStatus, Rules, Source
from booking.loadtest.history import History
from booking.loadtest.records import BuyerRecord, Fault, Found, Seen

TICKETS = 2
CREATED = EventChange(1, 1, ChangeKind.CREATED, 0, Rules(name="Load test", capacity=TICKETS))


def change(seq: int, kind: str, user: int, number: int | None = None, quantity: int = 1) -> BookingChange:
    status = {"joined": "waiting", "cancelled": "cancelled", "left": "cancelled"}.get(kind, "confirmed")
    return BookingChange(
        1,
        seq,
        ChangeKind(kind),
        seq,
        number or seq,
        f"buyer-{user}",
        quantity,
        BookingStatus(status),
        Source.SALE,
        0,
        None,
    )


# Two tickets: 1 and 2 buy, 3 and 4 wait, 1 cancels and 3 is served, 4 leaves.
HONEST: tuple[Change, ...] = (
    CREATED,
    change(2, "booked", 1),
    change(3, "booked", 2),
    change(4, "joined", 3),
    change(5, "joined", 4),
    change(6, "cancelled", 1, 2),
    change(7, "promoted", 3, 4),
    change(8, "left", 4, 5),
)
RECORDS = (
    BuyerRecord(1, 1, Seen.SENT | Seen.BOOKED | Seen.CANCELLED, 2, found=Found.ABSENT),
    BuyerRecord(2, 1, Seen.SENT | Seen.BOOKED, 3, found=Found.CONFIRMED, found_number=3, found_quantity=1),
    BuyerRecord(3, 1, Seen.SENT | Seen.JOINED, 4, found=Found.CONFIRMED, found_number=4, found_quantity=1),
    BuyerRecord(4, 1, Seen.SENT | Seen.JOINED | Seen.CANCELLED, 5, found=Found.ABSENT),
)
STORED = (
    Booking(1, 3, "buyer-2", 1, BookingStatus.CONFIRMED, Source.SALE, 0),
    Booking(1, 4, "buyer-3", 1, BookingStatus.CONFIRMED, Source.WAITLIST, 0),
)


def found(
    changes: Iterable[Change], records: Sequence[BuyerRecord] = RECORDS, stored: Iterable[Booking] = STORED
) -> dict[Fault, list[str]]:
    history = History(TICKETS)
    history.apply(changes)
    for booking in stored:
        history.add_stored(booking)
    history.compare(records, redis_seq=history.seq)
    return history.findings.examples


def test_a_correct_history_is_clean() -> None:
    assert found(HONEST) == {}


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        (Fault.OVERSOLD, (*HONEST[:3], change(4, "booked", 3))),
        (Fault.DOUBLE_BOOKED, (*HONEST[:2], change(3, "booked", 1))),
        (Fault.DOUBLE_BOOKED, (*HONEST[:4], change(5, "joined", 3))),
        (Fault.INVERSION, (*HONEST[:6], change(7, "promoted", 4, 5))),
        (Fault.INVERSION, (*HONEST[:6], change(7, "booked", 5))),
        (Fault.IDLE, (*HONEST[:2], change(3, "joined", 2))),
        (Fault.IDLE, (*HONEST[:6], change(7, "joined", 5))),
        (Fault.IDLE, HONEST[:6]),
        (Fault.DISAGREEMENT, (*HONEST[:3], *HONEST[4:])),
        (Fault.DISAGREEMENT, (*HONEST[:3], change(4, "cancelled", 9, 2))),
        (Fault.DISAGREEMENT, (*HONEST[:6], change(7, "promoted", 3, 4), change(8, "promoted", 3, 4))),
        (Fault.LOST, HONEST[:4]),
        (Fault.LOST, HONEST[:5]),
    ],
)
def test_each_fault_is_found(fault: Fault, changes: tuple[Change, ...]) -> None:
    assert found(changes)[fault]


def test_a_row_that_the_changes_do_not_explain_is_found() -> None:
    assert found(HONEST, stored=STORED[:1])[Fault.DISAGREEMENT]
    assert found(HONEST, stored=(*STORED, replace(STORED[0], number=9)))[Fault.DOUBLE_BOOKED]


def test_a_difference_between_the_service_and_sql_is_found() -> None:
    other = replace(RECORDS[1], found=Found.WAITING)
    assert found(HONEST, records=(RECORDS[0], other, *RECORDS[2:]))[Fault.DISAGREEMENT]


def test_a_buyer_whose_booking_could_not_be_read_is_not_compared() -> None:
    unread = replace(RECORDS[1], found=Found.UNREAD, found_number=0)
    assert found(HONEST, records=(RECORDS[0], unread, *RECORDS[2:])) == {}


@pytest.mark.parametrize("redis_seq", [8, None], ids=["behind Redis", "Redis could not be asked"])
@pytest.mark.parametrize("seq", [1, 2, 3, 4, 5, 6, 7])
def test_a_booking_that_sql_has_not_reached_is_not_lost(seq: int, redis_seq: int | None) -> None:
    history = History(TICKETS)
    history.apply(HONEST[:seq])
    missing = history.compare(RECORDS, redis_seq)
    assert history.findings.examples == {}
    # Bookings 2 to 5, and the cancels at 6 and at 8.
    assert missing == sum(change > seq for change in (2, 3, 4, 5, 6, 8))


@pytest.mark.parametrize("redis_seq", [9, None], ids=["behind Redis", "Redis could not be asked"])
def test_a_booking_that_sql_has_passed_is_lost_however_far_behind_sql_is(redis_seq: int | None) -> None:
    history = History(TICKETS)
    history.apply((*HONEST[:2], change(3, "booked", 9)))
    history.compare(RECORDS[:2], redis_seq)
    assert history.findings.examples == {Fault.LOST: ["buyer-2's booking 3 is not in SQL"]}
