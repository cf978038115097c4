"""Rounds of chaos: buyers buy, a fault happens and ends, and then the oracle checks the result."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.buyers import Buyer, Memory, Tally
from tests.chaos.client import Reply
from tests.chaos.deployment import PATIENCE_SECONDS, Deployment
from tests.chaos.faults import FORGETTING_KEYS, FORGETTING_REFUSALS, Fault
from tests.chaos.oracle import Verdict, judge
from tests.chaos.told import Told, telling
from tests.fixtures.waiting import eventually_async

EVENTS = 4

LONG_HOLD_SECONDS = 300
"""No hold ends in rounds that lose idempotency keys, because a repeated call would then rightly book again."""


@dataclass(slots=True)
class Round:
    """The result of one round."""

    number: int
    fault: str
    tally: Tally
    verdict: Verdict
    messages: int = 0
    """What the webhook was told, repeated ones counted."""


@dataclass(slots=True)
class Sum:
    """The sums over all rounds of one fault."""

    rounds: int = 0
    operations: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    lost: int = 0
    doubled: int = 0
    violations: int = 0
    messages: int = 0
    elsewhere_refused: int = 0
    elsewhere_seconds: list[float] = field(default_factory=list)
    """As in `Tally`."""

    @property
    def p99_ms(self) -> int:
        """The 99th percentile of what calls took about shards that the fault does not concern, in milliseconds."""
        ordered = sorted(self.elsewhere_seconds)
        return round(1000 * ordered[len(ordered) * 99 // 100]) if ordered else 0

    def add(self, played: Round) -> None:
        """Adds a round."""
        self.rounds += 1
        self.operations += played.tally.operations
        self.acknowledged += played.tally.acknowledged
        self.refused += played.tally.refused
        self.unknown += played.tally.unknown
        self.lost += played.verdict.lost
        self.doubled += played.verdict.doubled
        self.violations += len(played.verdict.faults)
        self.messages += played.messages
        self.elsewhere_refused += played.tally.elsewhere_refused
        self.elsewhere_seconds += played.tally.elsewhere_seconds


def fault_of(seed: int, number: int, faults: Sequence[str]) -> str:
    """The fault of a round. Every fault has its turn before any is repeated, so that a short run has them all."""
    turn, place = divmod(number, len(faults))
    return random.Random(f"{seed}/{turn}").sample(faults, len(faults))[place]


@dataclass(slots=True)
class ChaosRun:
    """A run: its seed, its possible faults, and the results of each."""

    deployment: Deployment[Any]
    seed: int
    faults: Mapping[str, Fault]
    seconds: float = 4.0
    """The minimum duration of a round's load."""
    buyers: int = 24
    """Those who buy at once in a round."""
    sums: dict[str, Sum] = field(default_factory=dict)
    told: Told = field(init=False)

    async def play(self, rounds: Callable[[int], bool], say: Callable[[Round], None]) -> list[str]:
        """Runs rounds while `rounds(number)` is true. Returns the violations, with how to repeat them."""
        number = 0
        async with telling(self.deployment, self.seed) as self.told:
            while rounds(number):
                played = await self.round(number)
                self.sums.setdefault(played.fault, Sum()).add(played)
                say(played)
                if played.verdict.faults:
                    again = f"--seed {self.seed}, round {number}, fault {played.fault}"
                    return [f"{again}: {fault}" for fault in played.verdict.faults]
                number += 1
        return []

    async def round(self, number: int) -> Round:
        """Runs one round. The seed and the number decide the order of its operations and faults."""
        deployment, chance = self.deployment, random.Random(f"{self.seed}/{number}")
        fault = fault_of(self.seed, number, list(self.faults))
        tally = Tally()
        deployment.broken_shards = set()
        deployment.client.seconds = deployment.client.usual_seconds
        try:
            events = [await self._open(chance, fault) for _ in range(EVENTS)]
        except AssertionError as error:
            return Round(number, fault, tally, Verdict([str(error)]))
        forgetful = self._is_forgetful(fault)
        buyers = [
            Buyer(
                deployment,
                f"r{number}p{index}",
                events,
                f"{self.seed}/{number}/{index}",
                tally,
                keys_forgotten=forgetful,
                refusals_forgotten=fault in FORGETTING_REFUSALS,
                seconds=self.buyers / deployment.calls_per_second if deployment.calls_per_second else 0,
            )
            for index in range(self.buyers)
        ]
        stop = asyncio.Event()
        load = [asyncio.create_task(buyer.play(stop)) for buyer in buyers]
        load.append(asyncio.create_task(self._organize(events, stop, random.Random(f"{self.seed}/{number}/organizer"))))
        broken: list[str] = []
        try:
            await asyncio.sleep(0.3)
            await asyncio.gather(self.faults[fault](deployment, chance), asyncio.sleep(self.seconds))
        except (AssertionError, OSError) as error:
            broken.append(f"{fault}: {error!r}")
        finally:
            deployment.running.set()
            stop.set()
            ended = await asyncio.gather(*load, return_exceptions=True)
        broken += [repr(error) for error in ended if isinstance(error, BaseException)]
        verdict = await self._judge(events, buyers, broken)
        messages, missing = await self.told.check(events, chance)
        verdict.faults += missing
        return Round(number, fault, tally, verdict, messages)

    def _is_forgetful(self, fault: str) -> bool:
        """Whether a restoration may follow, which loses the first answers under idempotency keys."""
        return fault in FORGETTING_KEYS or self.deployment.may_lose

    async def _judge(self, events: list[int], buyers: Sequence[Buyer], broken: list[str]) -> Verdict:
        deployment = self.deployment
        memories: list[tuple[str, Memory]] = [
            (user, memory) for buyer in buyers for (user, _), memory in buyer.memories.items()
        ]
        try:
            told = await deployment.settle()
            verdict = await judge(deployment.inventory, deployment.ledger, events, memories, told)
        except AssertionError as error:
            verdict = Verdict([str(error)])
        verdict.faults += broken + deployment.client.violations
        deployment.client.violations.clear()
        return verdict

    async def _open(self, chance: random.Random, fault: str) -> int:
        holds = (0, LONG_HOLD_SECONDS) if self._is_forgetful(fault) else (0, 1, 60)
        event = {
            "event_name": f"chaos {self.seed}",
            "available_tickets": chance.randrange(20, 300),
            "max_per_user": 4,
            "hold_seconds": chance.choice(holds),
            "waitlist_limit": chance.choice((None, None, 0, 30)),
        }
        organizer = self.deployment.token("organizer", "organizer")
        reply: Reply | None = None

        async def is_open() -> bool:
            nonlocal reply
            reply = await self.deployment.client.call("POST", "/initialize", organizer, event)
            return reply is not None and reply.status == 201

        await eventually_async(is_open, "an event is opened", PATIENCE_SECONDS)
        assert reply is not None
        event_id: int = reply.body["event_id"]
        return event_id

    async def _organize(self, events: list[int], stop: asyncio.Event, chance: random.Random) -> None:
        """An organizer pauses and resumes sales and adds tickets."""
        organizer = self.deployment.token("organizer", "organizer")
        while not stop.is_set():
            await asyncio.sleep(0.2)
            await self.deployment.running.wait()
            rules = chance.choice(({"paused": True}, {"paused": False}, {"paused": False}, {"capacity": 400}))
            await self.deployment.client.call("PATCH", f"/events/{chance.choice(events)}", organizer, rules)
