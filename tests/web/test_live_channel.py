"""A channel of the live stream if reads fail or overtake each other."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from booking.domain.model import Booking, BookingStatus, Event, Rules, Source
from booking.domain.outcomes import Outcome, Status
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import Overloaded
from booking.web.authentication import Credentials
from booking.web.endpoints import live
from booking.web.endpoints.live import DIRECT_WRITE, Channel, Listener, LiveEndpoint
from tests.fixtures.waiting import eventually_async
from tests.web.asgi import scope

EVENT = Event(1, Rules("sale", 10), 9, 1, 0, 1, 0, 0, 2, 0, 0)


class Office:
    """Answers about one event that does not change; its first read of a booking fails."""

    def __init__(self) -> None:
        self.failures = 1

    async def get_event(self, _: int) -> Event:
        return EVENT

    async def get_booking(self, event_id: int, user: str) -> Outcome:
        if self.failures:
            self.failures -= 1
            raise Overloaded
        return Outcome(Status.FOUND, Booking(event_id, 2, user, 1, BookingStatus.CONFIRMED, Source.SALE, 0))


class StillOffice:
    """Stands in for a Redis that hangs: a read takes as long as a command may, and fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    async def get_event(self, _: int) -> Event:
        loop = asyncio.get_running_loop()
        later = loop.time() + 2
        self._monkeypatch.setattr(loop, "time", lambda: later, raising=False)
        raise Overloaded


class Stream:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self.pieces.append(piece)
        return 0

    def abort(self) -> None:
        raise AssertionError

    async def wait_closed(self) -> None:
        raise AssertionError

    def extension(self) -> dict[str, object]:
        return {DIRECT_WRITE: {"write": self.write, "abort": self.abort}}


async def test_a_booking_that_could_not_be_read_is_sent_as_soon_as_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PERIOD_SECONDS", 0.01)
    channel = Channel(cast("BoxOffice", cast("Any", Office())), 1)
    stream = Stream()
    listener = Listener(stream, "ann", asyncio.get_running_loop().time())
    channel.listeners.add(listener)
    running = asyncio.create_task(channel.run())
    await eventually_async(lambda: any(b"event: booking" in piece for piece in stream.pieces), "the booking is told")
    channel.listeners.clear()
    await running


async def test_a_redis_that_is_stopped_for_a_while_does_not_silence_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look that waited for it is no sign of a crowd: nine times its two seconds would be more than a comment's
    fifteen.
    """
    rests: list[float] = []
    now = asyncio.get_running_loop().time()
    channel = Channel(cast("BoxOffice", cast("Any", StillOffice(monkeypatch))), 1)
    stream = Stream()
    channel.listeners.add(Listener(stream, None, now - live.COMMENT_SECONDS + 3))

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        channel.listeners.clear()

    monkeypatch.setattr(asyncio, "sleep", rest)
    await channel.run()
    assert 2 + rests[0] < live.COMMENT_SECONDS, "the next look comes before a comment is due"
    assert stream.pieces == [live.COMMENT], "by the end of the rest it would have been silent for too long"


class CrossingOffice:
    """Gives the new listener an older state than the others have: read earlier, delivered later."""

    async def get_event(self, _: int) -> Event:
        task = asyncio.current_task()
        assert task is not None
        return replace(EVENT, seq=2 if task.get_name() == "newcomer" else 3)


async def test_a_new_listener_with_an_older_state_gets_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PERIOD_SECONDS", 0.01)
    office = cast("BoxOffice", cast("Any", CrossingOffice()))
    endpoint = LiveEndpoint(cast("Credentials", None), office, 2)
    heard: list[Stream] = []

    async def listen() -> None:
        stream = Stream()
        request = scope() | {"path_params": {"event_id": "1"}, "extensions": stream.extension()}
        heard.append(stream)

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(_: Any) -> None:
            """The head, and an empty piece."""

        await endpoint(request, receive, send)

    async with asyncio.TaskGroup() as group:
        listeners = [group.create_task(listen())]
        await eventually_async(lambda: bool(heard and heard[0].pieces), "the first listens")
        listeners.append(group.create_task(listen(), name="newcomer"))
        await eventually_async(
            lambda: any(b"id: 3" in piece for one in heard[1:] for piece in one.pieces), "the newcomer is told"
        )
        for listener in listeners:
            listener.cancel()
    assert b"id: 2" in heard[1].pieces[0]


async def test_the_limit_of_listeners_holds_however_many_connect_at_once() -> None:
    office = cast("BoxOffice", cast("Any", Office()))
    endpoint = LiveEndpoint(cast("Credentials", None), office, 2)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(_: Any) -> None:
        await asyncio.sleep(0)  # as if the client's connection were not writable

    requests = [scope() | {"path_params": {"event_id": "1"}, "extensions": Stream().extension()} for _ in range(5)]
    listeners = [asyncio.create_task(endpoint(request, receive, send)) for request in requests]
    await eventually_async(lambda: sum(one.done() for one in listeners) == 3, "three of five are refused")
    done = [one for one in listeners if one.done()]
    listening = [one for one in listeners if not one.done()]
    assert endpoint.listening == 2
    assert {getattr(one.exception(), "detail", None) for one in done} == {
        "As many as can be served listen already. Try again in a moment."
    }
    for one in listening:
        one.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    assert endpoint.listening == 0
