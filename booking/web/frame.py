"""Around every request: its id, its log line, and an answer for whatever an endpoint raises."""

from asyncio import CancelledError
from collections.abc import Callable
from time import perf_counter_ns

import structlog
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.ledger.errors import LedgerUnavailable
from booking.logs import Seldom
from booking.web.access_log import AccessLog
from booking.web.admission import Admission
from booking.web.answers import Answer, Answering, Header, problem_answer, send_answer
from booking.web.credentials import Unauthenticated
from booking.web.fields import Headers, fields_of
from booking.web.key_set import KeySetUnavailable
from booking.web.passwords import TooBusy
from booking.web.problems import Problem
from booking.web.request_ids import RequestIds
from booking.web.requests import REQUEST_ID, ClientGone

VARY_BY_ORIGIN: Header = (b"vary", b"Origin")

STATUS_CLIENT_GONE = 499
"""What the log says of a request that nobody waited for; nginx's number for it."""

Found = tuple[str, BaseRoute, Answering, dict[str, str]]
"""Where a request leads: its method, the route, its endpoint, and the path's parameters."""

Find = Callable[[bytes, bytes], Found | None]
"""Knows that by a request's method and path."""

log = structlog.get_logger()
_UNAVAILABLE = Seldom("inventory unavailable")
_NO_DATABASE = Seldom("database unavailable")

PROBLEMS: dict[type[BaseException], Callable[[BaseException], Problem]] = {
    Overloaded: lambda _: Problem("overloaded"),
    TooBusy: lambda _: Problem("overloaded"),
    OutcomeUnknown: lambda _: Problem("outcome_unknown"),
    KeySetUnavailable: lambda _: Problem("identity_unavailable"),
}


class Frame:
    """The outermost application. Starlette's own would put three more layers around the hot path, each with a wrapped
    `send`; the router inside is Starlette's, and raises HTTPException for us as it does inside its application.
    """

    def __init__(
        self,
        application: ASGIApp,
        access_log: AccessLog,
        admission: Admission | None = None,
        find: Find = lambda _method, _path: None,
        *,
        serves_origins: bool = False,
    ) -> None:
        """`find` knows the endpoints that a request may be taken to directly, past `application`; where that
        `serves_origins`, not one of a page of another origin.
        """
        self._application = application
        self._access_log = access_log
        self._find = find
        self._serves_origins = serves_origins
        self.admission = Admission() if admission is None else admission
        """For the server, which turns requests away before they come here."""
        self._ids = RequestIds()

    def direct(self, method: bytes, path: bytes, headers: Headers) -> tuple[Answering, Scope] | None:
        """The endpoint of a request that `answer` may answer, and as much of a scope as it needs; None: ASGI's way."""
        found = self._find(method, path)
        if found is None or (self._serves_origins and any(name == b"origin" for name, _ in headers)):
            return None
        # A password may have to be checked, and is counted under the client's address, which a proxy may have to tell.
        if any(name == b"authorization" and value[:5].lower() == b"basic" for name, value in headers):
            return None
        name, route, endpoint, path_params = found
        return endpoint, {
            "type": "http",
            "method": name,
            "headers": headers,
            "route": route,
            "path_params": path_params,
        }

    async def answer(self, endpoint: Answering, scope: Scope, receive: Receive) -> Answer | None:
        """Answers one request as `__call__` does, without ASGI's messages; None when nobody waits for it any more."""
        began_ns = perf_counter_ns()
        request_id = scope[REQUEST_ID] = self._ids.of(fields_of(scope).get(b"x-request-id"))
        status = STATUS_CLIENT_GONE
        try:
            answer = await endpoint(scope, receive)
            status = answer.status
        except ClientGone:
            return None
        # The one place where everything finds its answer; what is cancelled has outlasted the patience of a stop.
        except (Exception, CancelledError) as error:  # noqa: BLE001
            answer = failure(error, request_id)
            status = answer.status
        finally:
            self._access_log.write(scope, status, (perf_counter_ns() - began_ns) // 1000, request_id)
        answer.headers.append((b"x-request-id", request_id.encode()))
        if self._serves_origins:  # what is kept of it is no answer to a page of one of them
            answer.headers.append(VARY_BY_ORIGIN)
        return answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        began_ns = perf_counter_ns()
        request_id = self._ids.of(fields_of(scope).get(b"x-request-id"))
        scope[REQUEST_ID] = request_id
        scope["app"] = self
        status = 0

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            await self._application(scope, receive, send_framed)
        except ClientGone:
            status = STATUS_CLIENT_GONE
        except Exception as error:  # the one place where everything finds its answer
            if status:
                raise  # half an answer is out; the server closes the connection
            await send_answer(send_framed, failure(error, request_id))
        finally:
            self._access_log.write(scope, status, (perf_counter_ns() - began_ns) // 1000, request_id)


class Failures:
    """Answers for what is raised inside it. Only for a layer between it and the frame that has to see those answers."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._application(scope, receive, send_and_note)
        except ClientGone:
            raise
        except Exception as error:
            if begun:
                raise
            await send_answer(send, failure(error, scope[REQUEST_ID]))


def failure(error: BaseException, request_id: str) -> Answer:
    """What an exception is to the client."""
    return problem_answer(_problem_for(error, request_id), request_id)


def _problem_for(error: BaseException, request_id: str) -> Problem:
    """Whatever nobody foresaw is logged, and told as a fault of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Unauthenticated):
        challenges = [(b"www-authenticate", challenge.encode()) for challenge in error.challenges]
        return Problem("unauthenticated", error.detail, headers=challenges)
    if isinstance(error, HTTPException):
        return _routing_problem(error)
    if isinstance(error, InventoryUnavailable):
        _UNAVAILABLE.tell(reason=str(error), request_id=request_id)
        return Problem("inventory_unavailable")
    if isinstance(error, LedgerUnavailable):
        _NO_DATABASE.tell(reason=str(error), request_id=request_id)
        return Problem("database_unavailable")
    make = PROBLEMS.get(type(error))
    if make is not None:
        return make(error)
    log.error("a request failed", request_id=request_id, exc_info=error)
    return Problem("internal_error")


def _routing_problem(error: HTTPException) -> Problem:
    if error.status_code == 405:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        return Problem("method_not_allowed", headers=[(b"allow", allow.encode())])
    return Problem("not_found")
