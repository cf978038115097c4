"""A small in-memory booking service that can be configured to give wrong answers."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jwt
import orjson

from tests.fixtures.servers import stop_listening

SECRET = "only-for-the-tests-of-the-load-test-tool"


class Lie(StrEnum):
    """What the service does wrong, or which trouble it has."""

    OVERSELLS = "oversells"
    DOUBLE_BOOKS = "double books"
    SELLS_ONE_BOOKING_TWICE = "sells one booking to two"
    FORGETS_A_BOOKING = "forgets a booking"
    FORGETS_A_CANCEL = "forgets a cancel"
    TAKES_TICKETS_BACK = "takes tickets back"
    SERVES_THE_LAST_FIRST = "serves the last first"
    LETS_NEWCOMERS_PASS = "lets newcomers pass"
    PUTS_JOINERS_IN_FRONT = "puts joiners in front"
    KEEPS_A_FREED_TICKET = "keeps a freed ticket"
    MISCOUNTS = "miscounts"
    SHOWS_THE_PAST = "shows the past"
    FAILS = "answers 500"
    TALKS_NONSENSE = "talks nonsense"
    SELLS_NOTHING = "answers 503 to whoever books"
    LIMITS_EVERYBODY = "answers 429 to whoever books"
    # Troubles that are no lies: the verdict has to stay clean.
    IS_BUSY = "answers 503 before the change"
    LOSES_ANSWERS = "answers 503 after the change"
    DROPS_CONNECTIONS = "drops connections"
    CLOSES_CONNECTIONS = "closes each connection after its answer"
    LIMITS_RATES = "answers 429"
    TURNS_SOME_AWAY = "answers 503 to some, each time"
    # The service ends, so the sale cannot be judged.
    DIES = "is gone after forty changes"


BEFORE_THE_CHANGE = {
    Lie.FAILS: (500, "internal_error"),
    Lie.IS_BUSY: (503, "inventory_unavailable"),
    Lie.LIMITS_RATES: (429, "rate_limited"),
}


NO_BOOKING = {
    Lie.SELLS_NOTHING: (503, "inventory_unavailable"),
    Lie.LIMITS_EVERYBODY: (429, "rate_limited"),
    Lie.TURNS_SOME_AWAY: (503, "overloaded"),
}


@dataclass(slots=True)
class Place:
    """A live booking."""

    number: int
    user: str
    quantity: int
    waiting: bool
    source: str


class DropConnection(Exception):
    """Raised to close the connection without an answer."""


class LyingService:
    """The sale of one event. `rng` decides which calls are lied to, so that every run has the same lies."""

    def __init__(self, lie: Lie | None = None) -> None:
        self.lie = lie
        self.rng = random.Random(7)
        self.capacity = 0
        self.name = ""
        self.seq = 0
        self.places: dict[str, Place] = {}
        self.queue: list[Place] = []
        self.bookings = self.cancels = 0  # a change's number may be another's: of a cancel, or of who moves up
        self.past: dict[str, Any] | None = None
        self.replies: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
        self.connections: set[asyncio.Transport] = set()
        self.server: asyncio.Server | None = None
        self.death: asyncio.Task[None] | None = None

    def answer(self, method: str, path: str, user: str, key: str | None, body: dict[str, Any]) -> tuple[int, Any]:
        if self.lie is Lie.DIES and self.seq >= 40:
            self.death = self.death or asyncio.create_task(self.end())
            raise DropConnection
        if path == "/initialize":
            self.open(body["event_name"], body["available_tickets"])
            return 201, {"error": False, "event_id": 1}
        if path.startswith("/status/"):
            return self.status(path)
        trouble = self.rng.random() < 0.1
        refusal = self.refusal(path, user, trouble=trouble)
        if refusal is not None:
            return refusal[0], {"code": refusal[1], "detail": "not now"}
        if trouble and self.lie is Lie.DROPS_CONNECTIONS and self.rng.random() < 0.5:
            raise DropConnection
        reply = self.replies.get((user, key)) if key else None
        if reply is None:
            reply = self.change(method, path, user, body)
            if key:
                self.replies[user, key] = reply
        if trouble and self.lie is Lie.DROPS_CONNECTIONS:
            raise DropConnection
        if trouble and self.lie is Lie.LOSES_ANSWERS and method == "POST":
            return 503, {"code": "outcome_unknown", "detail": "who knows"}
        return reply

    def status(self, path: str) -> tuple[int, dict[str, Any]]:
        if path != "/status/1":
            return 404, {"code": "event_not_found", "detail": "no such event"}
        return 200, {"error": False, "data": self.event()}

    def refusal(self, path: str, user: str, *, trouble: bool) -> tuple[int, str] | None:
        if path == "/book" and self.lie in NO_BOOKING and (self.lie is not Lie.TURNS_SOME_AWAY or user.endswith("7")):
            return NO_BOOKING[self.lie]
        return BEFORE_THE_CHANGE.get(self.lie) if trouble and self.lie is not None else None

    async def end(self) -> None:
        """Ends as by `kill -9`: the port is closed and every connection is cut."""
        assert self.server is not None
        await stop_listening(self.server)
        while self.connections:  # they end in the loop's next turns
            for transport in self.connections:
                transport.abort()
            await asyncio.sleep(0)

    def open(self, name: str, capacity: int) -> None:
        self.name, self.capacity, self.seq = name, capacity, 1

    def change(self, method: str, path: str, user: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        place = self.places.get(user)
        if method == "GET":
            if place is None:
                return 404, {"code": "booking_not_found", "detail": "none"}
            return 200, {"error": False, "data": self.shown(place)}
        if path == "/book":
            return self.book(user, body.get("quantity", 1))
        return self.cancel(user)

    def book(self, user: str, quantity: int) -> tuple[int, dict[str, Any]]:
        place = self.places.get(user)
        if place is not None and self.lie is not Lie.DOUBLE_BOOKS:
            if place.waiting:
                return 202, {"error": False, "data": self.shown(place)}
            return 409, {"code": "already_booked", "detail": "have", "data": {"booking": self.shown(place)}}
        self.bookings += 1
        self.seq += 1
        number = self.seq
        if self.lie is Lie.SELLS_ONE_BOOKING_TWICE and self.bookings == 50:
            number -= 1
        extra = 5 if self.lie is Lie.OVERSELLS else 0
        passes = self.lie is Lie.LETS_NEWCOMERS_PASS and self.rng.random() < 0.05
        fits = quantity <= self.capacity + extra - self.taken() and not self.queue
        place = Place(number, user, quantity, not (fits or passes), "sale" if fits or passes else "waitlist")
        if passes and not fits:
            # To stay within the stock, the ticket is taken from another user.
            loser = next(p for p in self.places.values() if not p.waiting)
            loser.waiting = True
            self.queue.append(loser)
        self.places[user] = place
        if place.waiting:
            self.queue.insert(0 if self.lie is Lie.PUTS_JOINERS_IN_FRONT else len(self.queue), place)
        reply = (202 if place.waiting else 201, {"error": False, "data": self.shown(place)})
        if self.lie is Lie.FORGETS_A_BOOKING and self.bookings == 40:
            del self.places[user]
        if self.lie is Lie.TAKES_TICKETS_BACK and self.bookings == 200:
            loser = next(p for p in self.places.values() if not p.waiting)
            loser.waiting = True
            self.queue.append(loser)
        return reply

    def cancel(self, user: str) -> tuple[int, dict[str, Any]]:
        place = self.places.get(user)
        if place is None:
            return 404, {"code": "booking_not_found", "detail": "none"}
        self.cancels += 1
        if self.lie is not Lie.FORGETS_A_CANCEL or self.cancels != 3:
            self.seq += 1
            del self.places[user]
            if place in self.queue:
                self.queue.remove(place)
            self.promote()
        return 200, {"error": False, "data": {}}

    def promote(self) -> None:
        last_first = self.lie is Lie.SERVES_THE_LAST_FIRST
        if self.lie is Lie.KEEPS_A_FREED_TICKET:
            return
        while self.queue:
            place = self.queue[-1 if last_first else 0]
            if place.quantity > self.capacity - self.taken():
                return
            self.queue.remove(place)
            self.seq += 1
            place.waiting = False

    def taken(self) -> int:
        return sum(place.quantity for place in self.places.values() if not place.waiting)

    def shown(self, place: Place) -> dict[str, Any]:
        return {
            "id": f"1-{place.number}",
            "user_id": place.user,
            "quantity": place.quantity,
            "status": "waiting" if place.waiting else "confirmed",
            "position": self.queue.index(place) + 1 if place in self.queue else None,
        }

    def event(self) -> dict[str, Any]:
        sold = min(self.taken(), self.capacity)
        shown = {
            "capacity": self.capacity,
            "available_tickets": self.capacity - sold,
            "tickets_held": 0,
            "tickets_sold": sold,
            "bookings_count": sum(not place.waiting for place in self.places.values()),
            "waiting_list_count": len(self.queue) + (self.lie is Lie.MISCOUNTS),
            "seq": self.seq,
        }
        if self.lie is Lie.SHOWS_THE_PAST and self.seq < 300:
            self.past = self.past or shown
            return self.past
        return shown


class _Connection(asyncio.Protocol):
    def __init__(self, service: LyingService) -> None:
        self.service = service
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.service.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.service.connections.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.rest += data
        head, separator, body = self.rest.partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if len(body) < int(headers.get("content-length", 0)):
            return
        self.rest = b""
        method, path, _ = first.split(" ")
        token = headers.get("authorization", "").removeprefix("Bearer ")
        try:
            user = jwt.decode(token, SECRET, algorithms=["HS256"])["sub"] if token else ""
        except jwt.InvalidTokenError:
            self.respond(401, {"code": "unauthenticated", "detail": "no"})
            return
        try:
            reply = self.service.answer(
                method, path, user, headers.get("idempotency-key"), orjson.loads(body) if body else {}
            )
        except DropConnection:
            self.transport.abort()
            return
        self.respond(*reply)

    def respond(self, status: int, document: dict[str, Any]) -> None:
        body = orjson.dumps(document)
        if self.service.lie is Lie.TALKS_NONSENSE and self.service.rng.random() < 0.01:
            body = b"<html>"
        closing = self.service.lie is Lie.CLOSES_CONNECTIONS
        retry = "Retry-After: 0\r\n" if status in (429, 503) else ""
        close = "Connection: close\r\n" if closing else ""
        head = f"HTTP/1.1 {status} X\r\n{close}{retry}Content-Length: {len(body)}"
        self.transport.write(head.encode() + b"\r\n\r\n" + body)
        if closing:
            self.transport.close()


@asynccontextmanager
async def serving(service: LyingService) -> AsyncIterator[str]:
    """Serves on a port that the system chooses. Yields the address."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(service), "127.0.0.1", 0)
    service.server = server
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await service.end()
