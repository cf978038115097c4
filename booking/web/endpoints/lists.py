"""Lists of bookings: a user's own bookings of all events, and all bookings of an event for its organizer."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from booking.auth.emails import comparable
from booking.domain.model import Booking, BookingStatus
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable
from booking.ledger import reports
from booking.ledger.ledger import Ledger
from booking.operations.read_your_writes import ReadYourWrites
from booking.web.authentication import Credentials
from booking.web.endpoints.exports import FORMATS, Exports, listed_data
from booking.web.local_limits import LocalBuckets
from booking.web.organizers import require_organizer, require_owner, require_user
from booking.web.problems import Fault, Problem, invalid
from booking.web.requests import USER, booking_id_of, not_in_list, read_event_id, read_flag, read_page
from booking.web.response_schemas import EventData
from booking.web.responses import PlainResponse, booking_data, event_data, send_response, success

Read = TypeVar("Read")

JSON = "json"

STATUSES: dict[str, tuple[BookingStatus, ...]] = {
    **{str(status): (status,) for status in BookingStatus},
    "ended": (BookingStatus.CANCELLED, BookingStatus.EXPIRED),
}
"""The values of `status`, and the states of which each lists the bookings."""

ORDERS = ("newest", "oldest")

SEARCH_CHARACTERS_MAX = 254
"""The longest `q`: an email has at most as many."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The part of an event's bookings that is requested."""

    statuses: tuple[BookingStatus, ...]
    format: str
    search: reports.Search | None
    oldest_first: bool


class Turns:
    """A user reads one list from the database at a time: its connections are few, and logins need them, too."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, user_id: str) -> asyncio.Lock:
        """The lock to hold while a list of this user is read."""
        return self._locks.setdefault(user_id, asyncio.Lock())


class ListEndpoints:
    """Lists that are read from the database.

    The response shows every change that was acknowledged before the request. If the persister is too late for that,
    `up_to_date` is false.
    """

    def __init__(
        self,
        credentials: Credentials,
        office: BoxOffice,
        ledger: Ledger,
        read_your_writes: ReadYourWrites,
        reads: LocalBuckets,
        turns: Turns,
    ) -> None:
        self._credentials = credentials
        self._reads = reads
        self._turns = turns
        self._office = office
        self._ledger = ledger
        self._read_your_writes = read_your_writes
        self._exports = Exports(ledger)

    async def own(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """`GET /bookings`: the caller's bookings in every state, newest first, and with `with_events` their events."""
        caller = self._credentials.caller_now(scope) or await self._credentials.caller(scope)
        scope[USER] = caller.user_id
        require_user(caller)
        self._reads.charge(caller.user_id)
        faults: list[Fault] = []
        with_events = read_flag(scope, "with_events", faults)
        page = read_page(scope, booking_id_of, faults)
        complete = await self._read_your_writes.reach()
        async with self._turns.of(caller.user_id):
            found = await self._ledger.user_bookings(caller.user_id, page.limit + 1, page.starting_after)
        if found is None:
            raise invalid(not_in_list())
        shown = found[: page.limit]
        data = [booking_data(booking) for booking in await self._with_positions(shown)]
        more = {"events": await self._events_of(shown)} if with_events else {}
        has_more = len(found) > page.limit
        body = success("Fetched bookings", data, has_more=has_more, up_to_date=complete, **more)
        return PlainResponse(200, body)

    async def of_event(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET /events/{event_id}/bookings`: a page as JSON, or all of them as a file."""
        caller = await require_organizer(self._credentials, scope)
        self._reads.charge(caller.user_id)
        event_id = read_event_id(scope)
        event = await self._office.get_event(event_id)
        require_owner(caller, event)
        faults: list[Fault] = []
        wanted = _read_filter(scope, faults)
        page = read_page(scope, booking_id_of, faults)
        if event is None:
            raise Problem("event_not_found")
        complete = await self._read_your_writes.reach(event_id)
        async with self._turns.of(caller.user_id):
            record = await self._ledger.event(event_id)
        seq = min(event.seq, record.seq if record else 0)
        if wanted.format != JSON:
            await self._exports.send(receive, send, event_id, seq, wanted.format, wanted.statuses, wanted.search)
            return
        after = None
        if page.starting_after is not None:
            of_event, after = page.starting_after
            if of_event != event_id:
                raise invalid(not_in_list())
        async with self._turns.of(caller.user_id):
            found = await reports.page(
                self._ledger,
                event_id,
                wanted.statuses,
                page.limit + 1,
                after,
                search=wanted.search,
                oldest_first=wanted.oldest_first,
            )
            emails = await self._ledger.emails_of(booking.user_id for booking in found or ())
        if found is None:
            raise invalid(not_in_list())
        data = [listed_data(booking, emails) for booking in await self._with_positions(found[: page.limit])]
        body = success("Fetched bookings", data, has_more=len(found) > page.limit, seq=seq, up_to_date=complete)
        await send_response(scope, send, PlainResponse(200, body))

    async def _with_positions(self, bookings: Sequence[Booking]) -> list[Booking]:
        """The bookings; waiting ones get their position, which only Redis knows. The reads share batches.

        One whose shard is away has none.
        """
        waiting = [booking for booking in bookings if booking.status is BookingStatus.WAITING]
        reads = [self._office.get_booking(booking.event_id, booking.user_id) for booking in waiting]
        found = [outcome.booking for outcome in await _available(reads)]
        current = {booking.id: booking for booking in found if booking is not None}
        return [current.get(booking.id, booking) for booking in bookings]

    async def _events_of(self, bookings: Sequence[Booking]) -> list[EventData]:
        """The events of the bookings, each once. The reads share batches. One whose shard is away is left out."""
        ids = dict.fromkeys(booking.event_id for booking in bookings)
        found = await _available([self._office.get_event(event_id) for event_id in ids])
        return [event_data(event) for event in found if event is not None]


async def _available(reads: Sequence[Awaitable[Read]]) -> list[Read]:
    """What these reads of Redis gave, less those whose shard is away. Raises any other failure."""
    found: list[Read] = []
    for read in await asyncio.gather(*reads, return_exceptions=True):
        if not isinstance(read, BaseException):
            found.append(read)
        elif not isinstance(read, InventoryUnavailable):
            raise read
    return found


def _read_filter(scope: Scope, faults: list[Fault]) -> Filter:
    """The requested part of a list. Faults of the query are added to `faults`."""
    query = QueryParams(scope["query_string"])
    status, kind, text, order = (query.get(name) for name in ("status", "format", "q", "order"))
    if status is not None and status not in STATUSES:
        faults.append(Fault("?status", f"status has to be one of {', '.join(STATUSES)}."))
    if kind is not None and kind != JSON and kind not in FORMATS:
        faults.append(Fault("?format", f"format has to be one of {', '.join((JSON, *FORMATS))}."))
    if text is not None and not (1 <= len(text) <= SEARCH_CHARACTERS_MAX and "\0" not in text):
        faults.append(Fault("?q", f"q has to have 1 to {SEARCH_CHARACTERS_MAX} characters, and no NUL."))
    if order is not None and order not in ORDERS:
        faults.append(Fault("?order", f"order has to be one of {', '.join(ORDERS)}."))
    return Filter(
        STATUSES.get(status or "", tuple(BookingStatus)),
        kind or JSON,
        None if text is None else reports.Search(text, comparable(text)),
        order == "oldest",
    )
