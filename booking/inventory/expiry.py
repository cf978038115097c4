"""Lets go of dead holds on idle events, so that their tickets move on within a second."""

import asyncio
import os
from collections.abc import Sequence
from uuid import uuid4

import structlog

from booking.inventory.box_office import BoxOffice
from booking.inventory.errors import InventoryUnavailable, OutcomeUnknown, Overloaded

PERIOD_SECONDS = 0.25
"""Between two looks at a shard; the contract allows a second."""

LEASE_MS = 500
"""How long a sweeper has a shard to itself after its last look. Any other may take over then.

With one period more it has to stay well under the contract's second, so that a sweeper may be killed unnoticed.
"""

EVENTS_MAX = 200
"""Events named in one look; while there are more, the next look follows at once."""

LOOKS_AT_FIRST, LOOKS_MAX = 4, 64
"""Events looked at together. A call expires up to 250 tickets and is repeated while there are more
(lua/shared/expiry.lua). All that are sent at once are one batch, in front of whoever buys."""

LOOK_SECONDS_MAX = 0.1
"""What took longer is asked for by halves the next time; what took less, by as many more."""

log = structlog.get_logger()


class Pace:
    """How many events are looked at together, by how long that has just taken. All shards are swept at this pace."""

    def __init__(self, office: BoxOffice) -> None:
        self._office = office
        self._looks = LOOKS_AT_FIRST
        self._turn = asyncio.Lock()

    async def look_at(self, events: Sequence[int]) -> None:
        """Looks at all of these, some at a time, whatever comes of one of them; raises the first fault then."""
        loop, at, faults = asyncio.get_running_loop(), 0, list[BaseException]()
        while at < len(events):
            async with self._turn:
                began, some = loop.time(), events[at : at + self._looks]
                looks = await asyncio.gather(*map(self._office.get_event, some), return_exceptions=True)
                faults += [look for look in looks if isinstance(look, BaseException)]
                at += len(some)
                slow = loop.time() - began > LOOK_SECONDS_MAX
                self._looks = max(1, self._looks // 2) if slow else min(LOOKS_MAX, 2 * self._looks)
        if faults:
            raise faults[0]


async def sweep(office: BoxOffice) -> None:
    """Runs until it is cancelled. Looking at an event is what sweeps it, so nothing depends on this for being right."""
    me = f"{os.getpid()}-{uuid4().hex}"  # the process first, for whoever wants to know which one it is
    pace = Pace(office)
    while True:
        await asyncio.gather(*(_sweep_shard(office, shard, me, pace) for shard in range(office.shards)))
        await asyncio.sleep(PERIOD_SECONDS)


async def _sweep_shard(office: BoxOffice, shard: int, me: str, pace: Pace) -> None:
    """What is wrong with one shard stays there: the others are swept all the same."""
    due: list[int] = []
    try:
        while True:
            before, due = due, await office.events_to_expire(shard, me, LEASE_MS, EVENTS_MAX)
            await pace.look_at(due)
            if len(due) < EVENTS_MAX or due == before:  # named again: looking does not help these
                return
    except (InventoryUnavailable, OutcomeUnknown, Overloaded) as error:
        log.debug("nothing is swept for now", shard=shard, reason=str(error))
    except Exception:  # the next look may do better, and nobody else would hear of it
        log.exception("a shard could not be swept", shard=shard)
