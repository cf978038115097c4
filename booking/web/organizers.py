"""The checks of what a caller may do: organizers for their own events, services only for users."""

from starlette.types import Scope

from booking.domain.callers import Caller
from booking.domain.model import Event
from booking.ledger.records import EventRecord
from booking.web.authentication import Credentials
from booking.web.problems import Problem
from booking.web.requests import USER


async def require_organizer(credentials: Credentials, scope: Scope) -> Caller:
    """The caller, who is an organizer now. Raises Unauthenticated, and Problem if the caller is not an organizer."""
    caller = await credentials.caller(scope, recheck=True)
    scope[USER] = caller.user_id
    if not caller.organizer:
        raise Problem("forbidden")
    return caller


def require_user(caller: Caller) -> None:
    """Raises Problem if the caller is a service, which has no bookings and may only act for users."""
    if caller.service:
        raise Problem("forbidden", "A service may only book, check out, confirm and cancel for its users.")


def require_owner(caller: Caller, event: Event | EventRecord | None) -> None:
    """Raises Problem if the event belongs to another organizer. An event that does not exist belongs to everybody."""
    if event is not None and not caller.owns(event.organizer_id):
        owner = "the administrators" if event.organizer_id is None else "another organizer"
        raise Problem("forbidden", f"This event belongs to {owner}.")
