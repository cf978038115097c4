"""What only organizers may ask for."""

from starlette.types import Scope

from booking.domain.callers import Caller
from booking.web.authentication import Credentials
from booking.web.problems import Problem
from booking.web.requests import USER


async def organizer(credentials: Credentials, scope: Scope) -> Caller:
    """Who is calling, if an organizer. Raises Unauthenticated, and Problem for anybody else."""
    caller = await credentials.caller(scope, afresh=True)
    scope[USER] = caller.user_id
    if not caller.organizer:
        raise Problem("forbidden")
    return caller
