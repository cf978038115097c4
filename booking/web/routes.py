"""Which path leads where. The hot ones come first: the router tries them in order."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from booking.web import pages
from booking.web.accounts import AccountEndpoints
from booking.web.events import EventEndpoints
from booking.web.health import HealthEndpoints
from booking.web.lists import ListEndpoints
from booking.web.live import LiveEndpoint
from booking.web.metrics import MetricsEndpoint
from booking.web.openapi import endpoint as reference
from booking.web.pages.static_files import static
from booking.web.reports import ReportEndpoints
from booking.web.sale import SaleEndpoints

Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]


class ByMethod:
    """A plain ASGI application that hands a request to the endpoint of its method. Starlette takes any object that is
    not a function for one, and wraps functions in a Request and a Response that the hot path does without.
    """

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self.endpoints = endpoints | ({"HEAD": endpoints["GET"]} if "GET" in endpoints else {})

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI."""
        return self.endpoints[scope["method"]](scope, receive, send)


class DirectRouter(Router):
    """Starlette's router, that finds the paths without a parameter in a table. It asks each route in turn otherwise,
    and hands a request through four calls, which the hot path does without.
    """

    _direct: Mapping[tuple[str, str], tuple[Route, Endpoint]] = MappingProxyType({})

    def open(self, served: Sequence[BaseRoute]) -> None:
        """Begins to serve these routes."""
        self.routes = list(served)
        self._direct = {
            (method, route.path): (route, route.app.endpoints[method])
            for route in served
            if isinstance(route, Route) and isinstance(route.app, ByMethod) and not route.param_convertors
            for method in route.app.endpoints
        }

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]  # the coroutine of another, unwrapped
        """ASGI."""
        if scope["type"] == "http":
            found = self._direct.get((scope["method"], scope["path"]))
            if found is not None:
                scope["route"], endpoint = found
                return endpoint(scope, receive, send)
        return super().__call__(scope, receive, send)


def _route(path: str, **endpoints: Endpoint) -> Route:
    application: ASGIApp = ByMethod(endpoints)
    return Route(path, application, methods=list(endpoints), name=path)


def routes(
    sale: SaleEndpoints,
    events: EventEndpoints,
    lists: ListEndpoints,
    reports: ReportEndpoints,
    live: LiveEndpoint,
    accounts: AccountEndpoints,
    health: HealthEndpoints,
    metrics: MetricsEndpoint,
    page: pages.PageEndpoints,
) -> list[BaseRoute]:
    """Every address of the service."""
    return [
        _route("/book", POST=sale.book),
        _route("/status/{event_id}", GET=events.look),
        _route("/cancel", POST=sale.cancel),
        _route("/confirm", POST=sale.confirm),
        _route("/events/{event_id}/booking", GET=events.look_booking),
        _route("/events/{event_id}/bookings", GET=lists.of_event),
        _route("/events/{event_id}/live", GET=live),
        _route("/events/{event_id}/report", GET=reports.report),
        _route("/events/{event_id}/audit", GET=reports.audit),
        _route("/bookings", GET=lists.own),
        _route("/events/{event_id}", GET=events.look, PATCH=events.change),
        _route("/events", GET=events.index),
        _route("/initialize", POST=events.initialize),
        _route("/auth/register", POST=accounts.register),
        _route("/auth/login", POST=accounts.login),
        _route("/healthz", GET=health.alive),
        _route("/readyz", GET=health.ready),
        _route("/metrics", GET=metrics),
        _route("/openapi.json", GET=reference.openapi),
        _route("/docs", GET=reference.docs),
        _route("/problems", GET=reference.problems),
        _route("/problems/{code}", GET=pages.problem),
        _route("/", GET=page.index),
        _route("/sale/{event_id}", GET=page.sale),
        _route("/console", GET=page.console),
        _route("/static/{path:path}", GET=static),
    ]
