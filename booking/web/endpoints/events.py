"""Events: made and changed by organizers, read by anyone."""

import asyncio

from starlette.types import Receive, Scope

from booking.domain.model import Event
from booking.domain.outcomes import Status
from booking.inventory.box_office import BoxOffice
from booking.web.authentication import Credentials
from booking.web.etags import has_version
from booking.web.organizers import organizer
from booking.web.problems import Fault, Problem, invalid
from booking.web.request_schemas import ChangeRequest, InitializeRequest, validate, window_inverted
from booking.web.requests import USER, event_id_of, not_in_list, read_event_id, read_json, read_page
from booking.web.responses import PlainResponse, booking_data, event_data, success

PREPARED_MAX = 4_096
"""Events whose answer is kept as bytes until they change."""


class EventEndpoints:
    """Like the hot path where a storm reads, since it reads `/status` as often as it books."""

    def __init__(self, credentials: Credentials, office: BoxOffice) -> None:
        self._credentials = credentials
        self._office = office
        self._listing = asyncio.Lock()
        self._prepared: dict[int, tuple[tuple[object, ...], bytes, bytes]] = {}

    async def initialize(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /initialize`."""
        await organizer(self._credentials, scope)
        faults: list[Fault] = []
        rules = validate(InitializeRequest, await read_json(scope, receive, faults), faults).rules()
        outcome = await self._office.create(await self._office.next_event_id(), rules)
        while outcome.status is Status.EVENT_EXISTS:  # the counter is behind; it moves with each try
            outcome = await self._office.create(await self._office.next_event_id(), rules)
        event = outcome.event
        if event is None:
            raise invalid(window_inverted())
        body = success("Event created successfully", event_data(event), event_id=event.id, eventd=event.id)
        return PlainResponse(201, body, (b"location", b"/events/%d" % event.id))

    async def change(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`PATCH /events/{event_id}`."""
        await organizer(self._credentials, scope)
        faults: list[Fault] = []
        rules = validate(ChangeRequest, await read_json(scope, receive, faults), faults).changes()
        outcome = await self._office.change(read_event_id(scope), rules)
        if outcome.status is Status.CAPACITY_BELOW_SOLD:
            raise Problem("capacity_below_sold", data={"floor": outcome.tickets_taken})
        if outcome.status is Status.WINDOW_INVERTED:
            raise invalid(window_inverted())
        if outcome.event is None:
            raise Problem("event_not_found")
        return PlainResponse(200, success("Event updated successfully", event_data(outcome.event)))

    async def look(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """`GET /status/{event_id}` and `GET /events/{event_id}`."""
        event = await self._office.get_event(read_event_id(scope))
        if event is None:
            raise Problem("event_not_found")
        body, etag = self._prepare(event)
        headers = [(b"etag", etag), (b"cache-control", b"no-cache")]
        if has_version(scope, etag):
            return PlainResponse(304, b"", *headers, media_type=None)
        return PlainResponse(200, body, *headers)

    async def look_booking(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's
        """`GET /events/{event_id}/booking`: one's own."""
        caller = self._credentials.caller_now(scope) or await self._credentials.caller(scope)
        scope[USER] = caller.user_id
        outcome = await self._office.get_booking(read_event_id(scope), caller.user_id)
        if outcome.booking is None:
            raise Problem(outcome.status.name.lower())
        return PlainResponse(200, success("Fetched booking", booking_data(outcome.booking)))

    async def index(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """`GET /events`: newest first, which is by id from the highest down."""
        page = read_page(scope, event_id_of)
        if page.starting_after is None:
            below = await self._office.last_event_id() + 1
        elif await self._office.get_event(page.starting_after) is None:
            raise invalid(not_in_list())
        else:
            below = page.starting_after
        events: list[Event] = []
        while below > 1 and len(events) <= page.limit:
            ids = range(below - 1, max(0, below - 2 - page.limit), -1)
            # One list at a time: each takes up to a hundred places in the queue, and buyers have to find some there.
            async with self._listing:
                found = await asyncio.gather(*map(self._office.get_event, ids))
            events += [event for event in found if event is not None]
            below = ids[-1]
        data = [event_data(event) for event in events[: page.limit]]
        return PlainResponse(200, success("Fetched events", data, has_more=len(events) > page.limit))

    def _prepare(self, event: Event) -> tuple[bytes, bytes]:
        """An event's body and its ETag. The clock is in the answer only by way of the state."""
        state = event.state
        version = (event.seq, state, event.created_at_ms, event.available, event.tickets_sold, event.waiting_count)
        prepared = self._prepared.get(event.id)
        if prepared is None or prepared[0] != version:
            body, etag = success("Fetched event", event_data(event)), f'"{event.seq}-{state}"'.encode()
            if len(self._prepared) >= PREPARED_MAX:
                self._prepared.clear()
            prepared = self._prepared[event.id] = (version, body, etag)
        return prepared[1], prepared[2]
