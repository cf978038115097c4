"""Requests are valid HTTP, and answers are read in whatever pieces they arrive."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httptools
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from booking.loadtest.wire import RESPONSE_BYTES_MAX, Requests, UnreadableResponseError, split_response
from tests.loadtest.sale import PLAN

WHOLE = b'HTTP/1.1 409 Conflict\r\nETag-Not: ""\r\nContent-Length:  8\r\nRetry-After: 2\r\n\r\n{"a": 1}'


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_an_answer_is_read_only_when_it_is_complete(arrived: int) -> None:
    assert split_response(WHOLE[:arrived]) is None
    answer = split_response(WHOLE)
    assert answer is not None
    assert (answer.status, answer.body) == (409, b'{"a": 1}')
    assert (answer.header(b"retry-after"), answer.header(b"content-length"), answer.header(b"etag")) == (
        b"2",
        b"8",
        None,
    )


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 2oo OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (RESPONSE_BYTES_MAX + 1),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n12",
        b"SSH-2.0\r\nContent-Length: 0\r\n\r\n",
        b"x" * (RESPONSE_BYTES_MAX + 1),
    ],
)
def test_an_invalid_answer_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableResponseError):
        split_response(data)


class Read:
    """A request as a real HTTP parser reads it."""

    def __init__(self, request: bytes) -> None:
        self.path = b""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.complete = False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(request)
        self.method = parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.path = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


@pytest.mark.parametrize(
    ("build", "line", "body"),
    [
        (lambda r: r.book(b"a.b.c", 1, None), (b"POST", b"/book"), {"event_id": 5}),
        (lambda r: r.book(b"a.b.c", 3, b"0-17"), (b"POST", b"/book"), {"event_id": 5, "quantity": 3}),
        (lambda r: r.cancel(b"a.b.c", b"2-17"), (b"POST", b"/cancel"), {"event_id": 5}),
        (lambda r: r.read(b"a.b.c"), (b"GET", b"/events/5/booking"), None),
        (lambda r: r.status(), (b"GET", b"/status/5"), None),
    ],
)
def test_every_request_has_the_right_method_path_headers_and_body(
    build: Callable[[Requests], bytes], line: tuple[bytes, bytes], body: dict[str, Any] | None
) -> None:
    request = build(Requests(replace(PLAN, url="http://127.0.0.1:8000", event_id=5, quantity_max=4)))
    read = Read(request)
    assert read.complete
    assert (read.method, read.path) == line
    assert (orjson.loads(read.body) if read.body else None) == body
    assert read.headers[b"host"] == b"127.0.0.1:8000"
    assert read.headers.get(b"authorization", b"Bearer a.b.c") == b"Bearer a.b.c"
    assert (b"idempotency-key" in read.headers) == (b"-17" in request)


def test_an_ipv6_address_keeps_its_brackets() -> None:
    request = Requests(replace(PLAN, url="http://[::1]:8000")).status()
    assert Read(request).headers[b"host"] == b"[::1]:8000"
