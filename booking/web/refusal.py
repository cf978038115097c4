"""Answers to what never comes to a route: too much, and what is no HTTP."""

from collections.abc import Collection
from http import HTTPStatus

import orjson

from booking.web.headers import Headers, by_name
from booking.web.problems import CONTENT_TYPE, Problem
from booking.web.request_ids import RequestIds


class Refusal:
    """One problem as an answer's bytes: of those who are turned away it is made tens of thousands of times a second."""

    def __init__(self, code: str, cors_origins: Collection[str] = ()) -> None:
        self._ids = RequestIds()
        self._origins = frozenset(origin.encode() for origin in cors_origins)
        problem = Problem(code)
        before, after = problem.body("id").split(b'"id"')
        self._body = before, after
        status = HTTPStatus(problem.kind.status)
        head = [f"HTTP/1.1 {status} {status.phrase}".encode(), b"content-type: " + CONTENT_TYPE]
        head += [b"%b: %b" % header for header in problem.headers]
        self._head = b"\r\n".join(head)

    def answer(self, headers: Headers, beside: bytes, *, keep_alive: bool) -> bytes:
        """The whole answer to a request with these headers (names in lower case), with the lines `beside` in it."""
        fields = by_name(headers)
        request_id = self._ids.of(fields.get(b"x-request-id"))
        body = orjson.dumps(request_id).join(self._body)
        return b"%b\r\n%bx-request-id: %b\r\ncontent-length: %d\r\n%b%b\r\n%b" % (
            self._head,
            beside,
            request_id.encode(),
            len(body),
            self._for_origin(fields.get(b"origin")) if self._origins else b"",
            b"" if keep_alive else b"connection: close\r\n",
            body,
        )

    def _for_origin(self, origin: bytes | None) -> bytes:
        """What lets a page of another origin read the answer, as around every other one."""
        if origin is None or not (origin in self._origins or b"*" in self._origins):
            return b""
        allowed = b"*" if b"*" in self._origins else origin
        return (
            b"access-control-allow-origin: %b\r\naccess-control-expose-headers: Retry-After, X-Request-ID\r\n"
            b"vary: Origin\r\n" % allowed
        )
