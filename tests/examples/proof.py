"""A sale in which every part is killed while buyers pay late, and the checks that each payment came to one end."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count

from booking.domain.changes import BookingChange, Change, ChangeKind
from booking.ledger.errors import LedgerError
from tests.chaos.client import HttpClient, Reply
from tests.chaos.deployment import PATIENCE_SECONDS, Deployment, EmbeddedRedis
from tests.chaos.faults import kill_service
from tests.chaos.oracle import judge
from tests.examples.buyers import Buyer, Crowd, Habits
from tests.examples.checks import Accounts, Outage, RollOn, counted, payment_faults, roll_on
from tests.examples.parts import Till
from tests.fixtures.waiting import eventually_async

ORGANIZER = "organizer"

PARTS = ("worker-1", "worker-2", "persister", "outbox", "redis", "service", "shop", "provider")
"""What is killed; `service` is the supervisor, with which all of its processes end."""

OUTAGES = ("redis", "service")
"""The parts without which nothing is sold until they are back. One of two workers can be killed without that."""

EVENTS, ROOMY_EVENTS = 8, 3
"""The sales, and how many of them have more tickets than are asked for. There a late payment books again."""

SCARCE, ROOMY = 0.35, 1.5
"""Tickets for each ticket that is asked for."""

PRICE = 4500
"""Of one ticket, in cents."""

QUANTITY = 1.5
"""Tickets that a buyer asks for, on average."""

PAYMENT_SECONDS = 60
"""The shortest time that the contract allows for paying."""

LOOK_SECONDS = 0.5
"""Between two looks into the ledger."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played. Times are in seconds, unless their name has another unit."""

    buyers: int
    rate: float
    """Buyers that come in a second, at most: ACTIVE_MAX are on their way at a time."""
    seed: int
    kills: bool
    habits: Habits = field(default_factory=Habits)
    hold_seconds: int = 20
    offer_seconds: int = 8
    kill_pause: tuple[float, float] = (8.0, 16.0)
    kill_turns: int | None = None
    """How often each part is killed; None: until the money has come to rest."""
    jumps: bool = False
    """Whether Redis's clock is set forward at the end, so that all payments that are on their way come late."""
    roll_on_ms: int = 1_000
    """How long a hold that has ended may keep its tickets (contract)."""
    rest_seconds: float = 300.0
    """How long the money may take to come to rest."""

    @property
    def seconds_max(self) -> float:
        """The bound on the whole run."""
        return 3 * self.buyers / self.rate + 2 * self.rest_seconds + 4 * PATIENCE_SECONDS


@dataclass(slots=True)
class Result:
    """What came of it."""

    faults: list[str]
    figures: dict[str, int | float]
    missing: list[str]
    """What did not happen, so that it is not proven."""


class Proof:
    """One run."""

    def __init__(self, deployment: Deployment[EmbeddedRedis], till: Till, plan: Plan) -> None:
        self._deployment, self._till, self._plan = deployment, till, plan
        seconds = deployment.client.usual_seconds
        shop, provider = (
            HttpClient([part.url], usual_seconds=seconds, seconds=seconds) for part in till.parts.values()
        )
        self._crowd = Crowd(deployment.client, shop, provider, plan.habits)
        self._events: list[int] = []
        self._changes: dict[int, list[Change]] = {}
        self._outages: list[Outage] = []
        self._shift_ms = 0
        """How far Redis's clock is ahead."""
        self._all_killed = False
        """Whether every part was killed once."""
        self._at_rest = asyncio.Event()
        self._began = time.monotonic()

    async def run(self) -> Result:
        """Plays the sale, and checks it. Raises TimeoutError after the plan's `seconds_max`."""
        async with asyncio.timeout(self._plan.seconds_max):
            self._events = [await self._open(number) for number in range(EVENTS)]
            self._changes = {event_id: [] for event_id in self._events}
            follower = asyncio.create_task(self._follow())
            killer = asyncio.create_task(self._kill_parts())
            buyers = await self._let_buyers_come()
            faults: list[str] = []
            try:
                self._crowd.closing.set()
                if self._plan.jumps:
                    self._jump()
                ended = await asyncio.gather(*buyers, return_exceptions=True)
                faults += [f"a buyer: {error!r}" for error in ended if error is not None]
                if self._plan.kills:
                    await eventually_async(
                        lambda: self._all_killed or killer.done(), "every part is killed once", self._plan.rest_seconds
                    )
                await eventually_async(self._is_at_rest, "the money comes to rest", self._plan.rest_seconds)
            except AssertionError as error:
                faults.append(f"{error}; {self.progress()}")
            finally:
                self._at_rest.set()
                ends = await asyncio.gather(killer, follower, return_exceptions=True)
            faults += [repr(error) for error in ends if error is not None]
            return await self._judge(faults)

    def progress(self) -> str:
        """One line that says how far it is."""
        tally, kinds = self._crowd.tally, counted(self._all_changes())
        return (
            f"{time.monotonic() - self._began:>5.0f} s: {tally.arrived:,} of {self._plan.buyers:,} buyers,"
            f" {tally.paid:,} paid; {kinds[ChangeKind.CONFIRMED]:,} booked, {self._booked_late():,} booked late,"
            f" {kinds[ChangeKind.REFUND_DUE]:,} refunds, {kinds[ChangeKind.EXPIRED]:,} holds ended;"
            f" {sum(self._deployment.kills.values())} kills"
        )

    # The sale

    async def _open(self, number: int) -> int:
        asked = self._plan.buyers * QUANTITY / EVENTS
        event = {
            "event_name": f"sale {number}",
            "available_tickets": max(2, round(asked * (ROOMY if number < ROOMY_EVENTS else SCARCE))),
            "max_per_user": 2,
            "hold_seconds": self._plan.hold_seconds,
            "offer_seconds": self._plan.offer_seconds,
            "payment_seconds": PAYMENT_SECONDS,
            "price": {"amount": PRICE, "currency": "EUR"},
            "payment_url": self._till.payment_url,
        }
        reply: Reply | None = None
        token = self._deployment.token(ORGANIZER, "organizer")

        async def is_open() -> bool:
            nonlocal reply
            reply = await self._deployment.client.call("POST", "/initialize", token, event)
            assert reply is None or reply.status != 422, reply
            return reply is not None and reply.status == 201

        await eventually_async(is_open, "an event is opened", PATIENCE_SECONDS)
        assert reply is not None
        return int(reply.body["event_id"])

    async def _let_buyers_come(self) -> list[asyncio.Task[None]]:
        """Starts the buyers one by one, at the plan's rate at most."""
        plan, buyers, due = self._plan, list[asyncio.Task[None]](), time.monotonic()
        for number in range(plan.buyers):
            chance = random.Random(f"{plan.seed}/{number}")
            event_id, user_id = chance.choice(self._events), f"buyer-{number:05}"  # no id begins another
            buyer = Buyer(self._crowd, event_id, user_id, self._deployment.token(user_id), chance)
            due = max(due + 1 / plan.rate, time.monotonic())
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._crowd.places.acquire()
            buyers.append(asyncio.create_task(buyer.play()))
        return buyers

    async def _follow(self) -> None:
        """Tells buyers who wait of their offers, as a mail would."""
        while not self._at_rest.is_set():
            await self._read_changes()
            await asyncio.sleep(LOOK_SECONDS)

    async def _read_changes(self) -> None:
        for event_id, changes in self._changes.items():
            try:
                while page := await self._deployment.ledger.changes(event_id, changes[-1].seq if changes else 0, 5_000):
                    changes += page
                    for change in page:
                        if isinstance(change, BookingChange) and change.kind is ChangeKind.PROMOTED:
                            self._crowd.promoted.setdefault((event_id, change.user_id), asyncio.Event()).set()
            except LedgerError:
                return  # it is away, or locked by a start; the next look follows

    # The faults

    def _now_ms(self) -> int:
        """The time by Redis's clock, which is this machine's unless it was set forward."""
        return round(time.time() * 1000) + self._shift_ms

    async def _kill_parts(self) -> None:
        chance = random.Random(f"{self._plan.seed}/kills")
        for turn in count():
            if not self._plan.kills or turn == self._plan.kill_turns:
                return
            for part in chance.sample(PARTS, len(PARTS)):
                try:
                    async with asyncio.timeout(chance.uniform(*self._plan.kill_pause)):
                        await self._at_rest.wait()
                        return
                except TimeoutError:
                    await self._kill(part, chance)
            self._all_killed = True

    async def _kill(self, part: str, chance: random.Random) -> None:
        deployment, began_ms = self._deployment, self._now_ms()
        if part in self._till.parts:
            program = self._till.parts[part]
            await asyncio.to_thread(program.kill)
            deployment.count_kill(part)
            await asyncio.sleep(chance.random())
            await asyncio.to_thread(program.start)
        elif part == "service":
            await kill_service(deployment, chance)
        else:
            await deployment.kill(deployment.services[0], part)
        if part not in self._till.parts:
            await eventually_async(self._is_ready, f"the service is ready after {part} was killed", PATIENCE_SECONDS)
        if part in OUTAGES:
            self._outages.append(Outage(began_ms, self._now_ms()))

    async def _is_ready(self) -> bool:
        reply = await self._deployment.client.call("GET", f"/status/{self._events[0]}", None)
        return reply is not None and reply.status == 200

    def _jump(self) -> None:
        clock, began_ms = self._deployment.redis.clock, self._now_ms()
        if clock is not None:
            clock.shift(PAYMENT_SECONDS + 1)
            self._shift_ms = 1000 * (PAYMENT_SECONDS + 1)
            self._outages.append(Outage(began_ms, self._now_ms()))

    # The checks

    async def _is_at_rest(self) -> bool:
        await asyncio.sleep(LOOK_SECONDS)
        return await asyncio.to_thread(self._all_told)

    def _all_told(self) -> bool:
        orders = self._till.orders()
        unfinished = any(state in ("part_due", "refund_due", "refunded") for state in orders.values())
        return not self._till.untold() and not unfinished

    async def _judge(self, faults: list[str]) -> Result:
        deployment, until_ms = self._deployment, self._now_ms()
        try:
            await deployment.settle()
            await self._read_changes()
            faults += (await judge(deployment.inventory, deployment.ledger, self._events, [])).faults
        except AssertionError as error:
            faults.append(str(error))
        accounts = Accounts(
            self._till.paid(), self._till.refunds(), self._till.orders(), self._payments(), self._all_changes(), PRICE
        )
        rolled = roll_on(accounts.changes, self._outages, until_ms, self._plan.roll_on_ms)
        faults += payment_faults(accounts) + rolled.faults + self._crowd.tally.faults + self._till.failures()
        for client in (self._crowd.service, self._crowd.shop, self._crowd.provider):
            faults += client.violations
            await client.close()
        return self._result(faults, accounts, rolled)

    def _result(self, faults: list[str], accounts: Accounts, rolled: RollOn) -> Result:
        kinds = counted(accounts.changes)
        figures: dict[str, int | float] = {
            "buyers": self._crowd.tally.arrived,
            "payments": len(accounts.paid),
            "bookings": sum(outcome == "booking" for outcome, _ in accounts.payments.values()),
            "of them late": self._booked_late(),
            "refunds": sum(outcome == "refund_due" for outcome, _ in accounts.payments.values()),
            "refunds of a part": sum(
                accounts.payments[payment][0] == "booking"
                for payment in accounts.refunds
                if payment in accounts.payments
            ),
            "notices sent in vain": self._till.attempts().total(),
            "holds ended": kinds[ChangeKind.EXPIRED],
            "offers ended": rolled.offers,
            "given on, p99 ms": rolled.p99_ms,
            "given on, max ms": max(rolled.late_ms, default=0),
            "delayed by an outage": rolled.delayed,
            **{f"kills of {part}": number for part, number in sorted(self._deployment.kills.items())},
            "seconds": round(time.monotonic() - self._began),
        }
        needed = ("payments", "bookings", "of them late", "refunds", "refunds of a part", "offers ended")
        return Result(faults, figures, [name for name in needed if not figures[name]])

    def _all_changes(self) -> Sequence[Change]:
        return [change for changes in self._changes.values() for change in changes]

    def _booked_late(self) -> int:
        return sum(
            change.kind is ChangeKind.BOOKED and isinstance(change, BookingChange) and change.payment_id is not None
            for change in self._all_changes()
        )

    def _payments(self) -> dict[str, tuple[str | None, bool]]:
        """Every payment in the service's SQL: what it came to, and whether its refund is marked as done."""
        file = self._deployment.data_dir / "booking.sqlite3"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)) as sql:
            rows = sql.execute("SELECT payment_id, outcome, done_at_ms IS NOT NULL FROM payments")
            return {payment_id: (outcome, bool(done)) for payment_id, outcome, done in rows}
