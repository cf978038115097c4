"""Events: organizers create and change them, and anyone can read them."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from zlib import crc32

from starlette.types import Receive, Scope, Send

from booking.domain.model import Event
from booking.domain.outcomes import Status
from booking.domain.payment_links import PaymentLinks
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable
from booking.web.authentication import Credentials
from booking.web.catalogue import Catalogue
from booking.web.etags import has_version, read_if_match
from booking.web.local_limits import LocalBuckets, address_key
from booking.web.organizers import require_organizer, require_owner, require_user
from booking.web.problems import Fault, Problem, invalid
from booking.web.request_schemas import ChangeRequest, InitializeRequest, dates_inverted, validate, window_inverted
from booking.web.requests import USER, event_id_of, not_in_list, read_event_id, read_flag, read_json, read_page
from booking.web.response_schemas import PaymentSecretData
from booking.web.responses import PlainResponse, booking_data, details_data, event_data, send_response, success

RENDERED_MAX = 4_096
"""The most events whose response body is kept in memory, until the event changes."""


READ_TOGETHER = 25
"""The most events that a list reads in one turn. A hundred of them would hold up buyers for 10 ms."""


class EventEndpoints:
    """`/events` and `/status`. A flash sale reads `/status` as often as it books, so that read is kept fast."""

    def __init__(self, credentials: Credentials, office: BoxOffice, reads: LocalBuckets, links: PaymentLinks) -> None:
        self._credentials = credentials
        self._links = links
        self._reads = reads
        self._office = office
        self._listing = asyncio.Lock()
        self._catalogue = Catalogue(office)
        self._rendered: dict[int, Rendered] = {}

    async def initialize(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`POST /initialize`."""
        asked_at = monotonic()
        caller = await require_organizer(self._credentials, scope)
        faults: list[Fault] = []
        rules = validate(InitializeRequest, await read_json(scope, receive, faults), faults).rules()
        outcome = await self._office.create(await self._office.next_event_id(), rules, caller.user_id, asked_at)
        while outcome.status is Status.EVENT_EXISTS:  # the counter is behind; each try increments it
            outcome = await self._office.create(await self._office.next_event_id(), rules, caller.user_id, asked_at)
        event = outcome.event
        assert event is not None, "the body's check has refused what the script refuses"
        body = success("Event created successfully", event_data(event), event_id=event.id, eventd=event.id)
        location = f"{scope.get('root_path', '')}/events/{event.id}"
        return PlainResponse(201, body, (b"location", location.encode()))

    async def change(self, scope: Scope, receive: Receive) -> PlainResponse:
        """`PATCH /events/{event_id}`."""
        asked_at = monotonic()
        caller = await require_organizer(self._credentials, scope)
        event_id = event_id_of(scope["path_params"]["event_id"])
        if event_id is not None and not caller.admin:
            require_owner(caller, await self._office.get_event(event_id))
        faults: list[Fault] = []
        request = validate(ChangeRequest, await read_json(scope, receive, faults), faults)
        rules = request.changes()
        event_id, condition = read_event_id(scope), read_if_match(scope)
        outcome = await self._office.change(event_id, rules, condition, caller.user_id, asked_at)
        if outcome.status is Status.PRECONDITION_FAILED:
            raise Problem("precondition_failed")
        if outcome.status is Status.CAPACITY_BELOW_SOLD:
            raise Problem("capacity_below_sold", data={"floor": outcome.tickets_taken})
        if outcome.status is Status.WINDOW_INVERTED:
            raise invalid(window_inverted(request.model_fields_set))
        if outcome.status is Status.DATES_INVERTED:
            raise invalid(dates_inverted(request.model_fields_set))
        if outcome.event is None:
            raise Problem("event_not_found")
        return PlainResponse(200, success("Event updated successfully", event_data(outcome.event)))

    def get(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """`GET /events/{event_id}`: as `status`, and rate limited."""
        self._reads.charge(address_key(scope))
        return self.status(scope, receive, send)

    async def status(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """`GET /status/{event_id}`. It sends its response itself: each coroutine in between costs 2 % of a read."""
        rendered = self._render(_found(await self._office.get_event(read_event_id(scope))))
        await send_response(scope, send, _versioned(scope, rendered.body, rendered.etag))

    async def details(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """`GET /events/{event_id}/details`: what the organizer has set, without counters."""
        self._reads.charge(address_key(scope))
        event = _found(await self._office.get_event(read_event_id(scope)))
        body = success("Fetched details", details_data(event))
        return _versioned(scope, body, f'"{event.rules_tag}"'.encode())

    async def payment_secret(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's
        """`GET /events/{event_id}/payment-secret`: the secret with which the event's payment links are signed."""
        caller = await require_organizer(self._credentials, scope)
        self._reads.charge(caller.user_id)
        event = _found(await self._office.get_event(read_event_id(scope)))
        require_owner(caller, event)
        data: PaymentSecretData = {"event_id": event.id, "secret": self._links.secret_of(event.id)}
        return PlainResponse(200, success("Fetched payment secret", data))

    async def get_booking(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's
        """`GET /events/{event_id}/booking`: the caller's own booking."""
        caller = self._credentials.caller_now(scope) or await self._credentials.caller(scope)
        scope[USER] = caller.user_id
        require_user(caller)
        self._reads.charge(caller.user_id)
        outcome = await self._office.get_booking(read_event_id(scope), caller.user_id)
        if outcome.booking is None:
            raise Problem(outcome.status.name.lower())
        return PlainResponse(200, success("Fetched booking", booking_data(outcome.booking)))

    async def index(self, scope: Scope, receive: Receive) -> PlainResponse:  # noqa: ARG002  # an endpoint's signature
        """`GET /events`: newest first, which means by descending id. With `mine`, what the caller may change.

        Events whose primary is away are only named; if none can be read, that is the answer.
        """
        faults: list[Fault] = []
        mine = read_flag(scope, "mine", faults)
        caller = await require_organizer(self._credentials, scope) if mine else None
        self._reads.charge(address_key(scope) if caller is None else caller.user_id)
        page = read_page(scope, event_id_of, faults)
        if page.starting_after is None:
            below = await self._office.last_event_id() + 1
        elif await self._office.get_event(page.starting_after) is None:
            raise invalid(not_in_list())
        else:
            below = page.starting_after
        events, unavailable = list[Event](), list[int]()
        passed_over = await self._catalogue.passed_over(caller)
        left = (event_id for event_id in range(below - 1, 0, -1) if event_id not in passed_over)
        # Some of every shard, so that only a server that has all shards can fail all reads.
        span = 1 + max(min(page.limit, READ_TOGETHER), self._office.shards)
        while len(events) <= page.limit and (ids := list(islice(left, span))):
            # One list at a time, because its reads take slots of the command queue that buyers need, too.
            async with self._listing:
                found = await asyncio.gather(*map(self._office.get_event, ids), return_exceptions=True)
            errors = [error for error in found if isinstance(error, BaseException)]
            has_read = bool(events) or page.starting_after is not None
            is_away = len(errors) == len(found) and (not has_read or len(found) >= self._office.shards)
            if is_away or not all(isinstance(error, InventoryUnavailable) for error in errors):
                raise errors[0]
            events += [event for event in found if isinstance(event, Event) and self._catalogue.shows(event, caller)]
            unavailable += [
                event_id for event_id, event in zip(ids, found, strict=True) if isinstance(event, InventoryUnavailable)
            ]
        data = [event_data(event) for event in events[: page.limit]]
        has_more = len(events) > page.limit
        if has_more:
            unavailable = [event_id for event_id in unavailable if event_id > events[page.limit].id]
        return PlainResponse(200, success("Fetched events", data, has_more=has_more, unavailable=unavailable))

    def _render(self, event: Event) -> "Rendered":
        """The response body of an event, and its ETag. Time changes the body only through the event's state.

        The ETag has the epoch, because a restored event comes to the same `seq` again, and a sum of the body for a
        data folder that was put back as a whole, its epochs included.
        """
        rendered = self._rendered.get(event.id)
        if rendered is None or not (rendered.event is event or _version(rendered.event) == _version(event)):
            body = success("Fetched event", event_data(event))
            etag = f'"{event.epoch}-{event.seq}-{crc32(body):08x}"'.encode()
            if len(self._rendered) >= RENDERED_MAX:
                self._rendered.clear()
            rendered = self._rendered[event.id] = Rendered(event, body, etag)
        rendered.event = event
        return rendered


def _found(event: Event | None) -> Event:
    """Raises Problem if there is no such event."""
    if event is None:
        raise Problem("event_not_found")
    return event


@dataclass(slots=True)
class Rendered:
    """The response body of an event, its ETag, and the event as it was read last. Callers at the same time share it."""

    event: Event
    body: bytes
    etag: bytes


def _version(event: Event) -> tuple[object, ...]:
    """Differs if the response body does."""
    return event.epoch, event.seq, event.state


def _versioned(scope: Scope, body: bytes, etag: bytes) -> PlainResponse:
    """The body with its ETag, or a 304 if the client has this version."""
    if has_version(scope, etag):
        return PlainResponse(304, b"", (b"etag", etag), cache_control=b"no-cache")
    return PlainResponse(200, body, (b"etag", etag), cache_control=b"no-cache")
