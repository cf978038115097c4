"""Responses: the JSON of events and bookings, and how a response is sent."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from booking.domain.changes import Change, EventChange, actor_of, booking_of
from booking.domain.model import Booking, Event, Rules
from booking.web.headers import EXTENSION
from booking.web.problems import CONTENT_TYPE, Problem
from booking.web.response_schemas import BookingData, ChangeData, DetailsData, EventData, RulesData, ToldRulesData
from booking.web.times import to_text

JSON = b"application/json"
NOT_MODIFIED = 304

Header = tuple[bytes, bytes]


class PlainResponse:
    """A whole response: status, body and header fields."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, body: bytes, *headers: Header, media_type: bytes = JSON, cache_control: bytes = b"no-store"
    ) -> None:
        """No cache may keep a response unless `cache_control` says otherwise: most are private, and all change."""
        self.status = status
        self.body = body
        self.headers = [(b"cache-control", cache_control), *headers]
        if status != NOT_MODIFIED:
            self.headers.append((b"content-type", media_type))


Handler = Callable[[Scope, Receive], Awaitable[PlainResponse]]
"""An endpoint whose response is made in one piece."""


def problem_response(problem: Problem, request_id: str, root: str, *headers: Header) -> PlainResponse:
    """The response that reports a problem to a client; `root` is the request's `root_path`."""
    body = problem.body(request_id, root)
    return PlainResponse(problem.kind.status, body, *problem.headers, *headers, media_type=CONTENT_TYPE)


def send_response(scope: Scope, send: Send, response: PlainResponse) -> Awaitable[None]:
    """Sends a response; to be awaited."""
    start = {"type": "http.response.start", "status": response.status, "headers": response.headers}
    if EXTENSION in scope.get("extensions", ()):
        start["body"] = response.body
        return send(start)
    return _send_in_two(send, start, response)


async def _send_in_two(send: Send, start: Message, response: PlainResponse) -> None:
    """Sends a response as ASGI has it."""
    if response.status != NOT_MODIFIED:
        response.headers.append((b"content-length", b"%d" % len(response.body)))
    await send(start)
    await send({"type": "http.response.body", "body": response.body})


def success(message: str, data: Any, **more_fields: Any) -> bytes:
    """The body of a successful response."""
    return orjson.dumps({"error": False, "message": message, **more_fields, "data": data})


def booking_data(booking: Booking) -> BookingData:
    """The JSON of a booking."""
    data: BookingData = {
        "id": booking.id,
        "event_id": booking.event_id,
        "user_id": booking.user_id,
        "quantity": booking.quantity,
        "status": booking.status,
        "source": booking.source,
        "created_at": to_text(booking.created_at_ms),
    }
    if booking.expires_at_ms is not None:
        data["expires_at"] = to_text(booking.expires_at_ms)
    if booking.position is not None:
        data["position"] = booking.position
    if booking.ended_at_ms is not None:
        data["ended_at"] = to_text(booking.ended_at_ms)
    if booking.payment_id is not None:
        data["payment_id"] = booking.payment_id
    if booking.refund_done is not None:
        data["refund"] = "done" if booking.refund_done else "due"
    return data


def rules_data(event_id: int, rules: Rules) -> RulesData:
    """The JSON of an event's rules, without those that only /details and changes tell."""
    details = rules.details
    return {
        "id": event_id,
        "name": rules.name,
        "venue": details.venue,
        "starts_at": _instant(details.starts_at_ms),
        "time_zone": details.time_zone,
        "visibility": details.visibility,
        "capacity": rules.capacity,
        "max_per_user": rules.max_per_user,
        "hold_seconds": rules.hold_seconds,
        "offer_seconds": rules.offer_seconds,
        "payment_seconds": details.payment_seconds,
        "takes_payment": details.payment_url is not None,
        "waitlist_limit": rules.waitlist_limit,
        "opens_at": _instant(rules.opens_at_ms),
        "closes_at": _instant(rules.closes_at_ms),
        "paused": rules.paused,
    }


def told_rules_data(event_id: int, rules: Rules) -> ToldRulesData:
    """The JSON of all that an organizer sets."""
    details, price = rules.details, rules.details.price
    return {
        **rules_data(event_id, rules),
        "description": details.description,
        "ends_at": _instant(details.ends_at_ms),
        "price": None if price is None else {"amount": price.amount, "currency": price.currency},
        "payment_url": details.payment_url,
    }


def details_data(event: Event) -> DetailsData:
    """The JSON of what the organizer has set. It differs only if `event.rules_tag` does."""
    return {
        **told_rules_data(event.id, event.rules),
        "created_at": to_text(event.created_at_ms),
        "organizer_id": event.organizer_id,
    }


def change_data(change: Change) -> ChangeData:
    """The JSON of a change, as the feed and webhooks tell it."""
    data: ChangeData = {
        "event_id": change.event_id,
        "seq": change.seq,
        "kind": change.kind,
        "at": to_text(change.at_ms),
        "actor": actor_of(change),
    }
    if isinstance(change, EventChange):
        data["event"] = told_rules_data(change.event_id, change.rules)
        return data
    if change.reason is not None:
        data["reason"] = change.reason
    data["booking"] = booking_data(booking_of(change))
    return data


def event_data(event: Event) -> EventData:
    """The JSON of an event."""
    return {
        **rules_data(event.id, event.rules),
        "created_at": to_text(event.created_at_ms),
        "organizer_id": event.organizer_id,
        "available_tickets": event.available,
        "bookings_count": event.bookings_count,
        "held_count": event.held_count,
        "tickets_sold": event.tickets_sold,
        "tickets_held": event.tickets_held,
        "waiting_list_count": event.waiting_count,
        "waiting_tickets": event.waiting_tickets,
        "state": event.state,
        "seq": event.seq,
    }


def _instant(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else to_text(milliseconds)
