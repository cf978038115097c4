"""A webhook that is told of every change while the service breaks, by a receiver that fails now and then, too."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from booking.domain.changes import ChangeKind
from tests.chaos.deployment import PATIENCE_SECONDS, Deployment
from tests.chaos.oracle import pages
from tests.fixtures.waiting import eventually_async
from tests.outbox.receiver import Receiver, receiving

ANSWERS = {204: 0.997, 500: 0.001, 307: 0.001, 0: 0.001}
"""How often the receiver gives each answer; 0: it closes the connection without one."""

REPAIR_SECONDS = 0.5
"""Between two repairs of the webhook. Each has what failed sent again at once."""


Got = dict[int, dict[int, set[str]]]
"""By event, in the order in which its changes first came: their numbers, and the ids that each came under."""


def faults_of(got: Got, due: Mapping[int, Sequence[int]]) -> list[str]:
    """What is missing, out of order, or under two ids.

    `due` has the numbers of each event's changes. The clock may have made more since they were read.
    """
    faults = [
        f"event {event_id}: the webhook was told {len(got.get(event_id, ()))} of {len(seqs)} changes, or not in order"
        for event_id, seqs in due.items()
        if list(got.get(event_id, ()))[: len(seqs)] != list(seqs)
    ]
    twice = [(event_id, seq) for event_id in due for seq, ids in got.get(event_id, {}).items() if len(ids) > 1]
    return faults + [f"event {event_id}: the webhook was told of change {seq} under two ids" for event_id, seq in twice]


@dataclass(slots=True)
class Told:
    """What the webhook was told in one run."""

    deployment: Deployment[Any]
    receiver: Receiver
    webhook_id: int

    async def check(self, events: Iterable[int], chance: random.Random) -> tuple[int, list[str]]:
        """Waits until all changes of these events are told. Returns the number of messages, and the faults.

        No change may be missing, out of order, or under two ids.
        """
        due = {
            event_id: [change.seq async for page in pages(self.deployment.ledger, event_id) for change in page]
            for event_id in events
        }
        self.receiver.answer = lambda _: 204
        deadline = monotonic() + PATIENCE_SECONDS
        while (got := self._got()).keys() < due.keys() or any(len(got[one]) < len(due[one]) for one in due):
            if monotonic() > deadline:
                break
            await self._repair()
            await asyncio.sleep(REPAIR_SECONDS)
        messages = len(self.receiver.messages)
        self.receiver.messages.clear()
        self.fail(chance)
        return messages, faults_of(got, due)

    def fail(self, chance: random.Random) -> None:
        """Has the receiver fail now and then."""
        self.receiver.answer = lambda _: chance.choices(list(ANSWERS), list(ANSWERS.values()))[0]

    def _got(self) -> Got:
        got: Got = defaultdict(dict)
        for message in list(self.receiver.messages):
            event_id, seq = message.place
            got[event_id].setdefault(seq, set()).add(message.id)
        return got

    async def _repair(self) -> None:
        organizer = self.deployment.token("organizer", "organizer")
        await self.deployment.client.call("PATCH", f"/webhooks/{self.webhook_id}", organizer, {"status": "enabled"})


@asynccontextmanager
async def telling(deployment: Deployment[Any], seed: int) -> AsyncIterator[Told]:
    """Registers a webhook for all changes of all events of the organizer."""
    with receiving() as receiver:
        organizer = deployment.token("organizer", "organizer")
        body = {"url": receiver.url, "kinds": [kind.value for kind in ChangeKind]}
        ids: list[int] = []

        async def is_registered() -> bool:
            reply = await deployment.client.call("POST", "/webhooks", organizer, body)
            ids.extend([reply.body["data"]["id"]] if reply is not None and reply.status == 201 else [])
            return bool(ids)

        await eventually_async(is_registered, "a webhook is registered", PATIENCE_SECONDS)
        told = Told(deployment, receiver, ids[0])
        told.fail(random.Random(f"{seed}/receiver"))
        yield told
