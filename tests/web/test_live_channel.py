"""A channel of the live stream if reads fail or overtake each other."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from booking.domain.callers import Caller
from booking.domain.model import Booking, BookingStatus, Event, Rules, Source
from booking.domain.outcomes import Outcome, Status
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import Overloaded
from booking.logs import ThrottledLogger
from booking.web.authentication import Credentials
from booking.web.endpoints import live
from booking.web.endpoints.live import Connection, Listener, LiveEndpoint, Places, SentStream, Watch
from booking.web.headers import EXTENSION
from tests.fixtures.waiting import eventually_async
from tests.web.asgi import scope

EVENT = Event(1, Rules("sale", 10), 9, 1, 0, 1, 0, 0, 2, 0, 0)


class Office:
    """Answers about one event; its first reading of a booking fails."""

    def __init__(self) -> None:
        self.failures = 1
        self.event = EVENT

    def shard_of(self, _: int) -> int:
        return 0

    async def changed_events(self, shard: int, seen: Sequence[Event]) -> list[int]:  # noqa: ARG002
        return [event.id for event in seen if event.seq != self.event.seq]

    async def get_event(self, _: int) -> Event:
        return self.event

    async def get_booking(self, event_id: int, user: str) -> Outcome:
        if self.failures:
            self.failures -= 1
            raise Overloaded
        return Outcome(Status.FOUND, Booking(event_id, 2, user, 1, BookingStatus.CONFIRMED, Source.SALE, 0))


class Stream:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended = self.aborted = False

    def write(self, piece: bytes) -> int:
        self.pieces.append(piece)
        return 0

    def end(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True

    async def wait_closed(self) -> None:
        raise AssertionError

    def extension(self) -> dict[str, object]:
        return {EXTENSION: {"write": self.write, "end": self.end, "abort": self.abort}}


class Listening:
    """A listener's request to the endpoint, which ends with the context."""

    def __init__(self, office: object, user: str | None = None) -> None:
        self.stream = Stream()
        self._watch = Watch(cast("BoxOffice", office))
        self._listener = listener(self.stream, user)
        self._connected = self._watch.connected(self._listener.connection)

    def __enter__(self) -> Stream:
        self._connected.__enter__()
        self._watch.join(EVENT, self._listener)
        return self.stream

    def __exit__(self, *_: object) -> None:
        self._watch.leave(EVENT.id, self._listener)
        self._connected.__exit__(None, None, None)


def listener(stream: Stream, user: str | None = None) -> Listener:
    caller = None if user is None else Caller(user, organizer=False)
    return Listener(Connection(stream, caller, asyncio.get_running_loop().time()))


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PERIOD_SECONDS", 0.01)
    monkeypatch.setattr(live, "PAUSE_SECONDS_MAX", 0.01)
    monkeypatch.setattr(live, "COMMENT_CHECK_SECONDS", 0.01)


@pytest.mark.usefixtures("_fast")
async def test_a_booking_that_could_not_be_read_is_sent_as_soon_as_possible() -> None:
    office = Office()
    with Listening(office, "ann") as stream:
        office.event = replace(EVENT, seq=3)
        await eventually_async(
            lambda: any(b"event: booking" in piece for piece in stream.pieces), "the booking is told"
        )


@pytest.mark.usefixtures("_fast")
async def test_a_redis_that_stands_still_does_not_silence_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "COMMENT_SECONDS", 0.02)

    class StillOffice(Office):
        async def changed_events(self, shard: int, seen: Sequence[Event]) -> list[int]:  # noqa: ARG002
            await asyncio.Event().wait()
            raise AssertionError

    with Listening(StillOffice()) as stream:
        await eventually_async(lambda: stream.pieces.count(live.COMMENT) > 2, "comments keep it open")


@pytest.mark.usefixtures("_fast")
async def test_a_shard_whose_server_stands_still_silences_no_other_shards_stream() -> None:
    class HalfStillOffice(Office):
        def shard_of(self, event_id: int) -> int:
            return event_id % 2

        async def changed_events(self, shard: int, seen: Sequence[Event]) -> list[int]:
            if shard != EVENT.id % 2:
                await asyncio.Event().wait()
            return await super().changed_events(shard, seen)

    office = HalfStillOffice()
    watch = Watch(cast("BoxOffice", office))
    still, stream = Stream(), Stream()
    other = replace(EVENT, id=EVENT.id + 1)
    listeners = [listener(one) for one in (still, stream)]
    watch.join(other, listeners[0])
    watch.join(EVENT, listeners[1])
    for seq in (3, 4):
        office.event = replace(EVENT, seq=seq)
        await eventually_async(
            lambda: any(f"-{seq}\n".encode() in piece for piece in stream.pieces),  # noqa: B023 - awaited here
            "the change is told",
        )
    watch.leave(other.id, listeners[0])
    watch.leave(EVENT.id, listeners[1])


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize("method", ["get_event", "changed_events"])
async def test_an_unexpected_error_does_not_end_a_channel_in_silence(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_FAILED", ThrottledLogger("a live stream has failed"))
    office = Office()
    works, failures = getattr(office, method), 2

    async def fails(*arguments: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ZeroDivisionError("unexpected")
        return await works(*arguments)

    setattr(office, method, fails)
    with capture_logs() as lines, Listening(office) as stream:
        office.event = replace(EVENT, seq=3)
        await eventually_async(lambda: any(b"-3\n" in piece for piece in stream.pieces), "the change is told")
    assert isinstance(lines[0]["exc_info"], ZeroDivisionError)
    assert not stream.ended
    assert not stream.aborted


@pytest.mark.usefixtures("_fast")
async def test_listeners_to_an_event_that_fails_again_and_again_are_disconnected() -> None:
    class BrokenOffice(Office):
        async def get_event(self, _: int) -> Event:
            raise ZeroDivisionError

    office = BrokenOffice()
    with Listening(office) as stream:
        office.event = replace(EVENT, seq=3)
        await eventually_async(lambda: stream.ended, "so that its client asks again, and is told")


async def test_a_listener_who_joins_just_after_the_last_one_left_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PERIOD_SECONDS", 0.01)
    office = Office()
    watch = Watch(cast("BoxOffice", cast("Any", office)))
    gone = listener(Stream())
    watch.join(EVENT, gone)
    running = set(asyncio.all_tasks())
    watch.leave(EVENT.id, gone)
    await eventually_async(lambda: any(task.done() for task in running), "a task has ended, and others have not")
    stream = Stream()
    late = listener(stream)
    watch.join(EVENT, late)
    office.event = replace(EVENT, seq=3)
    await eventually_async(lambda: any(b"-3\n" in piece for piece in stream.pieces), "the change is told")
    watch.leave(EVENT.id, late)


@pytest.mark.usefixtures("_fast")
async def test_events_that_do_not_change_cost_one_call_for_all_of_them() -> None:
    calls: list[int] = []

    class CountingOffice(Office):
        async def changed_events(self, shard: int, seen: Sequence[Event]) -> list[int]:  # noqa: ARG002
            calls.append(len(seen))
            return []

        async def get_event(self, _: int) -> Event:
            raise AssertionError("it has not changed")

    watch = Watch(cast("BoxOffice", cast("Any", CountingOffice())))
    listeners = [listener(Stream()) for _ in range(500)]
    for number, one in enumerate(listeners, start=1):
        watch.join(replace(EVENT, id=number), one)
    await eventually_async(lambda: len(calls) > 2, "it asks")
    for number, one in enumerate(listeners, start=1):
        watch.leave(number, one)
    assert set(calls) == {500}


class CrossingOffice:
    """Gives the new listener an older state than the others have: read earlier, delivered later."""

    def shard_of(self, _: int) -> int:
        return 0

    async def changed_events(self, shard: int, seen: Sequence[Event]) -> list[int]:  # noqa: ARG002
        return [event.id for event in seen if event.seq != 3]

    async def get_event(self, _: int) -> Event:
        task = asyncio.current_task()
        assert task is not None
        return replace(EVENT, seq=2 if task.get_name() == "newcomer" else 3)


async def test_a_new_listener_with_an_older_state_gets_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PERIOD_SECONDS", 0.01)
    office = cast("BoxOffice", cast("Any", CrossingOffice()))
    endpoint = LiveEndpoint(cast("Credentials", None), office, Places(2, 2), Watch(office))
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
        tasks = [group.create_task(listen())]
        await eventually_async(lambda: bool(heard and heard[0].pieces), "the first listens")
        tasks.append(group.create_task(listen(), name="newcomer"))
        await eventually_async(
            lambda: any(b"id: -3" in piece for one in heard[1:] for piece in one.pieces), "the newcomer is told"
        )
        for task in tasks:
            task.cancel()
    assert b"id: -2" in heard[1].pieces[0]


async def test_the_limit_of_listeners_holds_however_many_connect_at_once() -> None:
    office = cast("BoxOffice", cast("Any", Office()))
    endpoint = LiveEndpoint(cast("Credentials", None), office, places := Places(2, 5), Watch(office))

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(_: Any) -> None:
        await asyncio.sleep(0)  # as if the client's connection were not writable

    requests = [scope() | {"path_params": {"event_id": "1"}, "extensions": Stream().extension()} for _ in range(5)]
    listeners = [asyncio.create_task(endpoint(request, receive, send)) for request in requests]
    await eventually_async(lambda: sum(one.done() for one in listeners) == 3, "three of five are refused")
    done = [one for one in listeners if one.done()]
    listening = [one for one in listeners if not one.done()]
    assert places.taken == 2
    assert {getattr(one.exception(), "detail", None) for one in done} == {
        "As many as can be served listen already. Try again in a moment."
    }
    for one in listening:
        one.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    assert places.taken == 0


async def test_on_another_server_a_client_that_does_not_read_is_cut_off() -> None:
    async def unread(_: Message) -> None:
        await asyncio.Event().wait()

    async def connected() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    stream = SentStream(connected, unread)
    waiting = asyncio.create_task(stream.wait_closed())
    unsent = stream.write(b"x" * 1_000)
    await asyncio.sleep(0)
    stream.abort()
    await asyncio.wait_for(waiting, 10)
    assert stream.write(b"more") == unsent, "nothing is queued any more"
