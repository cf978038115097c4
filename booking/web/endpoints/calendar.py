"""An event as an entry for a calendar (iCalendar, RFC 5545)."""

from collections.abc import Iterable
from datetime import timedelta

from starlette.types import Receive, Scope

from booking.domain.model import Event
from booking.inventory.box_office import BoxOffice
from booking.web.local_limits import LocalBuckets, address_key
from booking.web.pages.about import time_text
from booking.web.pages.languages import language_of, text
from booking.web.problems import Problem
from booking.web.requests import read_event_id
from booking.web.responses import PlainResponse
from booking.web.times import EPOCH

MEDIA_TYPE = b"text/calendar; charset=utf-8"

LINE_OCTETS_MAX = 75
"""A longer line is folded (RFC 5545, section 3.1)."""


class CalendarEndpoint:
    """`GET /events/{event_id}/calendar.ics`. It holds nothing of a user, so a plain link leads to it."""

    def __init__(self, office: BoxOffice, reads: LocalBuckets) -> None:
        self._office = office
        self._reads = reads

    async def __call__(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """The event as one entry. Raises Problem (404) if there is no event, or its organizer has told no time."""
        self._reads.charge(address_key(scope))
        event = await self._office.get_event(read_event_id(scope))
        if event is None:
            raise Problem("event_not_found")
        details = event.rules.details
        if details.starts_at_ms is None:
            raise Problem("not_found", "The organizer has not told when the event begins.")
        name = b'attachment; filename="event-%d.ics"' % event.id
        body = calendar(event, details.starts_at_ms, language_of(scope))
        return PlainResponse(200, body, (b"content-disposition", name), media_type=MEDIA_TYPE)


def calendar(event: Event, starts_at_ms: int, language: str) -> bytes:
    """The calendar with this one entry.

    Times are in UTC, which a calendar shows in its user's zone: a local time could be there twice. The description
    begins with the time in the event's zone, for those who travel to it.
    """
    details = event.rules.details
    zone = details.time_zone
    begins = zone and f"{text(language, 'about.begins')}: {time_text(starts_at_ms, zone, language)}"
    description = "\n\n".join(part for part in (begins, details.description) if part)
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//booking//tickets//EN",
        "BEGIN:VEVENT",
        f"UID:event-{event.id}-{event.created_at_ms}@booking",
        f"DTSTAMP:{_time(event.now_ms)}",
        f"SEQUENCE:{event.seq}",
        f"DTSTART:{_time(starts_at_ms)}",
        *([] if details.ends_at_ms is None else [f"DTEND:{_time(details.ends_at_ms)}"]),
        f"SUMMARY:{_text(event.rules.name)}",
        *([] if details.venue is None else [f"LOCATION:{_text(details.venue)}"]),
        *([f"DESCRIPTION:{_text(description)}"] if description else []),
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return b"".join(_folded(lines))


def _time(at_ms: int) -> str:
    return f"{EPOCH + timedelta(milliseconds=at_ms):%Y%m%dT%H%M%SZ}".rjust(16, "0")


def _text(value: str) -> str:
    """A text, escaped (RFC 5545, section 3.3.11)."""
    escaped = value.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return "\\n".join(escaped.splitlines())


def _folded(lines: Iterable[str]) -> Iterable[bytes]:
    """The lines with their ends, folded between characters."""
    for line in lines:
        part = b""
        for character in line:
            encoded = character.encode()
            if len(part) + len(encoded) > LINE_OCTETS_MAX:
                yield part + b"\r\n"
                part = b" "
            part += encoded
        yield part + b"\r\n"
