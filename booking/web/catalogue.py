"""Which events a list shows. The others are remembered, so that a list does not read all of them each time."""

import asyncio
from collections.abc import Container
from typing import TypeVar

from booking.domain.callers import Caller
from booking.domain.details import Visibility
from booking.domain.model import Event
from booking.inventory.box_office import BoxOffice, SeenEvent
from booking.inventory.errors import InventoryUnavailable

T = TypeVar("T")

REMEMBERED_MAX = 65_536
"""Events of each kind that a worker remembers."""


class Catalogue:
    """The events that lists pass over: hidden ones for buyers, and others' for an organizer."""

    def __init__(self, office: BoxOffice) -> None:
        self._office = office
        self._hidden: dict[int, SeenEvent] = {}
        self._organizers: dict[int, str | None] = {}
        """An event's organizer never changes."""

    def shows(self, event: Event, caller: Caller | None) -> bool:
        """Whether the list has the event: for an organizer their own ones, for others the listed ones."""
        if caller is not None:
            _remember(self._organizers, event.id, event.organizer_id)
            return caller.owns(event.organizer_id)
        is_listed = event.rules.details.visibility is Visibility.LISTED
        if not is_listed:
            _remember(self._hidden, event.id, SeenEvent(event.id, event.epoch, event.seq))
        return is_listed

    async def passed_over(self, caller: Caller | None) -> Container[int]:
        """The ids of events that the list does not have, of those that an earlier list has read.

        Redis is asked whether one of the hidden ones has changed since. Raises OutcomeUnknown, Overloaded.
        """
        if caller is not None:
            return {event_id for event_id, owner in self._organizers.items() if not caller.owns(owner)}
        by_shard: dict[int, list[SeenEvent]] = {}
        for seen in self._hidden.values():
            by_shard.setdefault(self._office.shard_of(seen.id), []).append(seen)
        asked = (self._unchanged(shard, some) for shard, some in by_shard.items())
        return set[int]().union(*await asyncio.gather(*asked))

    async def _unchanged(self, shard: int, seen: list[SeenEvent]) -> set[int]:
        try:
            changed = await self._office.changed_events(shard, seen)
        except InventoryUnavailable:
            changed = []  # none of them can be read, either
        for event_id in changed:
            self._hidden.pop(event_id, None)
        return {event.id for event in seen}.difference(changed)


def _remember(remembered: dict[int, T], event_id: int, value: T) -> None:
    if len(remembered) >= REMEMBERED_MAX:
        remembered.clear()
    remembered[event_id] = value
