"""Sends a webhook's messages over HTTP/1.1, to an address that was checked.

A name is resolved once for each connection, and the connection is made to the address that was checked, so a second
look-up cannot lead elsewhere. Certificates are verified for the name. Redirects are not followed, proxies of the
environment are not used, and little of an answer is read.

It is no httpx, which takes some 600 us of the processor for a message, where this takes 60: a process has to send 5,000
messages a second beside a sale.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import cast

import httptools

from booking.outbox.addresses import Allowed, Refused, Target, check_address

ANSWER_SECONDS_MAX = 10.0
"""How long a message may take, from the look-up of the name to its answer (contract)."""

ANSWER_BYTES_MAX = 64 * 1024
"""How much of an answer is read, its head included. A larger one counts by its status, and ends its connection."""

SHOWN_BYTES = 500
"""How much of an answer's body is kept to be shown."""

ADDRESSES_MAX = 3
"""Addresses of a name that are tried."""

CONNECTION_SECONDS_MAX = 120.0
"""How long a connection is used, so that a change of its name's addresses is followed."""

IDLE_SECONDS_MAX = 15.0
"""How long an idle connection is kept. Many servers close theirs after some more."""

LOOK_UPS_MAX = 64
"""Names that are looked up at a time. A look-up that hangs takes a thread for as long as the system lets it."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name and a port. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a message."""

    status: int | None
    """The HTTP status; None: there was no answer."""
    error: str | None
    """Why there was none."""
    body: bytes
    """How the answer begins."""
    seconds: float


class Sender:
    """The connections to all webhooks. Belongs to one event loop."""

    def __init__(self, allowed: Allowed, resolve: Resolve | None = None) -> None:
        self._allowed = allowed
        self._look_ups = asyncio.Semaphore(LOOK_UPS_MAX)
        self._resolve = self._look_up if resolve is None else resolve
        self._tls: ssl.SSLContext | None = None

    async def send(self, pool: "Pool", head: bytes, body: bytes) -> Answer:
        """Posts a message. `head` has the fields of the message, one a line, without those of HTTP itself."""
        begun = time.monotonic()
        error: str
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                status, shown = await self._send(pool, head, body)
            return Answer(status, None, shown, time.monotonic() - begun)
        except Refused as refused:
            error = str(refused)
        except TimeoutError:
            error = f"There was no answer within {ANSWER_SECONDS_MAX:g} s."
        except ssl.SSLCertVerificationError as refused:
            error = f"The certificate is not valid for this host ({refused.verify_message})."
        except ssl.SSLError as failed:
            error = f"TLS failed ({failed.reason})."
        except socket.gaierror as failed:
            error = f"The name cannot be resolved ({failed.strerror})."
        except OSError as failed:
            error = f"The connection failed ({failed.strerror or type(failed).__name__})."
        except httptools.HttpParserError:
            error = "What was answered is no HTTP/1.1."
        return Answer(None, error, b"", time.monotonic() - begun)

    async def _send(self, pool: "Pool", head: bytes, body: bytes) -> tuple[int, bytes]:
        request = b"%bcontent-length: %d\r\n%b\r\n%b" % (pool.head, len(body), head, body)
        connection = pool.take()
        if connection is not None:
            try:
                return await self._exchange(pool, connection, request)
            except _ClosedBefore:  # the receiver has closed the idle connection, and the message was not read
                pass
        return await self._exchange(pool, await self._connect(pool.target), request)

    async def _exchange(self, pool: "Pool", connection: "_Connection", request: bytes) -> tuple[int, bytes]:
        answered = False
        try:
            await connection.send(request)
            answered = True
        finally:
            if not (answered and connection.is_reusable):
                connection.abort()
        if connection.is_reusable:
            pool.give_back(connection)
        return connection.status, bytes(connection.shown)

    async def _connect(self, target: Target) -> "_Connection":
        """Connects to one of the host's addresses that are allowed. Raises Refused, OSError."""
        loop = asyncio.get_running_loop()
        if target.is_https and self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
            self._tls.set_alpn_protocols(["http/1.1"])
        refused: Refused | OSError = Refused("The name has no address.")
        tls, name = (self._tls, target.host) if target.is_https else (None, None)
        for text in list(dict.fromkeys(await self._addresses(target)))[:ADDRESSES_MAX]:
            try:
                check_address(ip_address(text), self._allowed, is_https=target.is_https)
                # An address in place of a name: nothing is looked up again.
                _, connection = await loop.create_connection(
                    _Connection, text, target.port, ssl=tls, server_hostname=name
                )
            except ssl.SSLError:
                raise
            except (Refused, OSError) as error:
                refused = error
            else:
                return connection
        raise refused

    async def _addresses(self, target: Target) -> Sequence[str]:
        try:
            return [str(ip_address(target.host))]
        except ValueError:
            return await self._resolve(target.host, target.port)

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        """Looks a name up in a thread that holds up no stop of the process, as one of an executor would."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()
        await self._look_ups.acquire()

        def end(addresses: list[str] | OSError) -> None:
            self._look_ups.release()
            if found.done():  # there was no answer in time
                return
            if isinstance(addresses, OSError):
                found.set_exception(addresses)
            else:
                found.set_result(addresses)

        def ask() -> None:
            try:
                addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                answer: list[str] | OSError = [str(address[4][0]) for address in addresses]
            except (OSError, UnicodeError) as error:
                answer = error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, "no such name")
            with suppress(RuntimeError):  # the event loop has ended
                loop.call_soon_threadsafe(end, answer)

        threading.Thread(target=ask, name="resolver", daemon=True).start()
        return await found


class Pool:
    """The idle connections to one webhook."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.head = (
            f"POST {target.path} HTTP/1.1\r\nhost: {target.authority}\r\ncontent-type: application/json\r\n"
            "user-agent: booking-webhooks/1\r\naccept: */*\r\n"
        ).encode()
        """How each request begins."""
        self._idle: list[_Connection] = []
        self._is_closed = False

    def take(self) -> "_Connection | None":
        """An idle connection that is still good; None if there is none."""
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_good(now):
                return connection
            connection.abort()
        return None

    def give_back(self, connection: "_Connection") -> None:
        """Keeps a connection for the next message."""
        if self._is_closed:
            connection.abort()
        else:
            self._idle.append(connection)

    def close_idle(self) -> None:
        """Closes the connections that were not used for a while."""
        now = time.monotonic()
        for connection in self._idle:
            if not connection.is_good(now):
                connection.abort()
        self._idle = [connection for connection in self._idle if connection.is_good(now)]

    def close(self) -> None:
        """Closes all idle connections, and those that are given back later."""
        self._is_closed = True
        for connection in self._idle:
            connection.abort()
        self._idle.clear()


class _ClosedBefore(ConnectionResetError):
    """A used connection was closed before the answer began."""

    def __init__(self) -> None:
        super().__init__()
        self.strerror = "it was closed without an answer"


class _Connection(asyncio.Protocol):
    """One connection, with one message under way at a time."""

    def __init__(self) -> None:
        self.status = 0
        self.shown = bytearray()
        self.is_reusable = False
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answered: asyncio.Future[None] | None = None
        self._received = 0
        self._has_head = False
        self._made_at = self._used_at = time.monotonic()

    def is_good(self, now: float) -> bool:
        """Whether another message may be sent."""
        is_open = self._transport is not None and not self._transport.is_closing()
        is_young = now - self._made_at < CONNECTION_SECONDS_MAX and now - self._used_at < IDLE_SECONDS_MAX
        return is_open and is_young

    async def send(self, request: bytes) -> None:
        """Sends a request, and returns when its answer is there. Raises OSError, HttpParserError."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._answered = asyncio.get_running_loop().create_future()
        self._received, self._has_head, self.is_reusable = 0, False, False
        self.shown.clear()
        self._transport.write(request)
        await self._answered

    def abort(self) -> None:
        """Closes the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: the connection is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of its subclasses

    def data_received(self, data: bytes) -> None:
        """Asyncio: some of the answer is there."""
        if self._parser is None or self._answered is None or self._answered.done():
            self.abort()  # nothing was asked
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError) as error:
            if not self._answered.done():
                failed = error if isinstance(error, httptools.HttpParserError) else httptools.HttpParserError("upgrade")
                self._answered.set_exception(failed)
            return
        if self._received > ANSWER_BYTES_MAX and not self._answered.done():
            if self._has_head:
                self._answered.set_result(None)
            else:
                self._answered.set_exception(httptools.HttpParserError("the head is too large"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio: the connection is closed."""
        if self._answered is not None and not self._answered.done():
            if self._has_head:  # an answer without a length ends with its connection
                self._answered.set_result(None)
            else:
                self._answered.set_exception(exc if exc is not None and self._received else _ClosedBefore())

    # httptools' callbacks

    def on_headers_complete(self) -> None:
        """httptools: the head is there."""
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= 200  # others are only announcements

    def on_body(self, body: bytes) -> None:
        """httptools: some of the body is there."""
        self.shown += body[: SHOWN_BYTES - len(self.shown)]

    def on_message_complete(self) -> None:
        """httptools: the answer is whole."""
        if self._has_head and self._answered is not None and not self._answered.done():
            assert self._parser is not None
            self.is_reusable = bool(self._parser.should_keep_alive())
            self._used_at = time.monotonic()
            self._answered.set_result(None)
