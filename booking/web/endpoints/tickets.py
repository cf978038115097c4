"""A ticket as a picture: the code that is shown at the entrance."""

import asyncio
from functools import lru_cache
from io import BytesIO

import segno
from starlette.types import Receive, Scope

from booking.domain.model import BookingStatus
from booking.inventory.box_office import BoxOffice
from booking.web.authentication import Credentials
from booking.web.local_limits import LocalBuckets
from booking.web.problems import Problem
from booking.web.requests import USER, read_event_id
from booking.web.responses import PlainResponse

SVG = b"image/svg+xml; charset=utf-8"

PICTURES_MAX = 1_024
"""Pictures kept in memory, of 1 KB each: one takes 12 ms to draw."""

BORDER_MODULES = 4
"""The white border around the code, in modules (ISO/IEC 18004)."""


class TicketEndpoint:
    """`GET /events/{event_id}/ticket.svg`."""

    def __init__(self, credentials: Credentials, office: BoxOffice, reads: LocalBuckets) -> None:
        self._credentials = credentials
        self._office = office
        self._reads = reads

    async def __call__(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """The caller's confirmed booking as a QR code of its id, which the organizer's export has, too."""
        caller = self._credentials.caller_now(scope) or await self._credentials.caller(scope)
        scope[USER] = caller.user_id
        self._reads.charge(caller.user_id)
        outcome = await self._office.get_booking(read_event_id(scope), caller.user_id)
        if outcome.booking is None:
            raise Problem(outcome.status.name.lower())
        if outcome.booking.status is not BookingStatus.CONFIRMED:
            raise Problem("booking_not_found", "The booking is not confirmed, so there is no ticket yet.")
        picture = await asyncio.to_thread(picture_of, outcome.booking.id)
        return PlainResponse(200, picture, media_type=SVG)


@lru_cache(PICTURES_MAX)
def picture_of(text: str) -> bytes:
    """A text as a QR code, in SVG: black on white in dark pages, too, because readers need that."""
    drawn = BytesIO()
    code = segno.make_qr(text, error="m")
    code.save(drawn, kind="svg", xmldecl=False, border=BORDER_MODULES, dark="#000", light="#fff", omitsize=True)
    return drawn.getvalue()
