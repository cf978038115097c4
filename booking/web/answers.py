"""How events and bookings look in an answer, and the way an answer goes out."""

from typing import Any

import orjson
from starlette.types import Send

from booking.domain.model import Booking, Event
from booking.web.problems import CONTENT_TYPE, Problem
from booking.web.shapes import BookingData, EventData
from booking.web.times import to_text

_JSON = (b"content-type", b"application/json")
Header = tuple[bytes, bytes]


async def send_json(send: Send, status: int, body: bytes, *headers: Header) -> None:
    """Sends an answer whose body is JSON already."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [_JSON, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_problem(send: Send, problem: Problem, request_id: str, *headers: Header) -> None:
    """Sends a failure."""
    body = problem.body(request_id)
    length = (b"content-length", b"%d" % len(body))
    await send(
        {
            "type": "http.response.start",
            "status": problem.kind.status,
            "headers": [(b"content-type", CONTENT_TYPE), length, *problem.headers, *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


def success(message: str, data: Any, **beside: Any) -> bytes:
    """The body of an answer that is no failure."""
    return orjson.dumps({"error": False, "message": message, **beside, "data": data})


def booking_data(booking: Booking) -> BookingData:
    """A booking as clients see it."""
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
    return data


def event_data(event: Event) -> EventData:
    """An event as clients see it."""
    rules = event.rules
    return {
        "id": event.id,
        "name": rules.name,
        "capacity": rules.capacity,
        "available_tickets": event.available,
        "bookings_count": event.bookings_count,
        "held_count": event.held_count,
        "tickets_sold": event.tickets_sold,
        "tickets_held": event.tickets_held,
        "waiting_list_count": event.waiting_count,
        "max_per_user": rules.max_per_user,
        "hold_seconds": rules.hold_seconds,
        "waitlist_limit": rules.waitlist_limit,
        "opens_at": None if rules.opens_at_ms is None else to_text(rules.opens_at_ms),
        "closes_at": None if rules.closes_at_ms is None else to_text(rules.closes_at_ms),
        "paused": rules.paused,
        "state": event.state,
        "seq": event.seq,
        "created_at": to_text(event.created_at_ms),
    }
