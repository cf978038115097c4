"""Streams all bookings of an event as one file. The file shows the state at one `seq`.

Memory is constant, even if the client reads slowly.
"""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import orjson
from starlette.types import Receive, Send

from booking.domain.model import Booking, BookingStatus
from booking.ledger.ledger import Ledger
from booking.ledger.records import AccountEmail
from booking.ledger.reports import Search
from booking.web.problems import Problem
from booking.web.requests import until_disconnected
from booking.web.response_schemas import BookingData
from booking.web.responses import booking_data

EXPORTS_MAX = 2
"""Concurrent exports of one worker. Each uses processor time, and at times one of four database connections."""

SPAN = 200
"""Bookings between two turns of the event loop, which then serves other requests. 2,000 raised the buyers' p99 from 8
to 37 ms; with 200 it is 13 ms (`scripts/overload --greedy --kind export`)."""

COLUMNS = (
    "id",
    "event_id",
    "user_id",
    "quantity",
    "status",
    "source",
    "created_at",
    "expires_at",
    "position",
    "email",
    "payment_id",
)

FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet reads a cell that begins with one of these as a formula (OWASP, CSV injection)."""

Lines = Callable[[Sequence[BookingData]], bytes]


class Exports:
    """Streams the files, at most EXPORTS_MAX at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._running = 0

    async def send(
        self,
        receive: Receive,
        send: Send,
        event_id: int,
        seq: int,
        kind: str,
        statuses: Sequence[BookingStatus],
        search: Search | None,
    ) -> None:
        """Sends the event's bookings at `seq`, ordered by number. The database must have reached `seq`.

        `kind` is csv or ndjson. Raises Problem if too many exports are running.
        """
        if self._running >= EXPORTS_MAX:
            raise Problem("overloaded", "Other exports are under way. Try again in a moment.")
        self._running += 1
        disconnected = asyncio.ensure_future(until_disconnected(receive))
        try:
            content_type, first, lines = FORMATS[kind]
            headers = [
                (b"content-type", content_type),
                (b"content-disposition", b'attachment; filename="event-%d-seq-%d.%b"' % (event_id, seq, kind.encode())),
                (b"x-event-seq", b"%d" % seq),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for chunk in self._chunks(event_id, seq, frozenset(statuses), search, lines):
                if disconnected.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._running -= 1
            disconnected.cancel()

    async def _chunks(
        self, event_id: int, seq: int, statuses: frozenset[BookingStatus], search: Search | None, lines: Lines
    ) -> AsyncIterator[bytes]:
        waiting = 0  # bookings come by number, which is the order of the waiting list, so counting gives the position
        async for span in self._ledger.bookings_as_of(event_id, seq, SPAN):
            for booking in span:
                if booking.status is BookingStatus.WAITING:
                    waiting += 1
                    booking.position = waiting
            wanted = [booking for booking in span if booking.status in statuses]
            emails = await self._ledger.emails_of(booking.user_id for booking in wanted)
            if search is not None:
                wanted = [one for one in wanted if search.finds(one.user_id, emails.get(one.user_id))]
            if wanted:
                yield lines([listed_data(booking, emails) for booking in wanted])
            await asyncio.sleep(0)  # lets the event loop serve bookings in between


def listed_data(booking: Booking, emails: Mapping[str, AccountEmail]) -> BookingData:
    """The JSON of a booking for the event's organizer."""
    data = booking_data(booking)
    if booking.user_id in emails:
        data["email"] = emails[booking.user_id].email
    return data


def csv_lines(bookings: Sequence[BookingData]) -> bytes:
    """Lines of CSV (RFC 4180) with the fields of COLUMNS. They are safe to open in a spreadsheet."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    for data in bookings:
        writer.writerow([_escape_formula(str(data.get(name, ""))) for name in COLUMNS])
    return text.getvalue().encode()


def ndjson_lines(bookings: Sequence[BookingData]) -> bytes:
    """One JSON object a line. Each is a booking in the same form as in other responses."""
    return b"".join([orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE) for data in bookings])


def _escape_formula(cell: str) -> str:
    """The cell, with an apostrophe in front if a spreadsheet would read it as a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_BEGINNINGS) else cell


FORMATS: dict[str, tuple[bytes, bytes, Lines]] = {
    "csv": (b"text/csv; charset=utf-8; header=present", ",".join(COLUMNS).encode() + b"\r\n", csv_lines),
    "ndjson": (b"application/x-ndjson", b"", ndjson_lines),
}
"""For each format: its media type, its first bytes, and the function that writes bookings."""
