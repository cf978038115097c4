"""Middleware of every request: its id, its log line, and the responses to exceptions."""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from time import perf_counter_ns

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from booking.auth.key_set import KeySetUnavailable
from booking.auth.passwords import TooBusy
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded, ServerUnverified
from booking.ledger.errors import LedgerUnavailable
from booking.logs import ThrottledLogger
from booking.web.access_log import AccessLog
from booking.web.authentication import Unauthenticated
from booking.web.headers import fields_of
from booking.web.pages import send_missing, wants_html
from booking.web.problems import Problem
from booking.web.request_ids import RequestIds
from booking.web.requests import REQUEST_ID, ClientGone
from booking.web.responses import problem_response, send_response

STATUS_CLIENT_GONE = 499
"""The logged status of a request whose client disconnected before its response. nginx uses the same number."""

UNVERIFIED = "The stock cannot be compared with the database, which is away. Nothing was changed."

STATUS = "booking.status"
"""The key of a request's scope under which the status of a started response is stored."""

log = structlog.get_logger()
_UNAVAILABLE = ThrottledLogger("inventory unavailable")
_NO_DATABASE = ThrottledLogger("database unavailable")

PROBLEMS: dict[type[BaseException], Callable[[BaseException], Problem]] = {
    Overloaded: lambda _: Problem("overloaded"),
    TooBusy: lambda _: Problem("overloaded"),
    OutcomeUnknown: lambda _: Problem("outcome_unknown"),
    KeySetUnavailable: lambda _: Problem("identity_unavailable"),
}


class RequestMiddleware:
    """The outermost application. It gives each request an id, a response to any exception, and a log line."""

    def __init__(self, app: ASGIApp, access_log: AccessLog) -> None:
        self._app = app
        self._access_log = access_log
        self._ids = RequestIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_ns = perf_counter_ns()
        request_id = scope[REQUEST_ID] = self._ids.of(fields_of(scope).get(b"x-request-id"))

        def send_with_id(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                scope[STATUS] = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
            return send(message)

        scope["app"] = self  # with an `app`, Starlette's router raises HTTPException, as inside Starlette's application
        status = STATUS_CLIENT_GONE
        try:
            await self._app(scope, receive, send_with_id)
            status = scope[STATUS]
        except ClientGone:
            pass
        # A stopping server cancels a request after a time limit. Its client still gets a response.
        except (Exception, CancelledError) as error:
            if STATUS in scope:
                status = scope[STATUS]
                raise  # a part of the response is sent already; the server closes the connection
            await send_failure(scope, send_with_id, error)
            status = scope[STATUS]
        finally:
            self._access_log.write(scope, status, (perf_counter_ns() - began_ns) // 1000, request_id)


class ExceptionMiddleware:
    """Responds to exceptions of the inner application, if an outer one (CORS) must see these responses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await self._app(scope, receive, send)
        except ClientGone:
            raise
        except (Exception, CancelledError) as error:
            if scope["type"] != "http" or STATUS in scope:
                raise
            await send_failure(scope, send, error)


async def send_failure(scope: Scope, send: Send, error: BaseException) -> None:
    """Sends the response to an exception, which is without its traceback then.

    The traceback's frames hold tasks that hold the exception. Only the garbage collector would free such a cycle, and
    after a storm of refusals it stops the worker for a tenth of a second.
    """
    problem = _problem_for(error, scope[REQUEST_ID])
    error.__traceback__ = None
    if problem.kind.status == 404 and scope["method"] in ("GET", "HEAD") and wants_html(scope):
        await send_missing(scope, send, problem.code)
    else:
        await send_response(scope, send, problem_response(problem, scope[REQUEST_ID], scope.get("root_path", "")))


def _problem_for(error: BaseException, request_id: str) -> Problem:
    """The problem for an exception. An unexpected exception is logged, and becomes `internal_error`."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Unauthenticated):
        challenges = [(b"www-authenticate", challenge.encode()) for challenge in error.challenges]
        return Problem("unauthenticated", error.detail, headers=challenges)
    if isinstance(error, HTTPException):
        return _routing_problem(error)
    if isinstance(error, InventoryUnavailable):
        _UNAVAILABLE.error(reason=str(error), request_id=request_id)
        return Problem("inventory_unavailable", UNVERIFIED if isinstance(error, ServerUnverified) else None)
    if isinstance(error, LedgerUnavailable):
        _NO_DATABASE.error(reason=str(error), request_id=request_id)
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
