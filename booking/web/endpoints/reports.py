"""The report and the audit of a sale, for its organizer."""

from collections.abc import Callable
from contextlib import suppress
from typing import cast

from starlette.types import Receive, Scope

from booking.domain.changes import ChangeKind
from booking.domain.model import BookingStatus, Event
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable
from booking.inventory.reader import InventoryReader
from booking.ledger import refunds, reports
from booking.ledger.ledger import Ledger
from booking.ledger.records import EventRecord
from booking.operations.audit.comparison import audit_event
from booking.operations.audit.findings import MEANINGS, EventAudit
from booking.operations.read_your_writes import ReadYourWrites
from booking.web.authentication import Credentials
from booking.web.endpoints.sale import refusals_of
from booking.web.local_limits import LocalBuckets
from booking.web.organizers import require_organizer, require_owner
from booking.web.problems import Problem
from booking.web.requests import read_event_id
from booking.web.response_schemas import AuditData, CountersData, MinuteData, ReportData
from booking.web.responses import PlainResponse, success
from booking.web.shared_work import SharedWork
from booking.web.times import to_text

PER_MINUTE = {
    "booked": (ChangeKind.BOOKED, ChangeKind.HELD),
    "joined": (ChangeKind.JOINED,),
    "promoted": (ChangeKind.PROMOTED,),
    "cancelled": (ChangeKind.CANCELLED, ChangeKind.LEFT),
    "expired": (ChangeKind.EXPIRED,),
}
"""The counts of a minute, and the kinds of change that each includes. Leaving the waiting list is a cancellation."""


class ReportEndpoints:
    """The two read all of an event, so a worker runs one of them at a time, once for all who ask for it."""

    def __init__(
        self,
        credentials: Credentials,
        office: BoxOffice,
        ledger: Ledger,
        reader: InventoryReader,
        read_your_writes: ReadYourWrites,
        reads: LocalBuckets,
        work: SharedWork,
    ) -> None:
        self._reads = reads
        self._credentials = credentials
        self._office = office
        self._ledger = ledger
        self._reader = reader
        self._read_your_writes = read_your_writes
        self._work = work

    async def report(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`GET /events/{event_id}/report`."""
        event = await self._event(scope)
        data, complete = await self._work.answer(
            receive, ("report", event.id), lambda check: self._report(event, check)
        )
        return PlainResponse(200, success("Fetched report", data, up_to_date=complete))

    async def audit(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`GET /events/{event_id}/audit`."""
        caller = await require_organizer(self._credentials, scope)
        self._reads.charge(caller.user_id)
        event_id = read_event_id(scope)
        if not caller.admin:
            require_owner(caller, await self._event_of_either_side(event_id))
        audit = await self._work.answer(
            receive,
            ("audit", event_id),
            lambda check: audit_event(self._reader, self._ledger, event_id, lambda _: check()),
        )
        if audit.seq_redis is None and audit.seq_database is None and audit.ok:
            raise Problem("event_not_found")
        message = "Redis and the database agree." if audit.ok else "There are differences."
        return PlainResponse(200, success(message, audit_data(audit)))

    async def _event(self, scope: Scope) -> Event:
        caller = await require_organizer(self._credentials, scope)
        self._reads.charge(caller.user_id)
        event = await self._office.get_event(read_event_id(scope))
        if event is None:
            raise Problem("event_not_found")
        require_owner(caller, event)
        return event

    async def _event_of_either_side(self, event_id: int) -> Event | EventRecord | None:
        """The event in Redis, or the one in the database if Redis has lost it: an audit reports that."""
        with suppress(InventoryUnavailable):
            event = await self._office.get_event(event_id)
            if event is not None:
                return event
        return await self._ledger.event(event_id)

    async def _report(self, event: Event, check: Callable[[], None]) -> tuple[ReportData, bool]:
        """The report, and whether it shows every change that was acknowledged before."""
        check()
        complete = await self._read_your_writes.reach(event.id)
        check()
        seq, counts = await self._ledger.seq_and_counts(event.id)
        history = await reports.history(self._ledger, event.id, seq, check)
        sold_out_at_ms = history.sold_out_at_ms
        opened_at_ms = max(event.created_at_ms, event.rules.opens_at_ms or 0)
        confirmed = counts[BookingStatus.CONFIRMED]
        refunds_due, refunds_done = await refunds.count(self._ledger, event.id)
        data: ReportData = {
            "event_id": event.id,
            "totals": {
                "bookings": confirmed.bookings,
                "tickets": confirmed.tickets,
                "held": counts[BookingStatus.HELD].bookings,
                "cancelled": counts[BookingStatus.CANCELLED].bookings,
                "expired": counts[BookingStatus.EXPIRED].bookings,
                "promoted": sum(minute.kinds.get(ChangeKind.PROMOTED, 0) for minute in history.minutes),
                "waiting": counts[BookingStatus.WAITING].bookings,
                "refunds_due": refunds_due,
                "refunds_done": refunds_done,
            },
            "per_minute": [minute_data(minute) for minute in history.minutes],
            "sold_out_at": None if sold_out_at_ms is None else to_text(sold_out_at_ms),
            "seconds_to_sell_out": (None if sold_out_at_ms is None else max(0, sold_out_at_ms - opened_at_ms) / 1000),
            "refusals": refusals_of(await self._reader.event(event.id) or {}),
        }
        return data, complete


def minute_data(minute: reports.Minute) -> MinuteData:
    """The JSON of one minute of a sale."""

    def count(name: str) -> int:
        return sum(minute.kinds.get(kind, 0) for kind in PER_MINUTE[name])

    return {
        "minute": to_text(minute.start_ms),
        "booked": count("booked"),
        "joined": count("joined"),
        "promoted": count("promoted"),
        "cancelled": count("cancelled"),
        "expired": count("expired"),
    }


def audit_data(audit: EventAudit) -> AuditData:
    """The JSON of an audit. The counters at the top level are those of Redis."""
    redis, database = cast("CountersData", audit.redis), cast("CountersData", audit.database)
    return {
        "event_id": audit.event_id,
        "ok": audit.ok,
        "seq_redis": audit.seq_redis,
        "seq_database": audit.seq_database,
        **redis,
        "counters": {"redis": redis, "database": database},
        "bookings_compared": audit.bookings,
        "unsettled": audit.unsettled,
        "differences": [
            {
                "kind": difference.kind,
                "user_id": difference.user_id,
                "redis": difference.redis,
                "database": difference.database,
                "meaning": MEANINGS[difference.kind],
            }
            for difference in audit.differences
        ],
        "more_differences": audit.more_differences,
    }
