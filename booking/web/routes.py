"""The paths of the service, and the endpoint of each."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from booking.web import pages
from booking.web.endpoints.accounts import AccountEndpoints
from booking.web.endpoints.calendar import CalendarEndpoint
from booking.web.endpoints.changes import ChangeEndpoint
from booking.web.endpoints.events import EventEndpoints
from booking.web.endpoints.health import HealthEndpoints
from booking.web.endpoints.lists import ListEndpoints
from booking.web.endpoints.live import LiveEndpoint
from booking.web.endpoints.live_of_user import LiveOfUserEndpoint
from booking.web.endpoints.metrics import MetricsEndpoint
from booking.web.endpoints.payments import STRIPE, PaymentEndpoints
from booking.web.endpoints.refunds import RefundEndpoints
from booking.web.endpoints.reports import ReportEndpoints
from booking.web.endpoints.resets import ResetEndpoints
from booking.web.endpoints.sale import SaleEndpoints
from booking.web.endpoints.tickets import TicketEndpoint
from booking.web.endpoints.webhooks import WebhookEndpoints
from booking.web.openapi import endpoint as reference
from booking.web.pages.static_files import static
from booking.web.responses import Handler, send_response

Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]


COMMANDS = frozenset(("/book", "/cancel", "/checkout", "/confirm"))
"""The commands of buyers. They are sheddable, like reads of an event and of the caller's own booking."""

EVENTS = "/events/"


def is_sheddable(method: str, path: str) -> bool:
    """Whether the server may reject a request under overload: buyers' calls, each of which is one step in Redis.

    Other requests have limits of their own: password checks, listeners, the connections of the database.
    """
    if method == "POST":
        return path in COMMANDS
    if method != "GET":
        return False
    if path.startswith("/status/"):
        return True
    return path.startswith(EVENTS) and (path.endswith(("/booking", "/details")) or path[len(EVENTS) :].isdigit())


class HandlerEndpoint:
    """A handler as an ASGI application."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await send_response(scope, send, await self._handler(scope, receive))


class ByMethod:
    """Passes a request to the endpoint of its method.

    Starlette treats an object that is not a function as an ASGI application. It wraps functions in a Request and a
    Response, which cost more than an endpoint of the hot path.
    """

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self.endpoints = endpoints | ({"HEAD": endpoints["GET"]} if "GET" in endpoints else {})

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI."""
        return self.endpoints[scope["method"]](scope, receive, send)


class RouteTable:
    """A table in front of Starlette's router, because the router tries one regular expression after the other.

    The table has the paths without a parameter, and those whose second part is an event's id. Any other request goes
    to the router.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._table: dict[tuple[str, ...], tuple[Route, Endpoint]] = {}
        """By method and path; by method and the two parts of a path around an event's id."""

    def serve(self, routes: Sequence[BaseRoute]) -> None:
        """Serves these routes from now on; before, every request goes to the router's default."""
        self._router.routes, self._router.default = list(routes), self._router.not_found
        self._table = {
            (method, *route.path.split("{event_id}")): (route, endpoint)
            for route in routes
            if isinstance(route, Route) and isinstance(route.app, ByMethod)
            for method, endpoint in route.app.endpoints.items()
        }

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI."""
        if scope["type"] != "http":
            return self._router(scope, receive, send)
        root = scope.get("root_path", "")
        found = self.find(scope["method"], scope["path"].removeprefix(root) if root else scope["path"])
        if found is None:
            return self._router(scope, receive, send)
        scope["route"], endpoint, scope["path_params"] = found
        return endpoint(scope, receive, send)

    def find(self, method: str, path: str) -> tuple[Route, Endpoint, dict[str, str]] | None:
        """The route, the endpoint and the path's parameters of a request; None if it is not in the table."""
        start = path.find("/", 1) + 1
        if not start:
            found = self._table.get((method, path))
            return None if found is None else (*found, {})
        end = path.find("/", start)
        event_id, rest = (path[start:], "") if end < 0 else (path[start:end], path[end:])
        found = self._table.get((method, path[:start], rest))
        if found is None or not (event_id.isascii() and event_id.isdigit()):
            return None
        return (*found, {"event_id": event_id})


def _route(path: str, **handlers: Handler) -> Route:
    return _sending(path, **{method: HandlerEndpoint(handler) for method, handler in handlers.items()})


def _sending(path: str, **endpoints: Endpoint) -> Route:
    application: ASGIApp = ByMethod(endpoints)
    return Route(path, application, methods=list(endpoints), name=path)


def routes(
    sale: SaleEndpoints,
    events: EventEndpoints,
    lists: ListEndpoints,
    reports: ReportEndpoints,
    refunds: RefundEndpoints,
    changes: ChangeEndpoint,
    webhooks: WebhookEndpoints,
    live: LiveEndpoint,
    live_of_user: LiveOfUserEndpoint,
    ticket: TicketEndpoint,
    calendar: CalendarEndpoint,
    accounts: AccountEndpoints | None,
    resets: ResetEndpoints | None,
    payments: PaymentEndpoints | None,
    health: HealthEndpoints,
    metrics: MetricsEndpoint,
    page: pages.PageEndpoints,
) -> list[BaseRoute]:
    """All routes of the service. `accounts`, `resets` and `payments` are None if the service does not offer them."""
    account_routes = (
        []
        if accounts is None
        else [
            _route("/auth/register", POST=accounts.register),
            _route("/auth/login", POST=accounts.login),
            _route("/auth/password", POST=accounts.change_password),
            _route("/auth/renew", POST=accounts.renew),
            _route("/auth/account", DELETE=accounts.remove),
        ]
    )
    reset_routes = (
        [] if resets is None else [_route("/auth/forgot", POST=resets.forgot), _route("/auth/reset", POST=resets.reset)]
    )
    return [
        _sending("/book", POST=sale.book),
        _sending("/status/{event_id}", GET=events.status),
        _sending("/cancel", POST=sale.cancel),
        _sending("/checkout", POST=sale.checkout),
        _sending("/confirm", POST=sale.confirm),
        _route("/events/{event_id}/booking", GET=events.get_booking),
        _route("/events/{event_id}/ticket.svg", GET=ticket),
        _route("/events/{event_id}/calendar.ics", GET=calendar),
        _route("/events/{event_id}/details", GET=events.details),
        _sending("/events/{event_id}/bookings", GET=lists.of_event),
        _route("/events/{event_id}/changes", GET=changes.changes),
        _sending("/events/{event_id}/live", GET=live),
        _route("/events/{event_id}/report", GET=reports.report),
        _route("/events/{event_id}/audit", GET=reports.audit),
        _route("/events/{event_id}/refunds", GET=refunds.index),
        _route("/events/{event_id}/refunds/{payment_id}", PATCH=refunds.change),
        _route("/events/{event_id}/payment-secret", GET=events.payment_secret),
        _sending("/live", GET=live_of_user),
        _route("/bookings", GET=lists.own),
        _sending("/events/{event_id}", GET=events.get, PATCH=HandlerEndpoint(events.change)),
        _route("/events", GET=events.index),
        _route("/initialize", POST=events.initialize),
        _route("/webhooks", GET=webhooks.index, POST=webhooks.add),
        _route("/webhooks/{webhook_id}", GET=webhooks.get, PATCH=webhooks.change, DELETE=webhooks.remove),
        _route("/webhooks/{webhook_id}/rotate", POST=webhooks.rotate),
        _route("/webhooks/{webhook_id}/test", POST=webhooks.test),
        _route("/webhooks/{webhook_id}/replay", POST=webhooks.replay),
        _route("/webhooks/{webhook_id}/deliveries", GET=webhooks.deliveries),
        *account_routes,
        *reset_routes,
        *([] if payments is None else [_route(STRIPE, POST=payments.stripe)]),
        _route("/healthz", GET=health.alive),
        _route("/readyz", GET=health.ready),
        _route("/metrics", GET=metrics),
        _sending("/openapi.json", GET=reference.openapi),
        _sending("/docs", GET=reference.docs),
        _sending("/problems", GET=reference.problems),
        _sending("/problems/{code}", GET=pages.problem),
        _sending("/", GET=page.index),
        _sending("/sale/{event_id}", GET=page.sale),
        _sending("/me", GET=page.me),
        _sending("/console", GET=page.console),
        _sending("/account", GET=page.account),
        _sending("/reset", GET=page.reset),
        _sending("/console/webhooks", GET=page.webhooks),
        _sending("/static/{path:path}", GET=static),
    ]
