"""Reading: bytes become whole requests, or a rejection; nothing runs before a request is whole."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import unquote

import httptools

from booking.http.headers import Header

HEAD_BYTES_MAX = 262_144
"""Bytes of a request besides its body: request line, fields, chunk sizes and trailer. A token of 100 KB is refused by
the application like any other; a body of 16 KiB in chunks of one byte brings 80 KiB of chunk sizes."""

REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)( \S+ HTTP/1\.[01]\r\n)")
"""A request line with any method that RFC 9110, section 9.1, allows."""

NO_LARGER_BODIES: Mapping[str, int] = MappingProxyType({})

UPGRADE_FIELDS = frozenset((b"upgrade", b"http2-settings"))
"""Fields, and options of Connection, of a request that asks for another protocol."""

UNUSUAL = frozenset((b"transfer-encoding", b"expect"))
"""Fields that say how a body comes; most requests have neither."""

MALFORMED, NOT_IMPLEMENTED = "malformed_request", "transfer_encoding_unsupported"
"""Rejections; the application gives each of them its response."""


class Request:
    """One request: whole, cut at the limit of a body, or not to be handed to the application (`rejection`)."""

    __slots__ = (
        "body", "fields", "headers", "is_last", "is_whole", "method", "path", "query", "raw_path", "rejection",
        "target", "version",
    )  # fmt: skip

    def __init__(self, method: str, target: bytes, version: str, headers: list[Header]) -> None:
        """The headers' names are in lower case."""
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.fields: dict[bytes, bytes] | None = None
        """The fields by name, if no name is there twice."""
        self.body = self.raw_path = self.query = b""
        self.path = ""
        """Decoded, so that no spelling of it makes a difference."""
        self.is_whole = True
        """False: the client is still sending it."""
        self.is_last = False
        """Whether the connection ends with its response."""
        self.rejection: str | None = None

    def size(self) -> int:
        """The bytes that it keeps, roughly."""
        return len(self.target) + len(self.body) + sum(len(name) + len(value) for name, value in self.headers)

    def read_path(self) -> None:
        """Sets what the target says. Raises httptools.HttpParserInvalidURLError for one without a path."""
        raw = self.target
        path = raw.decode("latin-1")  # a str is searched in a third of the time of bytes
        if "?" in path:
            raw, _, self.query = raw.partition(b"?")
            path = raw.decode("latin-1")
        if path[:1] != "/" or "#" in path:  # an absolute address (RFC 9112, section 3.2.2), or a fragment
            url = httptools.parse_url(self.target)
            raw, self.query = url.path or b"/", url.query or b""
            path = raw.decode("latin-1")
        self.raw_path = raw
        self.path = unquote(path) if "%" in path else path


def _drop(request: Request) -> None:
    """Nobody takes requests any more."""


class RequestReader:
    """Feeds one connection's bytes to the parser, and delivers each request once.

    A body of more than `body_bytes_max` bytes is delivered early: empty if its Content-Length says so, else cut at one
    byte more than the limit. The application sees either, and refuses it in its own order of checks. Such a request is
    the last one of its connection. A path in `larger_bodies` has its own limit.
    """

    def __init__(
        self,
        deliver: Callable[[Request], None],
        body_bytes_max: int,
        larger_bodies: Mapping[str, int] = NO_LARGER_BODIES,
    ) -> None:
        self._deliver = deliver
        self._body_bytes_max = body_bytes_max
        self._larger_bodies = larger_bodies
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._request: Request | None = None
        """The request whose head is complete and whose body is coming."""
        self._url = b""
        self._headers: list[Header] = []
        self._received_bytes = 0
        """Bytes since the first piece of a request that has begun; less than 0 while bytes with an earlier one are
        read."""
        self._fed_bytes = 0
        self._method: str | None = None
        """The real method of a request that the parser takes for a GET."""
        self.is_receiving = False
        """Whether a request has begun and is not complete."""
        self.expects_continue = False
        """Whether its client waits for 100 Continue before it sends the body (RFC 9110, section 10.1.1)."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is read: after the last request, a rejection, or `close`."""
        return self._parser is None

    def close(self) -> None:
        """Stops reading. Without it only the collector would free the parser and the connection."""
        self._parser, self._deliver = None, _drop

    def feed(self, data: bytes) -> None:
        """Takes bytes from the client; delivers what they complete."""
        parser = self._parser
        if parser is None:
            return
        begins = not self.is_receiving
        if begins:
            self._received_bytes = 0
        self._fed_bytes = len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._parser is not None:
                self._read_without_upgrade(data[upgrade.args[0] :])
                return
        except httptools.HttpParserInvalidMethodError:
            # The parser knows some methods only. The request is read as a GET if it is the first in these bytes.
            line = REQUEST_LINE.match(data) if begins and self._received_bytes == 0 else None
            if line is None:
                self._reject(MALFORMED)
                return
            self._method = line[1].decode()
            self._restart(b"GET" + data[line.end(1) :])
            return
        except httptools.HttpParserError:
            self._reject(MALFORMED)
            return
        if self.is_receiving:
            self._received_bytes += len(data)
            body_bytes = 0 if self._request is None else len(self._request.body)
            if self._received_bytes - body_bytes > HEAD_BYTES_MAX:
                self._reject(MALFORMED)

    def on_message_begin(self) -> None:
        """The parser has met the first byte of a request."""
        self.is_receiving = True
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """The parser has read some of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser has read a field. Those of a trailer are dropped (RFC 9110, section 6.5.1)."""
        if self._request is None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The parser has read the head."""
        parser = self._parser
        if parser is None:
            return
        headers = self._headers
        fields = dict(headers)
        stays = parser.should_keep_alive()
        # Without the field Connection only HTTP/1.1 stays. To ask the parser for the version costs half a microsecond.
        version = "1.1" if stays and b"connection" not in fields else parser.get_http_version()
        method = self._method or parser.get_method().decode()
        request = self._request = Request(method, self._url, version, headers)
        if len(fields) == len(headers):
            request.fields = fields
        if request.fields is None or b"host" not in fields or not UNUSUAL.isdisjoint(fields):
            self._check_fields(request)
        if not stays or version == "1.0" or method == "CONNECT":
            request.is_last = True
        try:
            request.read_path()
        except httptools.HttpParserInvalidURLError:
            request.rejection = MALFORMED
        declared = fields.get(b"content-length")  # by the parser it is a number; zeros before it may be thousands
        if request.rejection is not None or (
            declared is not None and self._exceeds(request, int(declared.lstrip(b"0") or b"0"))
        ):
            self._deliver_early(request)

    def _exceeds(self, request: Request, size: int) -> bool:
        return size > self._body_bytes_max and size > self._larger_bodies.get(request.path, 0)

    def _check_fields(self, request: Request) -> None:
        """Rejects a head that servers could read in two ways (RFC 9112, sections 3.2 and 6.1), and notes Expect."""
        for name, value in request.headers:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                request.rejection = NOT_IMPLEMENTED
            elif name == b"expect":
                self.expects_continue = value.lower() == b"100-continue" and request.version != "1.0"
        hosts = sum(name == b"host" for name, _ in request.headers)
        if hosts > 1 or (hosts == 0 and request.version != "1.0"):
            request.rejection = MALFORMED

    def on_body(self, body: bytes) -> None:
        """The parser has read some of a body."""
        request = self._request
        if request is None:
            return
        request.body += body
        size = len(request.body)
        if size > self._body_bytes_max and self._exceeds(request, size) and self._parser is not None:
            limit = max(self._body_bytes_max, self._larger_bodies.get(request.path, 0))
            request.body = request.body[: limit + 1]
            self._deliver_early(request)

    def on_message_complete(self) -> None:
        """The parser has read all of a request."""
        parser, request = self._parser, self._request
        if parser is None or request is None or (parser.should_upgrade() and request.method != "CONNECT"):
            return
        self._end(request)

    def _deliver_early(self, request: Request) -> None:
        request.is_whole, request.is_last = False, True
        self._end(request)

    def _end(self, request: Request) -> None:
        self._request = self._method = None
        self._received_bytes = -self._fed_bytes  # what follows in these bytes is of another request
        self.is_receiving = self.expects_continue = False
        if request.is_last:
            self._parser = None
        self._deliver(request)

    def _reject(self, code: str) -> None:
        """Ends reading with a rejection, unless a callback has ended it before the parser failed."""
        if self._parser is not None:
            request = Request("GET", b"", "1.1", [])
            request.rejection = code
            self._deliver_early(request)

    def _restart(self, data: bytes) -> None:
        self._parser, self._request, self.is_receiving = httptools.HttpRequestParser(self), None, False
        self.feed(data)

    def _read_without_upgrade(self, rest: bytes) -> None:
        """Reads a request that asks for another protocol as one of HTTP/1.1 (RFC 9110, section 7.8, allows that).

        Java's client asks for HTTP/2 with its first request. The parser ends at such a head and takes the body for the
        other protocol, so the head is read again without the wish.
        """
        request = self._request
        assert request is not None
        lines = [b"%b %b HTTP/%b" % (request.method.encode(), request.target, request.version.encode())]
        for name, value in request.headers:
            options = [value]
            if name == b"connection":
                options = [one for one in value.split(b",") if one.strip().lower() not in UPGRADE_FIELDS]
            if name not in UPGRADE_FIELDS and options:
                lines.append(b"%b: %b" % (name, b",".join(options)))
        self._restart(b"\r\n".join([*lines, b"", b""]) + rest)
