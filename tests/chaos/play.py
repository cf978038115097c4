"""Rounds of play: people buy, something breaks, everything heals, and the oracle is asked."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.faults import FAULTS, FORGETFUL
from tests.chaos.oracle import Verdict, judge
from tests.chaos.players import Memory, Player, Tally
from tests.chaos.world import World

EVENTS = 4
PLAYERS = 24

LONG_HOLD_SECONDS = 300
"""In rounds after which keys are forgotten no hold ends: a call that is repeated then would book again, rightly."""


@dataclass(slots=True)
class Round:
    """What came of one round."""

    number: int
    fault: str
    tally: Tally
    verdict: Verdict


@dataclass(slots=True)
class Sum:
    """All rounds of one fault."""

    rounds: int = 0
    operations: int = 0
    acknowledged: int = 0
    unknown: int = 0
    lost: int = 0
    doubled: int = 0
    violations: int = 0

    def add(self, played: Round) -> None:
        """Counts a round in."""
        self.rounds += 1
        self.operations += played.tally.operations
        self.acknowledged += played.tally.acknowledged
        self.unknown += played.tally.unknown
        self.lost += played.verdict.lost
        self.doubled += played.verdict.doubled
        self.violations += len(played.verdict.faults)


def fault_of(seed: int, number: int, faults: Sequence[str]) -> str:
    """Which fault comes in a round: each in turn before any comes again, so that a short run has them all."""
    turn, place = divmod(number, len(faults))
    return random.Random(f"{seed}/{turn}").sample(faults, len(faults))[place]


@dataclass(slots=True)
class Game:
    """A run: one seed, the faults that may come, and what has come of each."""

    world: World
    seed: int
    faults: Sequence[str]
    seconds: float = 4.0
    """How long a round's load lasts at least."""
    sums: dict[str, Sum] = field(default_factory=dict)

    async def play(self, rounds: Callable[[int], bool], say: Callable[[Round], None]) -> list[str]:
        """Plays while `rounds` says so of a round's number; returns what was violated, with how to repeat it."""
        number = 0
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
        """Plays one round. Its order of operations and faults is its seed's and its number's."""
        world, chance = self.world, random.Random(f"{self.seed}/{number}")
        fault = fault_of(self.seed, number, self.faults)
        tally = Tally()
        world.door.seconds = world.door.usual_seconds
        events = [await self._open(chance, fault) for _ in range(EVENTS)]
        forgetful = fault in FORGETFUL
        players = [
            Player(
                world, f"r{number}p{index}", events, f"{self.seed}/{number}/{index}", tally, keys_forgotten=forgetful
            )
            for index in range(PLAYERS)
        ]
        stop = asyncio.Event()
        load = [asyncio.create_task(player.play(stop)) for player in players]
        load.append(asyncio.create_task(self._organize(events, stop, random.Random(f"{self.seed}/{number}/boss"))))
        broken: list[str] = []
        try:
            await asyncio.sleep(0.3)
            await asyncio.gather(FAULTS[fault](world, chance), asyncio.sleep(self.seconds))
        except (AssertionError, OSError) as error:
            broken.append(f"{fault}: {error!r}")
        finally:
            world.gate.set()
            stop.set()
            ended = await asyncio.gather(*load, return_exceptions=True)
        broken += [repr(error) for error in ended if isinstance(error, BaseException)]
        verdict = await self._judge(events, players, broken)
        return Round(number, fault, tally, verdict)

    async def _judge(self, events: list[int], players: Sequence[Player], broken: list[str]) -> Verdict:
        world = self.world
        memories: list[tuple[str, Memory]] = [
            (user, memory) for player in players for (user, _), memory in player.memories.items()
        ]
        try:
            await world.settle()
            verdict = await judge(world.room, world.ledger, events, memories)
        except AssertionError as error:
            verdict = Verdict([str(error)])
        verdict.faults += broken + world.door.violations
        world.door.violations.clear()
        return verdict

    async def _open(self, chance: random.Random, fault: str) -> int:
        holds = (0, LONG_HOLD_SECONDS) if fault in FORGETFUL else (0, 1, 60)
        event = {
            "event_name": f"chaos {self.seed}",
            "available_tickets": chance.randrange(20, 300),
            "max_per_user": 4,
            "hold_seconds": chance.choice(holds),
            "waitlist_limit": chance.choice((None, None, 0, 30)),
        }
        reply = await self.world.door.call("POST", "/initialize", self.world.token("boss", "organizer"), event)
        assert reply is not None, "no answer to /initialize of a healthy service"
        assert reply.status == 201, reply
        event_id: int = reply.body["event_id"]
        return event_id

    async def _organize(self, events: list[int], stop: asyncio.Event, chance: random.Random) -> None:
        """An organizer pauses, goes on, and adds tickets."""
        boss = self.world.token("boss", "organizer")
        while not stop.is_set():
            await asyncio.sleep(0.2)
            await self.world.gate.wait()
            rules = chance.choice(({"paused": True}, {"paused": False}, {"paused": False}, {"capacity": 400}))
            await self.world.door.call("PATCH", f"/events/{chance.choice(events)}", boss, rules)
