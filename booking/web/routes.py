"""Which path leads where. The hot ones come first: the router tries them in order."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from booking.web import pages
from booking.web.accounts import AccountEndpoints
from booking.web.answers import Answering, send_answer
from booking.web.events import EventEndpoints
from booking.web.frame import Found
from booking.web.health import HealthEndpoints
from booking.web.lists import ListEndpoints
from booking.web.live import LiveEndpoint
from booking.web.metrics import MetricsEndpoint
from booking.web.openapi import endpoint as reference
from booking.web.pages.static_files import static
from booking.web.reports import ReportEndpoints
from booking.web.sale import SaleEndpoints

Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]


class Sent:
    """An endpoint that answers, as an ASGI application."""

    def __init__(self, endpoint: Answering) -> None:
        self.endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await send_answer(send, await self.endpoint(scope, receive))


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
    """Starlette's router, that finds where a crowd's requests lead in a table. It asks each route in turn otherwise."""

    _answering: Mapping[tuple[bytes, bytes, bytes, bytes], tuple[str, Route, Answering]] = MappingProxyType({})

    def open(self, served: Sequence[BaseRoute]) -> None:
        """Begins to serve these routes."""
        self.routes, self.default = list(served), self.not_found
        self._answering = {
            (method.encode(), *route.path.encode().partition(b"{event_id}")): (method, route, endpoint.endpoint)
            for route in served
            if isinstance(route, Route) and isinstance(route.app, ByMethod)
            for method, endpoint in route.app.endpoints.items()
            if isinstance(endpoint, Sent) and method != "HEAD" and not route.path.startswith("/auth/")
        }

    def find(self, method: bytes, path: bytes) -> Found | None:
        """Where a request leads that is answered in one piece, if its path is a route's own, or that with an event's
        number in its second place; None for any other, and for those that need the client's address.
        """
        start = path.find(b"/", 1) + 1
        if not start:
            found = self._answering.get((method, path, b"", b""))
            return None if found is None else (*found, {})
        end = path.find(b"/", start)
        event_id, rest = (path[start:], b"") if end < 0 else (path[start:end], path[end:])
        found = self._answering.get((method, path[:start], b"{event_id}", rest))
        if found is None or not event_id.isdigit():
            return None
        return (*found, {"event_id": event_id.decode()})


def _route(path: str, **endpoints: Answering) -> Route:
    return _sending(path, **{method: Sent(endpoint) for method, endpoint in endpoints.items()})


def _sending(path: str, **endpoints: Endpoint) -> Route:
    application: ASGIApp = ByMethod(endpoints)
    return Route(path, application, methods=list(endpoints), name=path)


def routes(
    sale: SaleEndpoints,
    events: EventEndpoints,
    lists: ListEndpoints,
    reports: ReportEndpoints,
    live: LiveEndpoint,
    accounts: AccountEndpoints | None,
    health: HealthEndpoints,
    metrics: MetricsEndpoint,
    page: pages.PageEndpoints,
) -> list[BaseRoute]:
    """Every address of the service; those of its own accounts, if it has any."""
    of_accounts = (
        []
        if accounts is None
        else [_route("/auth/register", POST=accounts.register), _route("/auth/login", POST=accounts.login)]
    )
    return [
        _route("/book", POST=sale.book),
        _route("/status/{event_id}", GET=events.look),
        _route("/cancel", POST=sale.cancel),
        _route("/confirm", POST=sale.confirm),
        _route("/events/{event_id}/booking", GET=events.look_booking),
        _sending("/events/{event_id}/bookings", GET=lists.of_event),
        _sending("/events/{event_id}/live", GET=live),
        _route("/events/{event_id}/report", GET=reports.report),
        _route("/events/{event_id}/audit", GET=reports.audit),
        _route("/bookings", GET=lists.own),
        _route("/events/{event_id}", GET=events.look, PATCH=events.change),
        _route("/events", GET=events.index),
        _route("/initialize", POST=events.initialize),
        *of_accounts,
        _route("/healthz", GET=health.alive),
        _route("/readyz", GET=health.ready),
        _route("/metrics", GET=metrics),
        _sending("/openapi.json", GET=reference.openapi),
        _sending("/docs", GET=reference.docs),
        _sending("/problems", GET=reference.problems),
        _sending("/problems/{code}", GET=pages.problem),
        _sending("/", GET=page.index),
        _sending("/sale/{event_id}", GET=page.sale),
        _sending("/console", GET=page.console),
        _sending("/static/{path:path}", GET=static),
    ]
