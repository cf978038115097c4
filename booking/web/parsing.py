"""Reading requests: the parser's calls as they come, before anybody decides what becomes of a request."""

import httptools

from booking.web.patience import PatientConnection
from booking.web.upgrades import head_without_upgrade

KEPT_BYTES_MAX = 131_072
"""Bytes beside the body that may have come of a request without its end: the parser keeps what it reads of a head, and
of fields behind a body. Nginx takes 32 KiB of a head; a body of 16 KiB in chunks of one byte brings 80 KiB with it."""


class ParsingConnection(PatientConnection):
    """Uvicorn's protocol without what it does for each request that not every request needs."""

    def parse(self, data: bytes) -> None:
        """Hands bytes to the parser, which calls what is below."""
        while data and not self.hears_out:
            data, fed = b"", data
            self._fed = len(fed)
            try:
                self.parser.feed_data(fed)
            except httptools.HttpParserUpgrade as upgrade:
                if self.asks_for_another_protocol() and not self.transport.is_closing():
                    version = self.parser.get_http_version()
                    head = head_without_upgrade(self.parser.get_method(), self.url, version, self.headers)
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
                    data = head + fed[upgrade.args[0] :]
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
            if self.sending_since is not None:
                self.kept_bytes += len(fed)
                if self.kept_bytes > KEPT_BYTES_MAX and not self.transport.is_closing():
                    self.send_400_response("A request has no end.")

    def asks_for_another_protocol(self) -> bool:
        """Whether the request does; the parser then ends at its head."""
        # CONNECT is one of its own, and there is no such method here.
        upgrade: bool = self.parser.should_upgrade()
        return upgrade and self.parser.get_method() != b"CONNECT"

    def on_message_begin(self) -> None:
        """Called by the parser at a request's first byte."""
        self.sending_since, self.kept_bytes = self.loop.time(), -self._fed
        self.url, self.headers, self.expect_100_continue, self.in_head = b"", [], False, True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser with each field of a head, and with those behind a body that came in chunks."""
        if not self.in_head:  # nobody who looked at the head alone would know of it (RFC 9110, section 6.5.1)
            return
        name = name.lower()
        self.headers.append((name, value))
        if name == b"expect":
            # A server must not heed it in HTTP/1.0 (RFC 9110, section 10.1.1).
            self.expect_100_continue = value.lower() == b"100-continue" and self.parser.get_http_version() != "1.0"

    def is_in_body(self) -> bool:
        """Whether some of a request is still to come behind its head."""
        return self.sending_since is not None and not self.in_head

    def keeps_alive(self) -> bool:
        """Whether another request may follow."""
        keeps: bool = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        return keeps

    def make_scope(self) -> None:
        """Makes ASGI's scope of a request whose head is whole; uvicorn does at the first byte of every one."""
        url, headers, expect_100_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100_continue
        self.headers += headers
