"""Records the responses to the buyers of one process, and the faults that are visible at once."""

from collections.abc import Mapping
from typing import Any

from booking.loadtest.calls import Call, Kind
from booking.loadtest.plan import Intent
from booking.loadtest.records import ACKNOWLEDGED, BuyerRecord, Fault, Findings, Found, Seen


class Recorder:
    """The records of one process's buyers, by their index."""

    def __init__(self, tickets: int, intents: Mapping[int, Intent]) -> None:
        self.buyers = {index: BuyerRecord(index, intent.quantity) for index, intent in intents.items()}
        self.findings = Findings()
        self.results: dict[tuple[Kind, str], int] = {}
        """Counts of results by kind of call. A result is a status with its code, or a failure."""
        self.read = 0
        """The number of buyers whose booking, or its absence, was read after the sale."""
        self.seq_seen = 0
        """The latest change in any response."""
        self._tickets = tickets

    def succeeded(self, call: Call, status: int, data: Any, now_ns: int) -> None:
        """Records a success (below 300). Raises KeyError, TypeError or ValueError if it is not as in the contract."""
        kind, record = call.kind, self.buyers.get(call.buyer)
        if kind is Kind.STATUS:
            self._check_event(call, data)
            return
        assert record is not None
        if kind is Kind.CANCEL:
            record.seen |= Seen.CANCELLED.value
        elif kind is Kind.READ:
            self.read += 1
            record.found = Found(data["status"])
            record.found_number = _number(data["id"])
            record.found_quantity = int(data["quantity"])
            record.found_position = int(data.get("position") or 0)
        elif status not in (201, 202):
            self.unexpected(call, str(status))
        else:
            number = _number(data["id"])
            # A waiting user who books again gets 202 again; a user with tickets must be refused the second time.
            if record.seen & (ACKNOWLEDGED if status == 201 else Seen.BOOKED).value:
                self.findings.add(Fault.DOUBLE_BOOKED, f"{record.user_id} asked twice and was given tickets twice")
            elif record.number and record.number != number:
                self.findings.add(
                    Fault.DOUBLE_BOOKED, f"{record.user_id} has the bookings {record.number} and {number}"
                )
            record.seen |= Seen.BOOKED.value if status == 201 else Seen.JOINED.value
            self._note_number(record, number, now_ns)

    def refused(self, call: Call, status: int, code: str, document: Any, now_ns: int) -> bool:
        """Records a refusal; False if a buyer should never get it. Raises KeyError, TypeError or ValueError."""
        if call.kind in (Kind.BOOK, Kind.AGAIN) and (status, code) == (409, "already_booked"):
            record = self.buyers[call.buyer]
            record.seen |= Seen.TAKEN.value
            booking = (document.get("data") or {}).get("booking")
            if booking:
                self._note_number(record, _number(booking["id"]), now_ns)
            return True
        if (status, code) != (404, "booking_not_found"):
            return False
        record = self.buyers[call.buyer]
        if call.kind is Kind.READ:
            self.read += 1
            record.found = Found.ABSENT
            return True
        if call.kind is Kind.CANCEL:
            # It is correct only if an earlier attempt of the same cancel succeeded without a response.
            if not call.unknown:
                self.findings.add(Fault.LOST, f"{record.user_id} cancelled booking {record.number}: not found")
            record.seen |= Seen.CANCEL_UNKNOWN.value
            return True
        return False

    def unexpected(self, call: Call, what: str) -> None:
        """Records a response that the contract does not have; the outcome of the call is unknown."""
        who = "a reader" if call.kind is Kind.STATUS else self.buyers[call.buyer].user_id
        self.findings.add(Fault.UNEXPECTED, f"{call.kind.label} of {who}: {what}")
        self.mark_unknown(call)

    def mark_unknown(self, call: Call) -> None:
        """Records that a call may have succeeded."""
        if call.kind in (Kind.BOOK, Kind.AGAIN):
            self.buyers[call.buyer].seen |= Seen.UNKNOWN.value
        elif call.kind is Kind.CANCEL:
            self.buyers[call.buyer].seen |= Seen.CANCEL_UNKNOWN.value

    def _note_number(self, record: BuyerRecord, number: int, now_ns: int) -> None:
        if not record.number:
            record.number, record.acknowledged_ns = number, now_ns
        self.seq_seen = max(self.seq_seen, number)

    def _check_event(self, call: Call, event: Any) -> None:
        fault = event_fault(event, self._tickets)
        if fault:
            self.findings.add(*fault)
        if int(event["seq"]) < call.seq_floor:
            self.findings.add(
                Fault.DISAGREEMENT, f"a status read showed seq {event['seq']} after {call.seq_floor} was acknowledged"
            )

    def count(self, call: Call, what: str) -> None:
        """Counts how an attempt ended."""
        key = (call.kind, what)
        self.results[key] = self.results.get(key, 0) + 1


def event_fault(event: Any, tickets: int) -> tuple[Fault, str] | None:
    """The fault of an event's counters, if any: they must add up, and never exceed the tickets on sale."""
    available, held, sold = (int(event[name]) for name in ("available_tickets", "tickets_held", "tickets_sold"))
    if sold + held > tickets or available < 0:
        return Fault.OVERSOLD, f"a status read showed {sold} sold and {held} held of {tickets} tickets"
    if int(event["capacity"]) != tickets or available + held + sold != tickets:
        return Fault.DISAGREEMENT, f"{available} available, {held} held and {sold} sold are not {tickets} tickets"
    return None


def _number(booking_id: object) -> int:
    """The number in `event-number`. Raises ValueError for another form."""
    return int(str(booking_id).partition("-")[2])
