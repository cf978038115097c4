"""Which path leads where. The hot ones come first: the router tries them in order."""

from collections.abc import Awaitable, Callable

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from booking.web import pages
from booking.web.accounts import AccountEndpoints
from booking.web.events import EventEndpoints
from booking.web.health import HealthEndpoints
from booking.web.sale import SaleEndpoints

Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]


class ByMethod:
    """A plain ASGI application that hands a request to the endpoint of its method. Starlette takes any object that is
    not a function for one, and wraps functions in a Request and a Response that the hot path does without.
    """

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self._endpoints = endpoints | ({"HEAD": endpoints["GET"]} if "GET" in endpoints else {})

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI."""
        return self._endpoints[scope["method"]](scope, receive, send)


def _route(path: str, **endpoints: Endpoint) -> Route:
    application: ASGIApp = ByMethod(endpoints)
    return Route(path, application, methods=list(endpoints), name=path)


def routes(
    sale: SaleEndpoints, events: EventEndpoints, accounts: AccountEndpoints, health: HealthEndpoints
) -> list[BaseRoute]:
    """Every address of the service."""
    return [
        _route("/book", POST=sale.book),
        _route("/status/{event_id}", GET=events.look),
        _route("/cancel", POST=sale.cancel),
        _route("/confirm", POST=sale.confirm),
        _route("/events/{event_id}/booking", GET=events.look_booking),
        _route("/events/{event_id}", GET=events.look, PATCH=events.change),
        _route("/events", GET=events.index),
        _route("/initialize", POST=events.initialize),
        _route("/auth/register", POST=accounts.register),
        _route("/auth/login", POST=accounts.login),
        _route("/healthz", GET=health.alive),
        _route("/readyz", GET=health.ready),
        _route("/problems/{code}", GET=pages.problem),
        pages.static(),
    ]
