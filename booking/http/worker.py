"""What the connections of one worker share: settings, the load shedder, the sweep, and the end."""

import asyncio
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from booking.http.headers import CONNECTION_CLOSE, Header, header_lines, status_line
from booking.http.load_shedding import LoadShedder
from booking.http.request import NO_LARGER_BODIES

SWEEP_SECONDS = 1.0
"""The time between two looks at the deadlines of all connections."""

ACCEPTS_A_TURN = 64
"""Connections that are taken on in one turn of the event loop, each for some 50 µs."""


class Rejection(NamedTuple):
    """A response of the server's own: to what never reaches the application."""

    status: int
    headers: bytes
    """Its fields as lines, without Content-Length, Connection and those that every response has."""
    body: bytes


class Connection(Protocol):
    """One client's connection, as the sweep and the end of a turn know it."""

    def expire(self, now: float) -> None:
        """Ends it if one of its deadlines has passed."""

    def flush(self) -> None:
        """Writes what waits to be written."""


class HttpWorker:
    """Belongs to one process and its event loop."""

    def __init__(
        self,
        reject: Callable[[str, Sequence[Header]], Rejection],
        is_sheddable: Callable[[str, str], bool],
        *,
        body_bytes_max: int,
        keep_alive_seconds: float,
        listeners: Sequence[socket.socket] = (),
        larger_bodies: Mapping[str, int] = NO_LARGER_BODIES,
    ) -> None:
        """`reject` makes the response of a code for a request with these fields.

        `is_sheddable` says of a method and a path whether such a request takes a slot, and may be turned away.
        `listeners` are the listening sockets, if connections are to be accepted faster than the event loop does.
        `larger_bodies` has the paths whose bodies may be larger, and how large.
        """
        self.reject = reject
        self.is_sheddable = is_sheddable
        self.body_bytes_max = body_bytes_max
        self.larger_bodies = larger_bodies
        self.keep_alive_seconds = keep_alive_seconds
        self.shedder = LoadShedder()
        self.is_stopping = False
        """Whether every response is the last one of its connection."""
        self.listeners = listeners
        self._accepted_at = -1.0
        self._accepting: set[asyncio.Task[object]] = set()
        self._sweeps = False
        self._unsent: list[Connection] = []
        self._common: tuple[object, bytes] = (None, b"")

    def common_lines(self, headers: Sequence[Header]) -> bytes:
        """The lines of the fields that every response has. uvicorn replaces the list of these once a second."""
        made_from, lines = self._common
        if made_from is not headers:
            lines = header_lines(headers)
            self._common = headers, lines
        return lines

    def rejection(self, code: str, request_headers: Sequence[Header], common_lines: bytes, *, closes: bool) -> bytes:
        """A whole response that the server gives by itself."""
        status, headers, body = self.reject(code, request_headers)
        close = CONNECTION_CLOSE if closes else b""
        length = b"content-length: %d\r\n" % len(body)
        return b"%b%b%b%b%b\r\n%b" % (status_line(status), common_lines, headers, length, close, body)

    def flush_soon(self, connection: Connection) -> None:
        """Has the connection flushed once everything that is ready has run.

        Clients that share a processor with the worker are then woken once, and not by each response.
        """
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(connection)

    def sweep_from_now_on(self, connections: Collection[Connection]) -> None:
        """Looks at the deadlines of these connections once a second, for as long as there are any."""
        if not self._sweeps:
            self._sweeps = True
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep, connections)

    def accept_more(self, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        """Takes on the connections that wait behind the one that the event loop has just accepted.

        uvloop accepts one connection in each turn. With 600 busy clients a turn takes some 80 ms, so that a new client
        would wait for seconds. Buyers of a flash sale are new clients.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()  # the same throughout a turn of uvloop
        if not self.listeners or self.is_stopping or now == self._accepted_at:
            return
        self._accepted_at = now
        for listener in self.listeners:
            with suppress(OSError):  # no connection waits, or there is no descriptor left for one
                for _ in range(ACCEPTS_A_TURN):
                    accepted, _ = listener.accept()
                    accepted.setblocking(False)
                    task: asyncio.Task[object] = loop.create_task(_connect(make_protocol, accepted))
                    self._accepting.add(task)
                    task.add_done_callback(self._accepting.discard)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        for connection in unsent:
            connection.flush()

    def _sweep(self, connections: Collection[Connection]) -> None:
        self._sweeps = False
        now = asyncio.get_running_loop().time()
        for connection in list(connections):
            connection.expire(now)
        if connections:
            self.sweep_from_now_on(connections)


async def _connect(make_protocol: Callable[[], asyncio.Protocol], accepted: socket.socket) -> None:
    try:
        await asyncio.get_running_loop().connect_accepted_socket(make_protocol, accepted)
    except OSError:  # its client has gone meanwhile
        accepted.close()
