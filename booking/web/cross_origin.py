"""Cross-origin requests of browsers (CORS): what pages of the configured origins may send and read."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from booking.web.problems import Problem

METHODS = ("GET", "POST", "PATCH", "DELETE")

EXPOSED_HEADERS = (
    "Content-Disposition",
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Event-Seq",
    "X-Request-ID",
)
"""The response headers that a page of another origin may read, besides those that every page may read."""


class CrossOriginMiddleware(CORSMiddleware):
    """Grants a preflight the headers that it asks for: tracing tools in browsers add headers of their own."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app, allow_origins=origins, allow_methods=METHODS, allow_headers="*", expose_headers=EXPOSED_HEADERS
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The response to a preflight. Raises Problem if it is refused."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        vary = [(b"vary", self.preflight_headers["Vary"].encode())]
        if not self.is_allowed_origin(request_headers["origin"]):
            raise Problem("forbidden", "Pages of this origin may not call the service.", headers=vary)
        raise Problem("method_not_allowed", headers=[*vary, (b"allow", ", ".join(METHODS).encode())])
