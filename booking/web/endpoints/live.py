"""Streams an event's changes as Server-Sent Events. Each event is read and rendered once for all its listeners."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import orjson
from starlette.types import Receive, Scope, Send

from booking.domain.callers import Caller
from booking.domain.model import Event
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded
from booking.web.authentication import Credentials
from booking.web.headers import fields_of
from booking.web.problems import Problem
from booking.web.requests import USER, read_event_id
from booking.web.response_schemas import BookingData
from booking.web.responses import booking_data, event_data

PERIOD_SECONDS = 0.25
"""The interval between two reads of an event that has listeners: at most 4 messages a second (contract)."""

PAUSE_FACTOR = 9.0
"""After each read, the channel pauses at least this many times as long as the read took.

So the reads take at most a tenth of the time, even if the processor is busy or there are many listeners.
"""

PAUSE_SECONDS_MAX = 5.0
"""The longest pause between two reads. A read may have taken long only because Redis did not respond."""

COMMENT_SECONDS = 15.0
"""A connection without messages gets a comment after this time (contract), because proxies close idle ones."""

BUFFER_BYTES_MAX = 64 * 1024
"""A listener with more unread bytes than this is disconnected. It reconnects with Last-Event-ID and misses nothing."""

SLICE = 200
"""Listeners written to, or bookings read, before the event loop runs other tasks, such as bookings."""

STREAM_SECONDS_MAX = 86_400.0
"""A stream ends with its token, and after a day at the latest. Its client then reconnects with a valid token."""

RETRY_MS = 1_000
"""How long a client waits before it reconnects."""

COMMENT = b":\n\n"

DIRECT_WRITE = "booking.direct_write"
"""The ASGI extension of booking.http: it writes to a connection at once, without running a task for each listener."""

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

    def abort(self) -> None:
        """Ends the stream at once."""

    async def wait_closed(self) -> None:
        """Returns when the client has disconnected, or the stream was aborted."""


class DirectStream:
    """A stream on a server that has the extension DIRECT_WRITE."""

    def __init__(self, receive: Receive, write: Callable[[bytes], int], abort: Callable[[], None]) -> None:
        self.write, self.abort = write, abort
        self._receive = receive

    async def wait_closed(self) -> None:
        """Returns when the client has disconnected, or the server stops."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


class SentStream:
    """A stream on any other server. A task sends the queued chunks."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._unread = 0

    def write(self, chunk: bytes) -> int:
        """Queues a chunk; returns the number of bytes that are not sent yet."""
        self._unread += len(chunk)
        self._chunks.put_nowait(chunk)
        return self._unread

    def abort(self) -> None:
        """Ends the stream after the chunks that are queued."""
        self._chunks.put_nowait(None)

    async def wait_closed(self) -> None:
        """Sends the chunks until the client has disconnected, or the stream was aborted."""
        tasks = [asyncio.ensure_future(self._wait_disconnect()), asyncio.ensure_future(self._send_chunks())]
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


class Listener:
    """One connection, and the booking that was last sent to it."""

    __slots__ = ("booking", "caller", "sent_at", "stream")

    def __init__(self, stream: Stream, caller: Caller | None, now: float) -> None:
        self.stream = stream
        self.caller = caller
        self.booking = b""
        self.sent_at = now

    def push(self, text: bytes, now: float) -> None:
        """Writes a text. A client that does not read is disconnected, so that others do not wait for it."""
        self.sent_at = now
        if self.stream.write(text) > BUFFER_BYTES_MAX:
            self.stream.abort()


class Channel:
    """All listeners of one event. It reads the event as long as there are listeners."""

    def __init__(self, office: BoxOffice, event_id: int) -> None:
        self._office = office
        self._event_id = event_id
        self._loop = asyncio.get_running_loop()
        self.listeners: set[Listener] = set()
        self.sent: Event | None = None
        """The event that was last sent to all listeners; None if the event must be sent even if it has not changed."""
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Sends each change to all listeners, until there are none."""
        while self.listeners:
            began = self._loop.time()
            try:
                event = await self._office.get_event(self._event_id)
                if event is not None and (self.sent is None or _version(event) != _version(self.sent)):
                    self.sent = event
                    await self._send_all(availability(event))
                    await self._send_bookings(event.seq)
            except (InventoryUnavailable, OutcomeUnknown, Overloaded):
                self.sent = None  # the connections stay open, and the next successful read is sent
            pause = min(max(PERIOD_SECONDS, PAUSE_FACTOR * (self._loop.time() - began)), PAUSE_SECONDS_MAX)
            self._comment(self._loop.time(), pause)
            await asyncio.sleep(pause)

    async def _send_all(self, text: bytes) -> None:
        for at, listener in enumerate(list(self.listeners)):
            listener.push(text, self._loop.time())
            if at % SLICE == SLICE - 1:
                await asyncio.sleep(0)

    async def _send_bookings(self, seq: int) -> None:
        """Sends signed-in listeners their own booking if it has changed. The reads share batches."""
        signed_in = [listener for listener in self.listeners if listener.caller is not None]
        for start in range(0, len(signed_in), SLICE):
            some = signed_in[start : start + SLICE]
            texts = await asyncio.gather(*(booking_text(self._office, self._event_id, one.caller) for one in some))
            for listener, text in zip(some, texts, strict=True):
                if text != listener.booking:
                    listener.booking = text
                    listener.push(_with_id(text, seq), self._loop.time())

    def _comment(self, now: float, pause: float) -> None:
        """Sends a comment to the listeners that would otherwise be idle for too long at the end of the pause."""
        for listener in [one for one in self.listeners if now + pause - one.sent_at >= COMMENT_SECONDS]:
            listener.push(COMMENT, now)


class LiveEndpoint:
    """`GET /events/{event_id}/live`."""

    def __init__(self, credentials: Credentials, office: BoxOffice, listeners_max: int) -> None:
        self._credentials = credentials
        self._office = office
        self._listeners_max = listeners_max
        self._channels: dict[int, Channel] = {}
        self.listening = 0
        """The number of open streams."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams until the client disconnects, the server stops, or the client reads too slowly."""
        caller = await self._caller(scope)
        event_id = read_event_id(scope)
        event = await self._office.get_event(event_id)
        if event is None:
            raise Problem("event_not_found")
        if self.listening >= self._listeners_max:
            raise Problem("overloaded", "As many as can be served listen already. Try again in a moment.")
        self.listening += 1  # before the next await, so that no more requests than the limit pass the check
        try:
            await self._listen(scope, receive, send, caller, event)
        finally:
            self.listening -= 1

    async def _listen(self, scope: Scope, receive: Receive, send: Send, caller: Caller | None, event: Event) -> None:
        event_id = event.id
        booking = b"" if caller is None else await booking_text(self._office, event_id, caller)
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        first = b"retry: %d\n\n" % RETRY_MS
        if _last_event_id(scope) != event.seq or _clock_changed_state(event):
            first += availability(event)
        if booking:
            first += _with_id(booking, event.seq)
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        extension = scope.get("extensions", {}).get(DIRECT_WRITE)
        stream: Stream = SentStream(receive, send) if extension is None else DirectStream(receive, **extension)
        listener = Listener(stream, caller, asyncio.get_running_loop().time())
        listener.push(first, listener.sent_at)
        listener.booking = booking
        channel = self._join(event, listener)
        seconds = STREAM_SECONDS_MAX if caller is None else min(caller.expires_at - time.time(), STREAM_SECONDS_MAX)
        timer = asyncio.get_running_loop().call_later(max(0, seconds), stream.abort)
        try:
            await stream.wait_closed()
        finally:
            timer.cancel()
            channel.listeners.discard(listener)

    async def _caller(self, scope: Scope) -> Caller | None:
        """The listening user; None without credentials. Raises Unauthenticated if they are wrong."""
        if b"authorization" not in fields_of(scope):
            return None
        caller = self._credentials.caller_now(scope) or await self._credentials.caller(scope)
        scope[USER] = caller.user_id
        return caller

    def end_streams(self) -> None:
        """Ends the streams of callers whose account was changed. They have to sign in again."""
        listeners = [listener for channel in self._channels.values() for listener in channel.listeners]
        for listener in listeners:
            if listener.caller is not None and self._credentials.was_ended(listener.caller):
                listener.stream.abort()

    def _join(self, event: Event, listener: Listener) -> Channel:
        """Adds a listener that has been sent `event` to the channel of that event."""
        event_id = event.id
        channel = self._channels.get(event_id)
        if channel is None or channel.task is None or channel.task.done():
            channel = self._channels[event_id] = Channel(self._office, event_id)
            channel.sent = event
        elif channel.sent is not None and _is_newer(channel.sent, event):
            channel.sent = None  # the others have a newer version; the next read is sent to all, and so to this one
        channel.listeners.add(listener)
        if channel.task is None:
            channel.task = asyncio.create_task(channel.run(), name=f"live {event_id}")
            channel.task.add_done_callback(lambda _: self._leave(event_id, channel))
        return channel

    def _leave(self, event_id: int, channel: Channel) -> None:
        if self._channels.get(event_id) is channel:
            del self._channels[event_id]


def availability(event: Event) -> bytes:
    """The stream's message with the event."""
    return _with_id(b"event: availability\ndata: " + orjson.dumps(event_data(event)) + b"\n\n", event.seq)


async def booking_text(office: BoxOffice, event_id: int, caller: Caller | None) -> bytes:
    """The stream's message with the caller's live booking, or null. It has no id line yet."""
    assert caller is not None
    outcome = await office.get_booking(event_id, caller.user_id)
    data: BookingData | None = None if outcome.booking is None else booking_data(outcome.booking)
    return b"event: booking\ndata: " + orjson.dumps(data) + b"\n\n"


def _with_id(text: bytes, seq: int) -> bytes:
    return b"id: %d\n" % seq + text


def _is_newer(event: Event, than: Event) -> bool:
    """Whether a listener that was sent `than` must be sent `event`."""
    return _version(event) != _version(than) and (event.seq, event.now_ms) > (than.seq, than.now_ms)


def _version(event: Event) -> tuple[object, ...]:
    """A change of this is sent to listeners. Time alone can change the state, so `seq` is not enough."""
    return event.seq, event.state


def _clock_changed_state(event: Event) -> bool:
    """Whether time alone has opened or closed the sale. A client may have seen this `seq` before that."""
    edges = (event.rules.opens_at_ms, event.rules.closes_at_ms)
    return any(edge is not None and event.created_at_ms < edge <= event.now_ms for edge in edges)


def _last_event_id(scope: Scope) -> int | None:
    value = fields_of(scope).get(b"last-event-id", b"")
    return int(value) if value.isdigit() and len(value) < 20 else None
