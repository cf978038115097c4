"""Responses to requests that reach no route: those rejected under overload, and malformed ones."""

from collections.abc import Collection, Sequence

import orjson

from booking.web.headers import by_name
from booking.web.problems import CONTENT_TYPE, Problem
from booking.web.request_ids import RequestIds

Header = tuple[bytes, bytes]


class Rejections:
    """Builds responses from prepared parts, because under overload there are tens of thousands in a second."""

    def __init__(self, cors_origins: Collection[str] = (), root: str = "") -> None:
        """`cors_origins` are the origins whose pages may read the responses; `*` stands for any.

        `root` is the path under which the service is served.
        """
        self._root = root
        self._ids = RequestIds()
        self._origins = frozenset(origin.encode() for origin in cors_origins)
        self._parts: dict[str, tuple[int, bytes, bytes, bytes]] = {}

    def __call__(self, code: str, request_headers: Sequence[Header]) -> tuple[int, bytes, bytes]:
        """The response to a request with these header fields: its status, further header lines, and body."""
        status, lines, before, after = self._parts.get(code) or self._prepare(code)
        fields = by_name(request_headers)
        request_id = self._ids.of(fields.get(b"x-request-id"))
        if self._origins:
            lines += self._lines_for(fields.get(b"origin"))
        return status, lines + b"x-request-id: %b\r\n" % request_id.encode(), before + orjson.dumps(request_id) + after

    def _prepare(self, code: str) -> tuple[int, bytes, bytes, bytes]:
        problem = Problem(code)
        before, after = problem.body("id", self._root).split(b'"id"')
        headers = [(b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store"), *problem.headers]
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        parts = self._parts[code] = problem.kind.status, lines, before, after
        return parts

    def _lines_for(self, origin: bytes | None) -> bytes:
        """The CORS header lines, with which a page of another origin can read the response."""
        if origin is None or not (origin in self._origins or b"*" in self._origins):
            return b"vary: Origin\r\n"
        allowed = b"*" if b"*" in self._origins else origin
        return (
            b"access-control-allow-origin: %b\r\naccess-control-expose-headers: Retry-After, X-Request-ID\r\n"
            b"vary: Origin\r\n" % allowed
        )
