"""Events as they change, over Server-Sent Events: one reading and one text an event, however many listen."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import orjson
from starlette.types import Receive, Scope, Send

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
"""Between two looks at an event that somebody listens to: at most 4 events a second (contract)."""

REST_SHARE = 9.0
"""After a look that took long, for want of a processor or for the crowd, it rests for so many times as long."""

REST_SECONDS_MAX = 5.0
"""It rests no longer than this, however long the look took: it may have waited for a Redis that stood still."""

COMMENT_SECONDS = 15.0
"""A connection with nothing to say says at least that (contract); proxies drop quieter ones."""

BUFFER_BYTES_MAX = 64 * 1024
"""A listener that leaves more than this unread is cut off; it comes back with Last-Event-ID and has missed nothing."""

SLICE = 200
"""Listeners written to, or bookings read, before whoever books has a turn."""

RETRY_MS = 1_000
"""How long a client waits before it comes back after an end."""

COMMENT = b":\n\n"

DIRECT_WRITE = "booking.direct_write"
"""The ASGI extension by which booking.http lets pieces be written without a turn of a task, for each of thousands."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]


class Stream(Protocol):
    """A response that is written to as long as it lasts."""

    def write(self, piece: bytes) -> int:
        """Writes some of it; returns the bytes that its reader has left unread."""

    def abort(self) -> None:
        """Ends it at once."""

    async def last(self) -> None:
        """Returns when its reader has left, or it was aborted."""


class DirectStream:
    """A stream on a server that has the extension DIRECT_WRITE."""

    def __init__(self, receive: Receive, write: Callable[[bytes], int], abort: Callable[[], None]) -> None:
        self.write, self.abort = write, abort
        self._receive = receive

    async def last(self) -> None:
        """Returns when its reader has left, or the server stops."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


class SentStream:
    """A stream on any other server: a task sends what is queued."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._unread = 0

    def write(self, piece: bytes) -> int:
        """Queues a piece; returns the bytes that are not sent yet."""
        self._unread += len(piece)
        self._pieces.put_nowait(piece)
        return self._unread

    def abort(self) -> None:
        """Ends it behind what is being sent."""
        self._pieces.put_nowait(None)

    async def last(self) -> None:
        """Sends until its reader has left, or it was aborted."""
        tasks = [asyncio.ensure_future(self._left()), asyncio.ensure_future(self._send_pieces())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _send_pieces(self) -> None:
        while (piece := await self._pieces.get()) is not None:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            self._unread -= len(piece)


class Listener:
    """One connection, and what it was told last."""

    __slots__ = ("booking", "sent_at", "stream", "user")

    def __init__(self, stream: Stream, user: str | None, now: float) -> None:
        self.stream = stream
        self.user = user
        self.booking = b""
        self.sent_at = now

    def push(self, text: bytes, now: float) -> None:
        """Writes a text; whoever does not read is cut off rather than waited for."""
        self.sent_at = now
        if self.stream.write(text) > BUFFER_BYTES_MAX:
            self.stream.abort()


class Channel:
    """Everybody who listens to one event. Looks at it while there is anybody."""

    def __init__(self, office: BoxOffice, event_id: int) -> None:
        self._office = office
        self._event_id = event_id
        self._loop = asyncio.get_running_loop()
        self.listeners: set[Listener] = set()
        self.told: Event | None = None
        """What everybody was told last; None where that has to be told again, whether or not it is new."""
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Tells everybody of each change until nobody listens."""
        while self.listeners:
            began = self._loop.time()
            try:
                event = await self._office.get_event(self._event_id)
                if event is not None and (self.told is None or _version(event) != _version(self.told)):
                    self.told = event
                    await self._tell(availability(event))
                    await self._tell_bookings(event.seq)
            except (InventoryUnavailable, OutcomeUnknown, Overloaded):
                self.told = None  # the connections stay, and what could not be told now is told then
            rest = min(max(PERIOD_SECONDS, REST_SHARE * (self._loop.time() - began)), REST_SECONDS_MAX)
            self._comment(self._loop.time(), rest)
            await asyncio.sleep(rest)

    async def _tell(self, text: bytes) -> None:
        for at, listener in enumerate(list(self.listeners)):
            listener.push(text, self._loop.time())
            if at % SLICE == SLICE - 1:
                await asyncio.sleep(0)

    async def _tell_bookings(self, seq: int) -> None:
        """To those who are signed in, where theirs has changed. Their readings share the lane's calls."""
        signed_in = [listener for listener in self.listeners if listener.user is not None]
        for start in range(0, len(signed_in), SLICE):
            some = signed_in[start : start + SLICE]
            texts = await asyncio.gather(*(booking_text(self._office, self._event_id, one.user) for one in some))
            for listener, text in zip(some, texts, strict=True):
                if text != listener.booking:
                    listener.booking = text
                    listener.push(_with_id(text, seq), self._loop.time())

    def _comment(self, now: float, rest: float) -> None:
        """To those who would have heard nothing for too long by the end of the rest."""
        for listener in [one for one in self.listeners if now + rest - one.sent_at >= COMMENT_SECONDS]:
            listener.push(COMMENT, now)


class LiveEndpoint:
    """`GET /events/{event_id}/live`."""

    def __init__(self, credentials: Credentials, office: BoxOffice, listeners_max: int) -> None:
        self._credentials = credentials
        self._office = office
        self._listeners_max = listeners_max
        self._channels: dict[int, Channel] = {}
        self.listening = 0
        """Connections that listen now."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers until the client goes, the server stops, or the client reads too slowly."""
        user = await self._user(scope)
        event_id = read_event_id(scope)
        event = await self._office.get_event(event_id)
        if event is None:
            raise Problem("event_not_found")
        if self.listening >= self._listeners_max:
            raise Problem("overloaded", "As many as can be served listen already. Try again in a moment.")
        self.listening += 1  # before anything is waited for, or more would come in meanwhile
        try:
            await self._listen(scope, receive, send, user, event)
        finally:
            self.listening -= 1

    async def _listen(self, scope: Scope, receive: Receive, send: Send, user: str | None, event: Event) -> None:
        event_id = event.id
        booking = b"" if user is None else await booking_text(self._office, event_id, user)
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        first = b"retry: %d\n\n" % RETRY_MS
        if _last_event_id(scope) != event.seq or _has_turned(event):
            first += availability(event)
        if booking:
            first += _with_id(booking, event.seq)
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        extension = scope.get("extensions", {}).get(DIRECT_WRITE)
        stream: Stream = SentStream(receive, send) if extension is None else DirectStream(receive, **extension)
        listener = Listener(stream, user, asyncio.get_running_loop().time())
        listener.push(first, listener.sent_at)
        listener.booking = booking
        channel = self._join(event, listener)
        try:
            await stream.last()
        finally:
            channel.listeners.discard(listener)

    async def _user(self, scope: Scope) -> str | None:
        """Who listens, if they say so. Raises Unauthenticated for credentials that are not good."""
        if b"authorization" not in fields_of(scope):
            return None
        caller = self._credentials.caller_now(scope) or await self._credentials.caller(scope)
        scope[USER] = caller.user_id
        return caller.user_id

    def _join(self, event: Event, listener: Listener) -> Channel:
        """Takes in a listener who has been told of `event`."""
        event_id = event.id
        channel = self._channels.get(event_id)
        if channel is None or channel.task is None or channel.task.done():
            channel = self._channels[event_id] = Channel(self._office, event_id)
            channel.told = event
        elif channel.told is not None and _is_newer(channel.told, event):
            channel.told = None  # the others know more than this one, who is told with them at the next look
        channel.listeners.add(listener)
        if channel.task is None:
            channel.task = asyncio.create_task(channel.run(), name=f"live {event_id}")
            channel.task.add_done_callback(lambda _: self._leave(event_id, channel))
        return channel

    def _leave(self, event_id: int, channel: Channel) -> None:
        if self._channels.get(event_id) is channel:
            del self._channels[event_id]


def availability(event: Event) -> bytes:
    """The event, as one of the stream's."""
    return _with_id(b"event: availability\ndata: " + orjson.dumps(event_data(event)) + b"\n\n", event.seq)


async def booking_text(office: BoxOffice, event_id: int, user: str | None) -> bytes:
    """A user's live booking, or null, as one of the stream's, without its id."""
    assert user is not None
    outcome = await office.get_booking(event_id, user)
    data: BookingData | None = None if outcome.booking is None else booking_data(outcome.booking)
    return b"event: booking\ndata: " + orjson.dumps(data) + b"\n\n"


def _with_id(text: bytes, seq: int) -> bytes:
    return b"id: %d\n" % seq + text


def _is_newer(event: Event, than: Event) -> bool:
    """Whether a listener who was told of the other has to hear of this one."""
    return _version(event) != _version(than) and (event.seq, event.now_ms) > (than.seq, than.now_ms)


def _version(event: Event) -> tuple[object, ...]:
    """What a listener is told of anew when it changes; the state does so by the clock alone."""
    return event.seq, event.state


def _has_turned(event: Event) -> bool:
    """Whether the clock alone has opened or closed the sale: perhaps since somebody heard of this very `seq`."""
    edges = (event.rules.opens_at_ms, event.rules.closes_at_ms)
    return any(edge is not None and event.created_at_ms < edge <= event.now_ms for edge in edges)


def _last_event_id(scope: Scope) -> int | None:
    value = fields_of(scope).get(b"last-event-id", b"")
    return int(value) if value.isdigit() and len(value) < 20 else None
