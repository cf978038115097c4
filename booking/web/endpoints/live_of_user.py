"""`GET /live`: one stream of several events, and of all bookings of the caller.

It shares the channels of the streams of one event, so a further listener of an event costs no read of it. Bookings of
events that the caller does not name are found in the database, by one question a worker for all of its listeners.
"""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2s

import orjson
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from booking.domain.callers import Caller
from booking.domain.model import Event
from booking.inventory.box_office import BoxOffice
from booking.ledger.errors import LedgerError
from booking.logs import ThrottledLogger
from booking.web.authentication import Credentials
from booking.web.endpoints.live import (
    PAUSE_FACTOR,
    PAUSE_SECONDS_MAX,
    RETRY,
    UNAVAILABLE,
    Connection,
    Listener,
    Message,
    Places,
    Stream,
    Watch,
    booking_text,
    clock_changed_state,
    listening_caller,
    open_stream,
    read_booking,
    until_ended,
)
from booking.web.headers import fields_of
from booking.web.local_limits import LocalBuckets, address_key
from booking.web.password_limits import address_of
from booking.web.problems import Fault, invalid
from booking.web.requests import event_id_of

EVENTS_MAX = 32
"""The most events that a stream names (contract): each adds 9 bytes to every message, and two reads at the start."""

UNNAMED_MAX = 50
"""Events with a booking of the caller that a stream follows without a name: those created last."""

FIND_SECONDS = 2.0
"""The interval at which a worker asks the database for bookings of events that its listeners have not named."""

FIND_NEW_SECONDS = 0.25
"""The same for listeners that have just connected. So a crowd that connects at once is one question."""

USERS_MAX = 500
"""Users in one question to the database."""

NULL = b"null"

FindEvents = Callable[[Sequence[str], int], Awaitable[Mapping[str, Sequence[int]]]]
"""The events of which each user has a live booking, the last ones first, up to a number for each user."""

Read = tuple[Event | None, bytes]
"""An event (None: it does not exist), and the JSON of the caller's booking of it; empty without a caller."""

_FAILED = ThrottledLogger("bookings for live streams could not be read")


class SeveralEvents(Connection):
    """A connection that listens to several events."""

    __slots__ = ("listeners", "missing", "versions", "watch")

    def __init__(self, watch: Watch, stream: Stream, caller: Caller | None, now: float) -> None:
        super().__init__(stream, caller, now)
        self.watch = watch
        self.listeners: dict[int, OneOfSeveral] = {}
        self.missing: set[int] = set()
        """Named events that could not be read yet."""
        self.versions: dict[int, bytes] = {}
        """What was sent of each named event."""

    def with_id(self, text: bytes) -> bytes:
        """A message with an id that tells which version of each named event the client has."""
        return b"id: %b\n%b" % (b".".join(self.versions.values()), text)

    def follow(self, event_id: int, read: "Read", *, is_named: bool, known: Sequence[bytes] = ()) -> bytes:
        """Sends changes of an event from now on. Returns what has to be sent at once.

        The event itself is left out if its version is `known` to the client. An event that is not named is followed
        only if there is a booking.
        """
        event, booking = read
        self.missing.discard(event_id)
        if event is None:
            return self.with_id(gone_text(event_id)) if is_named else b""
        if not is_named and booking == NULL:
            return b""
        listener = self.listeners[event_id] = OneOfSeveral(self, event_id, is_named=is_named, booking=booking)
        first = b""
        if is_named:
            message = listener.event_message(Message(event))
            if version_of(event) not in known or clock_changed_state(event):
                first = message
        if booking:
            first += listener.booking_message()
        self.watch.join(event, listener)
        return first

    def leave(self, event_id: int) -> None:
        """Sends no more changes of an event."""
        self.watch.leave(event_id, self.listeners.pop(event_id))
        self.versions.pop(event_id, None)


class OneOfSeveral(Listener):
    """One event of a connection that listens to several."""

    __slots__ = ("event_id", "is_named", "several")

    def __init__(self, several: SeveralEvents, event_id: int, *, is_named: bool, booking: bytes = b"") -> None:
        super().__init__(several, booking)
        self.several = several
        self.event_id = event_id
        self.is_named = is_named

    def event_message(self, message: Message) -> bytes:
        """The message with the event, which is noted as sent."""
        self.several.versions[self.event_id] = version_of(message.event)
        return self.several.with_id(message.text)

    def booking_message(self) -> bytes:
        """The message with the caller's booking. It names the event, because there may be no booking."""
        return self.several.with_id(booking_text(b'{"event_id":%d,"booking":%b}' % (self.event_id, self.booking)))

    def send_event(self, message: Message, now: float) -> None:
        """Sends the event if the caller has named it."""
        if self.is_named:
            self.connection.push(self.event_message(message), now)

    def send_booking(self, event: Event, booking: bytes, now: float) -> None:  # noqa: ARG002  # the id is the connection's
        """Sends the caller's booking. An event that is not named is left once its booking has ended."""
        self.booking = booking
        self.connection.push(self.booking_message(), now)
        if booking == NULL and not self.is_named:
            self.several.leave(self.event_id)

    def end(self) -> None:
        """Sends that the event does not exist any more, and listens to the others."""
        self.several.leave(self.event_id)
        self.connection.push(self.several.with_id(gone_text(self.event_id)), asyncio.get_running_loop().time())


class BookingFinder:
    """Finds bookings of events that listeners have not named, and named events that could not be read before."""

    def __init__(self, office: BoxOffice, find_events: FindEvents) -> None:
        self._office = office
        self._find_events = find_events
        self._connections: set[SeveralEvents] = set()
        self._new: set[SeveralEvents] = set()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, connection: SeveralEvents) -> None:
        """Looks for bookings of this connection's caller, soon and then every FIND_SECONDS."""
        self._connections.add(connection)
        self._new.add(connection)
        self._arrived.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="live bookings")

    def discard(self, connection: SeveralEvents) -> None:
        """Looks no more."""
        self._connections.discard(connection)
        self._new.discard(connection)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        all_at = loop.time()
        while self._connections:
            began = loop.time()
            is_for_all = began >= all_at
            asked = list(self._connections if is_for_all else self._new)
            self._new.clear()
            self._arrived.clear()
            try:
                await self._look(asked)
            except LedgerError:
                pass  # the database is away; everyone is asked for again
            except Exception as error:  # noqa: BLE001 - logged, and asked again
                _FAILED.error(exc_info=error)
            # So it takes at most a tenth of the time, however many listeners there are.
            pause = min(PAUSE_FACTOR * (loop.time() - began), PAUSE_SECONDS_MAX)
            if is_for_all:
                all_at = loop.time() + max(FIND_SECONDS, pause)
            await asyncio.sleep(max(FIND_NEW_SECONDS, pause))
            await self._until_arrival(all_at - loop.time())

    async def _until_arrival(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0, seconds)):
                await self._arrived.wait()
        except TimeoutError:
            return

    async def _look(self, connections: Iterable[SeveralEvents]) -> None:
        of_user: dict[str, list[SeveralEvents]] = {}
        for connection in connections:
            await self._follow(connection, list(connection.missing), is_named=True)
            if connection.caller is not None:
                of_user.setdefault(connection.caller.user_id, []).append(connection)
        users = list(of_user)
        for start in range(0, len(users), USERS_MAX):
            found = await self._find_events(users[start : start + USERS_MAX], UNNAMED_MAX)
            for user, event_ids in found.items():
                for connection in of_user[user]:
                    await self._follow(connection, event_ids, is_named=False)

    async def _follow(self, connection: SeveralEvents, event_ids: Sequence[int], *, is_named: bool) -> None:
        """Reads events that the connection does not follow yet, sends what there is of them, and follows them."""
        known = connection.listeners.keys() if is_named else connection.listeners.keys() | connection.missing
        new = [event_id for event_id in event_ids if event_id not in known]
        if not is_named:
            unnamed = sum(not listener.is_named for listener in connection.listeners.values())
            new = new[: max(0, UNNAMED_MAX - unnamed)]
        if not new:
            return
        for event_id, read in zip(new, await read_several(self._office, new, connection.caller), strict=True):
            if connection not in self._connections:  # it has ended meanwhile
                return
            if isinstance(read, BaseException) or event_id in connection.listeners:
                continue  # it is looked for again
            first = connection.follow(event_id, read, is_named=is_named)
            if first:
                connection.push(first, asyncio.get_running_loop().time())


class LiveOfUserEndpoint:
    """`GET /live`."""

    def __init__(
        self,
        credentials: Credentials,
        office: BoxOffice,
        places: Places,
        watch: Watch,
        reads: LocalBuckets,
        find_events: FindEvents,
    ) -> None:
        self._credentials = credentials
        self._office = office
        self._places = places
        self._watch = watch
        self._reads = reads
        self._finder = BookingFinder(office, find_events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams until the client disconnects, its token ends, the server stops, or the client reads too slowly."""
        caller = await listening_caller(self._credentials, scope)
        event_ids = read_event_ids(scope, may_be_empty=caller is not None)
        with self._places.take(address_of(scope), None if caller is None else caller.user_id):
            for _ in event_ids[1:]:  # a stream of one event is bounded by the places alone
                self._reads.charge(address_key(scope) if caller is None else caller.user_id)
            found = await read_several(self._office, event_ids, caller)
            errors = [one for one in found if isinstance(one, BaseException)]
            if errors and len(errors) == len(found):
                raise errors[0]
            stream = await open_stream(scope, receive, send)
            if stream is None:
                return
            connection = SeveralEvents(self._watch, stream, caller, asyncio.get_running_loop().time())
            known = fields_of(scope).get(b"last-event-id", b"").split(b".")
            async with self._listening(connection):
                first = RETRY
                for event_id, read in zip(event_ids, found, strict=True):
                    if isinstance(read, BaseException):
                        connection.missing.add(event_id)
                    else:
                        first += connection.follow(event_id, read, is_named=True, known=known)
                connection.push(first, connection.sent_at)
                await until_ended(connection)

    @asynccontextmanager
    async def _listening(self, connection: SeveralEvents) -> AsyncIterator[None]:
        self._finder.add(connection)
        try:
            with self._watch.connected(connection):
                yield
        finally:
            self._finder.discard(connection)
            for event_id in list(connection.listeners):
                connection.leave(event_id)


def read_event_ids(scope: Scope, *, may_be_empty: bool) -> list[int]:
    """The events of the query, each once. Raises Problem (422) if they are not at most EVENTS_MAX ids.

    There may be none if there are bookings to tell of.
    """
    texts = [text for text in QueryParams(scope["query_string"]).get("events", "").split(",") if text]
    event_ids = list(dict.fromkeys(event_id_of(text) for text in texts))
    named = [one for one in event_ids if one is not None]
    if len(named) < len(event_ids) or len(named) > EVENTS_MAX or not (named or may_be_empty):
        least = "0" if may_be_empty else "1"
        detail = f"events has to be {least} to {EVENTS_MAX} ids of events, separated by commas."
        raise invalid(Fault("?events", detail))
    return named


async def read_several(
    office: BoxOffice, event_ids: Sequence[int], caller: Caller | None
) -> list[Read | BaseException]:
    """Each event (None: it does not exist) and the caller's booking of it, or why it cannot be read now."""

    async def read(event_id: int) -> Read:
        event = await office.get_event(event_id)
        return event, b"" if caller is None or event is None else await read_booking(office, event_id, caller)

    found = await asyncio.gather(*map(read, event_ids), return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, UNAVAILABLE):
            raise one
    return found


def version_of(event: Event) -> bytes:
    """A short text that differs for each version of each event: one in 2^48 of two is the same by chance."""
    text = f"{event.id} {event.epoch} {event.seq}".encode()
    return urlsafe_b64encode(blake2s(text, digest_size=6).digest())


def gone_text(event_id: int) -> bytes:
    """The message that an event does not exist, without an id."""
    return b"event: gone\ndata: " + orjson.dumps({"event_id": event_id}) + b"\n\n"
