"""Lets go of dead holds on idle events, so that their tickets move on within a second."""

import asyncio
import os
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

log = structlog.get_logger()


async def sweep(office: BoxOffice) -> None:
    """Runs until it is cancelled. Looking at an event is what sweeps it, so nothing depends on this for being right."""
    me = f"{os.getpid()}-{uuid4().hex}"  # the process first, for whoever wants to know which one it is
    while True:
        await asyncio.gather(*(_sweep_shard(office, shard, me) for shard in range(office.shards)))
        await asyncio.sleep(PERIOD_SECONDS)


async def _sweep_shard(office: BoxOffice, shard: int, me: str) -> None:
    """What is wrong with one shard stays there: the others are swept all the same."""
    due: list[int] = []
    try:
        while True:
            before, due = due, await office.due_events(shard, me, LEASE_MS, EVENTS_MAX)
            await asyncio.gather(*map(office.look, due))
            if len(due) < EVENTS_MAX or due == before:  # named again: looking does not help these
                return
    except (InventoryUnavailable, OutcomeUnknown, Overloaded) as error:
        log.debug("nothing is swept for now", shard=shard, reason=str(error))
    except Exception:  # the next look may do better, and nobody else would hear of it
        log.exception("a shard could not be swept", shard=shard)
