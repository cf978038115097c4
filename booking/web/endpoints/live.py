"""Streams an event's changes as Server-Sent Events. Each event is read and rendered once for all its listeners."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, Protocol

import orjson
from starlette.types import Receive, Scope, Send

from booking.domain.callers import Caller
from booking.domain.model import Event
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.inventory.shard_tasks import ShardTasks
from booking.logs import ThrottledLogger
from booking.web.authentication import Credentials
from booking.web.headers import EXTENSION, fields_of
from booking.web.organizers import require_user
from booking.web.password_limits import address_of
from booking.web.problems import Problem
from booking.web.requests import USER, read_event_id
from booking.web.responses import booking_data, event_data

PERIOD_SECONDS = 0.25
"""The interval at which Redis is asked which events have changed: at most 4 messages a second (contract)."""

PAUSE_FACTOR = 9.0
"""After an event was read and sent, its channel pauses at least this many times as long as that took.

So it takes at most a tenth of the time, even if the processor is busy or there are many listeners.
"""

PAUSE_SECONDS_MAX = 5.0
"""The longest pause of a channel. A read may have taken long only because Redis did not respond."""

READS_MAX = 64
"""Changed events that are read at the same time, so that thousands do not fill the queue of commands."""

FAILURES_MAX = 3
"""After so many unexpected errors in a row an event's listeners are disconnected. The clients connect again."""

COMMENT_SECONDS = 15.0
"""A connection without messages gets a comment after this time (contract), because proxies close idle ones."""

COMMENT_CHECK_SECONDS = 1.0
"""The interval at which it is checked which connections need a comment."""

OF_USER_MAX = 50
"""Listeners that one user may have in one worker. Each reads the user's booking at every change of its event."""

BUFFER_BYTES_MAX = 64 * 1024
"""A listener with more unread bytes than this is disconnected. It reconnects with Last-Event-ID and misses nothing."""

SLICE = 200
"""Listeners written to, or bookings read, before the event loop runs other tasks, such as bookings."""

STREAM_SECONDS_MAX = 86_400.0
"""A stream ends with its token, and after a day at the latest. Its client then reconnects with a valid token."""

RETRY = b"retry: 1000\n\n"
"""A client waits so many milliseconds before it reconnects."""

COMMENT = b":\n\n"

UNAVAILABLE = (InventoryUnavailable, OutcomeUnknown, Overloaded)

_FAILED = ThrottledLogger("a live stream has failed")

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]


class Stream(Protocol):
    """A response body that is written in chunks until the stream ends."""

    def write(self, chunk: bytes) -> int:
        """Writes a chunk; returns the number of bytes that the client has not read yet."""

    def end(self) -> None:
        """Ends the stream after what was written."""

    def abort(self) -> None:
        """Ends the stream at once."""

    async def wait_closed(self) -> None:
        """Returns when the client has disconnected, or the stream was ended."""


class DirectStream:
    """A stream on a server that has the extension."""

    def __init__(
        self, receive: Receive, write: Callable[[bytes], int], end: Callable[[], None], abort: Callable[[], None]
    ) -> None:
        self.write, self.end, self.abort = write, end, abort
        self._receive = receive

    async def wait_closed(self) -> None:
        """Returns when the client has disconnected, the stream was ended, or the server stops."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


class SentStream:
    """A stream on any other server. A task sends the queued chunks."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._unread = 0
        self._aborted = asyncio.Event()

    def write(self, chunk: bytes) -> int:
        """Queues a chunk; returns the number of bytes that are not sent yet."""
        if not self._aborted.is_set():
            self._unread += len(chunk)
            self._chunks.put_nowait(chunk)
        return self._unread

    def end(self) -> None:
        """Ends the stream after the chunks that are queued."""
        self._chunks.put_nowait(None)

    def abort(self) -> None:
        """Ends the stream at once. The response stays incomplete, so the server cuts the connection."""
        self._aborted.set()

    async def wait_closed(self) -> None:
        """Sends the chunks until the client has disconnected, or the stream was ended."""
        parts = (self._wait_disconnect(), self._send_chunks(), self._aborted.wait())
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(part) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _send_chunks(self) -> None:
        while (chunk := await self._chunks.get()) is not None:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            self._unread -= len(chunk)
        await self._send({"type": "http.response.body", "body": b""})


class Message:
    """An event as it is sent to all its listeners. It is rendered once."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.text = b"event: availability\ndata: " + orjson.dumps(event_data(event)) + b"\n\n"
        """Without an id."""
        self.with_id = _with_id(self.text, event)


class Connection:
    """One open stream, and who has opened it."""

    __slots__ = ("caller", "sent_at", "stream")

    def __init__(self, stream: Stream, caller: Caller | None, now: float) -> None:
        self.stream = stream
        self.caller = caller
        self.sent_at = now

    def push(self, text: bytes, now: float) -> None:
        """Writes a text. A client that does not read is disconnected, so that others do not wait for it."""
        self.sent_at = now
        if self.stream.write(text) > BUFFER_BYTES_MAX:
            self.stream.abort()

    def is_idle(self, now: float) -> bool:
        """Whether it needs a comment before the next check."""
        return now + COMMENT_CHECK_SECONDS - self.sent_at >= COMMENT_SECONDS


class Listener:
    """A connection that listens to one event, and the booking of that event that was last sent to it."""

    __slots__ = ("booking", "connection")

    def __init__(self, connection: Connection, booking: bytes = b"") -> None:
        self.connection = connection
        self.booking = booking

    def send_event(self, message: Message, now: float) -> None:
        """Sends the event."""
        self.connection.push(message.with_id, now)

    def send_booking(self, event: Event, booking: bytes, now: float) -> None:
        """Sends the caller's booking of the event: its JSON, or null."""
        self.booking = booking
        self.connection.push(_with_id(booking_text(booking), event), now)

    def end(self) -> None:
        """The event does not exist any more. The client connects again and is told so."""
        self.connection.stream.end()


class Channel:
    """All listeners of one event."""

    def __init__(self, office: BoxOffice, event: Event) -> None:
        self._office = office
        self._loop = asyncio.get_running_loop()
        self.event_id = event.id
        self.listeners: set[Listener] = set()
        self.sent: Event | None = None
        """The event that was last sent to all listeners; None if the event must be sent even if it has not changed."""
        self._edge_at = inf
        self._pauses_until = 0.0
        self._failures = 0
        self._publishing: asyncio.Task[None] | None = None
        self._take(event)

    def is_idle(self, now: float) -> bool:
        """Whether the channel may publish again at `now`, a time of the event loop."""
        return self._publishing is None and self._pauses_until <= now

    def must_read(self, now: float) -> bool:
        """Whether the event must be read even if its `seq` is the same: time alone has changed its state."""
        return self._edge_at <= now

    def publish(self, turns: asyncio.Semaphore) -> None:
        """Starts a task that reads the event, and sends it to all listeners if it has changed."""
        self._publishing = asyncio.create_task(self._publish(turns), name=f"live {self.event_id}")

    async def _publish(self, turns: asyncio.Semaphore) -> None:
        began = self._loop.time()
        try:
            async with turns:
                began = self._loop.time()  # again: a wait for other channels is no reason for a longer pause
                event = await self._office.get_event(self.event_id)
            if event is None:  # an older copy was restored that does not have it
                for listener in list(self.listeners):
                    listener.end()
                return
            is_new = self.sent is None or _version(event) != _version(self.sent)
            self._take(event)
            if is_new:
                await self._send_all(Message(event))
                await self._send_bookings(event)
            self._failures = 0
        except UNAVAILABLE:
            self.sent = None  # the connections stay open, and the next successful read is sent
        except Exception as error:  # noqa: BLE001 - logged, and read again
            self.sent = None
            self._failures += 1
            _FAILED.error(event_id=self.event_id, exc_info=error)
            if self._failures >= FAILURES_MAX:
                self._disconnect()
        finally:
            now = self._loop.time()
            self._pauses_until = now + min(PAUSE_FACTOR * (now - began), PAUSE_SECONDS_MAX)
            self._publishing = None

    def _take(self, event: Event) -> None:
        """Notes the event as sent, and when time alone will open or close its sale."""
        self.sent = event
        edges = (event.rules.opens_at_ms, event.rules.closes_at_ms)
        ahead_ms = min((edge for edge in edges if edge is not None and edge > event.now_ms), default=inf)
        self._edge_at = self._loop.time() + (ahead_ms - event.now_ms) / 1000

    def _disconnect(self) -> None:
        """Disconnects all listeners, so that they connect again and are told what is wrong."""
        for listener in list(self.listeners):
            listener.connection.stream.end()

    async def _send_all(self, message: Message) -> None:
        for at, listener in enumerate(list(self.listeners)):
            listener.send_event(message, self._loop.time())
            if at % SLICE == SLICE - 1:
                await asyncio.sleep(0)

    async def _send_bookings(self, event: Event) -> None:
        """Sends signed-in listeners their own booking if it has changed. The reads share batches."""
        signed_in = [
            (listener, listener.connection.caller)
            for listener in self.listeners
            if listener.connection.caller is not None
        ]
        for start in range(0, len(signed_in), SLICE):
            some = signed_in[start : start + SLICE]
            bookings = await asyncio.gather(*(read_booking(self._office, self.event_id, caller) for _, caller in some))
            for (listener, _), booking in zip(some, bookings, strict=True):
                if booking != listener.booking and listener in self.listeners:
                    listener.send_booking(event, booking, self._loop.time())


class Watch:
    """Finds out which events with listeners have changed: by one call for hundreds of events, not by one for each."""

    def __init__(self, office: BoxOffice) -> None:
        self._office = office
        self._channels: dict[int, Channel] = {}
        self.connections: set[Connection] = set()
        self._turns = asyncio.Semaphore(READS_MAX)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asking = ShardTasks()

    @contextmanager
    def connected(self, connection: Connection) -> Iterator[None]:
        """Sends comments to a connection for the time of the context."""
        self.connections.add(connection)
        self._run("live comments", self._comment, COMMENT_CHECK_SECONDS)
        try:
            yield
        finally:
            self.connections.discard(connection)

    def join(self, event: Event, listener: Listener) -> None:
        """Adds a listener that has been sent `event` to the channel of that event."""
        channel = self._channels.get(event.id)
        if channel is None:
            channel = self._channels[event.id] = Channel(self._office, event)
        elif channel.sent is not None and _is_newer(channel.sent, event):
            channel.sent = None  # the others have a newer version; the next read is sent to all, and so to this one
        channel.listeners.add(listener)
        self._run("live changes", self._publish_changes, PERIOD_SECONDS)

    def leave(self, event_id: int, listener: Listener) -> None:
        """Removes a listener."""
        channel = self._channels[event_id]
        channel.listeners.discard(listener)
        if not channel.listeners:
            del self._channels[event_id]

    def _run(self, name: str, step: Callable[[], Awaitable[None]], period_seconds: float) -> None:
        task = self._tasks.get(name)
        if task is None or task.done():
            self._tasks[name] = asyncio.create_task(self._repeat(step, period_seconds), name=name)

    async def _repeat(self, step: Callable[[], Awaitable[None]], period_seconds: float) -> None:
        """Repeats a step as long as there are listeners, whatever it raises."""
        while self._channels or self.connections:
            try:
                await step()
            except Exception as error:  # noqa: BLE001 - logged; without this task all listeners would hear nothing more
                _FAILED.error(exc_info=error)
            await asyncio.sleep(period_seconds)

    async def _publish_changes(self) -> None:
        now = asyncio.get_running_loop().time()
        seen: dict[int, list[Event]] = {}
        for channel in [one for one in self._channels.values() if one.is_idle(now)]:
            if channel.sent is None or channel.must_read(now):
                channel.publish(self._turns)
            else:
                seen.setdefault(self._office.shard_of(channel.event_id), []).append(channel.sent)

        async def publish_changed(shard: int) -> None:
            try:
                await self._publish_changed(shard, seen[shard])
            except UNAVAILABLE:
                return  # its listeners wait; the other shards may work
            except Exception as error:  # noqa: BLE001 - logged, and asked again
                _FAILED.error(exc_info=error)

        await self._asking.start(publish_changed, seen, PERIOD_SECONDS)

    async def _publish_changed(self, shard: int, events: Sequence[Event]) -> None:
        changed = await self._office.changed_events(shard, events)
        for event_id in changed:
            channel = self._channels.get(event_id)
            if channel is not None and channel.is_idle(inf):
                channel.publish(self._turns)

    async def _comment(self) -> None:
        """Sends a comment to the listeners that would otherwise be idle for too long before the next check."""
        now = asyncio.get_running_loop().time()
        for at, connection in enumerate([one for one in self.connections if one.is_idle(now)]):
            connection.push(COMMENT, now)
            if at % SLICE == SLICE - 1:
                await asyncio.sleep(0)


class Places:
    """The listeners that a worker may have: in all, of one client address, and of one user."""

    def __init__(self, in_all: int, of_address: int, of_user: int = OF_USER_MAX) -> None:
        self._in_all, self._of_address, self._of_user = in_all, of_address, of_user
        self._taken: Counter[tuple[str, str]] = Counter()
        self.taken = 0

    @contextmanager
    def take(self, address: str, user: str | None) -> Iterator[None]:
        """Takes a place for the time of the context. Raises Problem if there is none."""
        limits = {("address", address): self._of_address}
        if user is not None:
            limits["user", user] = self._of_user
        for owner, limit in limits.items():
            if self._taken[owner] >= limit:
                raise _too_many(f"This {owner[0]} listens to {limit} streams, and more are not allowed.", limit)
        if self.taken >= self._in_all:
            raise Problem("overloaded", "As many as can be served listen already. Try again in a moment.")
        self.taken += 1
        self._taken.update(limits.keys())
        try:
            yield
        finally:
            self.taken -= 1
            self._taken.subtract(limits.keys())
            for owner in limits:
                if not self._taken[owner]:
                    del self._taken[owner]


class LiveEndpoint:
    """`GET /events/{event_id}/live`."""

    def __init__(self, credentials: Credentials, office: BoxOffice, places: Places, watch: Watch) -> None:
        self._credentials = credentials
        self._office = office
        self._places = places
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams until the client disconnects, the server stops, or the client reads too slowly."""
        caller = await listening_caller(self._credentials, scope)
        with self._places.take(address_of(scope), None if caller is None else caller.user_id):
            event = await self._office.get_event(read_event_id(scope))
            if event is None:
                raise Problem("event_not_found")
            booking = b"" if caller is None else await read_booking(self._office, event.id, caller)
            stream = await open_stream(scope, receive, send)
            if stream is None:
                return
            connection = Connection(stream, caller, asyncio.get_running_loop().time())
            listener = Listener(connection, booking)
            first = RETRY
            if fields_of(scope).get(b"last-event-id") != _id(event) or clock_changed_state(event):
                first += Message(event).with_id
            if booking:
                first += _with_id(booking_text(booking), event)
            connection.push(first, connection.sent_at)
            self._watch.join(event, listener)
            try:
                with self._watch.connected(connection):
                    await until_ended(connection)
            finally:
                self._watch.leave(event.id, listener)


async def listening_caller(credentials: Credentials, scope: Scope) -> Caller | None:
    """The listening user; None without credentials. Raises Unauthenticated if they are wrong."""
    if b"authorization" not in fields_of(scope):
        return None
    caller = credentials.caller_now(scope) or await credentials.caller(scope)
    scope[USER] = caller.user_id
    require_user(caller)
    return caller


async def open_stream(scope: Scope, receive: Receive, send: Send) -> Stream | None:
    """Starts the response; None if it has no body, because the request is a HEAD."""
    await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body", "body": b""})
        return None
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    extension = scope.get("extensions", {}).get(EXTENSION)
    if extension is None:
        return SentStream(receive, send)
    return DirectStream(receive, extension["write"], extension["end"], extension["abort"])


async def until_ended(connection: Connection) -> None:
    """Returns when the client has disconnected, or its token has ended, or after STREAM_SECONDS_MAX."""
    caller = connection.caller
    seconds = STREAM_SECONDS_MAX if caller is None else min(caller.expires_at - time.time(), STREAM_SECONDS_MAX)
    timer = asyncio.get_running_loop().call_later(max(0, seconds), connection.stream.end)
    try:
        await connection.stream.wait_closed()
    finally:
        timer.cancel()


def end_streams(watch: Watch, credentials: Credentials) -> None:
    """Ends the streams of callers whose account was changed. They have to sign in again."""
    for connection in list(watch.connections):
        if connection.caller is not None and credentials.was_ended(connection.caller):
            connection.stream.end()


def _too_many(detail: str, limit: int) -> Problem:
    """The problem (429) of one more listener. The policy's unit is of draft-ietf-httpapi-ratelimit-headers."""
    return Problem(
        "rate_limited",
        detail,
        headers=[
            (b"ratelimit-policy", b'"listeners";q=%d;qu="concurrent-requests"' % limit),
            (b"ratelimit", b'"listeners";r=0'),
        ],
    )


async def read_booking(office: BoxOffice, event_id: int, caller: Caller) -> bytes:
    """The JSON of the caller's live booking, or null."""
    outcome = await office.get_booking(event_id, caller.user_id)
    return orjson.dumps(None if outcome.booking is None else booking_data(outcome.booking))


def booking_text(data: bytes) -> bytes:
    """The message with a booking, without an id."""
    return b"event: booking\ndata: %b\n\n" % data


def _with_id(text: bytes, event: Event) -> bytes:
    return b"id: %b\n" % _id(event) + text


def _id(event: Event) -> bytes:
    """The id of a message. It has the epoch, because a restored event comes to the same `seq` again."""
    return f"{event.epoch}-{event.seq}".encode()


def _is_newer(event: Event, than: Event) -> bool:
    """Whether a listener that was sent `than` must be sent `event`."""
    return _version(event) != _version(than) and (event.seq, event.now_ms) > (than.seq, than.now_ms)


def _version(event: Event) -> tuple[object, ...]:
    """A change of this is sent to listeners. Time alone can change the state, so `seq` is not enough."""
    return event.epoch, event.seq, event.state


def clock_changed_state(event: Event) -> bool:
    """Whether time alone has opened or closed the sale. A client may have seen this `seq` before that."""
    edges = (event.rules.opens_at_ms, event.rules.closes_at_ms)
    return any(edge is not None and event.created_at_ms < edge <= event.now_ms for edge in edges)
