"""Judges a sale by the service's responses during the sale and the reads after it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from booking.loadtest.recorder import event_fault
from booking.loadtest.records import ACKNOWLEDGED, BuyerRecord, Fault, Findings, Found, Seen


def judge(tickets: int, records: Sequence[BuyerRecord], event: dict[str, Any]) -> Findings:
    """All faults that the records and the event's final state prove. No finding is a guess."""
    findings = Findings()
    for record in records:
        _judge_buyer(record, findings)
    _judge_taking_place(tickets, records, event, findings)
    _judge_stock(tickets, records, findings)
    _judge_order(records, findings)
    _judge_waiting_list(records, findings)
    fault = event_fault(event, tickets)
    if fault:
        findings.add(*fault)
    if Fault.UNSETTLED not in findings.counts:
        _judge_counters(records, event, findings)
    return findings


def _judge_buyer(record: BuyerRecord, findings: Findings) -> None:
    """Compares the responses to one buyer with the buyer's booking after the sale."""
    who, acknowledged = record.user_id, bool(record.seen & ACKNOWLEDGED)
    if record.found is Found.UNREAD:
        findings.add(Fault.UNSETTLED, f"the booking of {who} could not be read")
    elif record.found is Found.ABSENT:
        if (acknowledged or record.number) and not record.may_be_gone:
            findings.add(Fault.LOST, f"{who} was given booking {record.number}, and has none")
    elif record.seen & Seen.CANCELLED:
        findings.add(Fault.LOST, f"{who} was told that the booking is cancelled, and has {record.found_number}")
    elif record.number and record.number != record.found_number:
        findings.add(Fault.DOUBLE_BOOKED, f"{who} was given booking {record.number}, and has {record.found_number}")
    elif record.seen & Seen.BOOKED and record.found is Found.WAITING:
        findings.add(Fault.LOST, f"{who} was given tickets, and waits")
    elif not acknowledged and not record.seen & Seen.UNKNOWN:
        findings.add(Fault.DISAGREEMENT, f"{who} was refused every time, and has booking {record.found_number}")
    elif record.quantity != record.found_quantity:
        findings.add(Fault.DISAGREEMENT, f"{who} asked for {record.quantity} and has {record.found_quantity} tickets")


def _judge_taking_place(
    tickets: int, records: Sequence[BuyerRecord], event: dict[str, Any], findings: Findings
) -> None:
    """Some buyers may be rejected. If all are rejected although there are tickets, no sale took place."""
    if not records:
        findings.add(Fault.UNSETTLED, "no buyer got through to ask for a ticket, so there was no sale to judge")
        return
    available, given = int(event["available_tickets"]), ("tickets_sold", "tickets_held", "waiting_list_count")
    is_served = any(int(event[name]) for name in given) or any(r.number or r.found_number for r in records)
    if available > 0 and not is_served:
        findings.add(
            Fault.NO_SALE,
            f"not one of {len(records)} buyers was given a ticket or a place to wait, and {available} of {tickets}"
            " tickets are there: no sale took place. The answers above say what the buyers met (429: the service's rate"
            " limit; 503: a part of it is away or overloaded); GET /readyz and the service's log say why",
            count=len(records),
        )


def _judge_stock(tickets: int, records: Sequence[BuyerRecord], findings: Findings) -> None:
    """Buyers may at no time have more tickets than there are, and two buyers may not have the same booking."""
    at_end = sum(r.found_quantity for r in records if r.found in (Found.CONFIRMED, Found.HELD))
    # A buyer certainly has tickets from their acknowledgement until the cancel is sent.
    moves = [(r.acknowledged_ns, r.quantity) for r in records if r.seen & Seen.BOOKED]
    moves += [(r.cancel_sent_ns, -r.quantity) for r in records if r.seen & Seen.BOOKED and r.cancel_sent_ns]
    held = peak = 0
    for _, quantity in sorted(moves):
        held += quantity
        peak = max(peak, held)
    excess = max(at_end, peak) - tickets
    if excess > 0:
        findings.add(
            Fault.OVERSOLD, f"{max(at_end, peak)} tickets were in buyers' hands at once, of {tickets}", count=excess
        )
    owners: dict[int, str] = {}
    for record in records:
        if record.number:
            other = owners.setdefault(record.number, record.user_id)
            if other != record.user_id:
                findings.add(
                    Fault.DOUBLE_BOOKED, f"booking {record.number} was given to {other} and to {record.user_id}"
                )


def _judge_order(records: Sequence[BuyerRecord], findings: Findings) -> None:
    """If a booking was acknowledged before another was requested, its number must be lower."""
    latest_sent_ns, latest = 0, ""
    for record in sorted((r for r in records if r.number and r.acknowledged_ns), key=lambda r: r.number):
        if record.acknowledged_ns < latest_sent_ns:
            findings.add(
                Fault.INVERSION, f"{record.user_id} was answered before {latest} asked, and stands behind them"
            )
        if record.sent_ns > latest_sent_ns:
            latest_sent_ns, latest = record.sent_ns, record.user_id


def _judge_waiting_list(records: Sequence[BuyerRecord], findings: Findings) -> None:
    """While a buyer waits, no later buyer may be served."""
    waiting = sorted((r for r in records if r.found is Found.WAITING), key=lambda r: r.found_number)
    for ahead, behind in pairwise(waiting):
        if ahead.found_position >= behind.found_position:
            findings.add(
                Fault.INVERSION,
                f"{ahead.user_id} joined before {behind.user_id}, and waits at {ahead.found_position},"
                f" not before {behind.found_position}",
            )
    if not waiting:
        return
    first = waiting[0]
    for record in records:
        served = record.found in (Found.CONFIRMED, Found.HELD) or record.seen & Seen.BOOKED
        number = record.found_number or record.number
        if served and number > first.found_number:
            findings.add(
                Fault.INVERSION,
                f"{record.user_id} (booking {number}) was served while {first.user_id} (booking {first.found_number})"
                " still waits",
            )


def _judge_counters(records: Sequence[BuyerRecord], event: dict[str, Any], findings: Findings) -> None:
    """The event's counters must be the sums of the bookings, and no ticket may be free while a buyer waits for it."""
    served = [r for r in records if r.found is Found.CONFIRMED]
    waiting = [r for r in records if r.found is Found.WAITING]
    for name, counted in (
        ("tickets_sold", sum(r.found_quantity for r in served)),
        ("bookings_count", len(served)),
        ("waiting_list_count", len(waiting)),
    ):
        if int(event[name]) != counted:
            findings.add(Fault.DISAGREEMENT, f"{name} is {event[name]}; its buyers have {counted}")
    if waiting:
        head = min(waiting, key=lambda r: r.found_number)
        if int(event["available_tickets"]) >= head.found_quantity:
            findings.add(
                Fault.IDLE,
                f"{event['available_tickets']} tickets are free while {head.user_id} waits for {head.found_quantity}",
                count=int(event["available_tickets"]),
            )
