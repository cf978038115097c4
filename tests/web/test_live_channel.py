"""What a channel of the live stream tells its listeners where a reading fails in between."""

import asyncio
from typing import Any, cast

import pytest

from booking.domain.model import Booking, BookingStatus, Event, Rules, Source
from booking.domain.outcomes import Outcome, Status
from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import Overloaded
from booking.web import live
from booking.web.live import Channel, Listener

EVENT = Event(1, Rules("sale", 10), 9, 1, 0, 1, 0, 0, 2, 0, 0)


class Office:
    """Answers about one event that stands still; its first reading of a booking fails."""

    def __init__(self) -> None:
        self.failures = 1

    async def look(self, _: int) -> Event:
        return EVENT

    async def look_booking(self, event_id: int, user: str) -> Outcome:
        if self.failures:
            self.failures -= 1
            raise Overloaded
        return Outcome(Status.FOUND, Booking(event_id, 2, user, 1, BookingStatus.CONFIRMED, Source.SALE, 0))


class Stream:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write_piece(self, piece: bytes) -> int:
        self.pieces.append(piece)
        return 0

    def cut_off(self) -> None:
        raise AssertionError


async def test_a_booking_that_could_not_be_read_is_told_as_soon_as_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PERIOD_SECONDS", 0.01)
    channel = Channel(cast("BoxOffice", cast("Any", Office())), 1)
    stream = Stream()
    listener = Listener(stream, "ann", asyncio.get_running_loop().time())
    channel.listeners.add(listener)
    running = asyncio.create_task(channel.run())
    async with asyncio.timeout(20):
        while not any(b"event: booking" in piece for piece in stream.pieces):
            await asyncio.sleep(0.01)
    channel.listeners.clear()
    await running
