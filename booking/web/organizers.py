"""The check that a caller is an organizer."""

from starlette.types import Scope

from booking.domain.callers import Caller
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
