"""Buyers who pay in the shop. Each does what its seed decides, and goes on until it knows what came of each call."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.chaos.client import NOT_SENT, HttpClient, Reply

PAUSE_SECONDS = (0.2, 1.0)
"""Between two attempts at a call: a part of the service is being started again."""

TRIES_MAX = 150
"""How often a call is made before it counts as a fault: for a minute and more."""

NOT_NOW = {0, 408, 429, 503}
"""What is answered if a call has to be made again; 0: it was not sent."""


ACTIVE_MAX = 60
"""Buyers on their way to the payment at a time. Others come later: on a busy machine all holds would end before it."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What shares of the buyers do once they hold tickets; all others pay at once."""

    leave: float = 0.12
    """They do nothing, so their hold ends."""
    decline: float = 0.08
    """Their card is declined first, and its notice comes after that of the payment."""
    cancel: float = 0.08
    """They pay, and give the hold back before the shop hears of it."""
    part: float = 0.08
    """They give back one of two tickets before they pay for both."""
    late: float = 0.3
    """The provider tells of their payment late."""
    late_seconds: tuple[float, float] = (62.0, 75.0)
    quick_seconds: tuple[float, float] = (0.0, 2.0)


@dataclass(slots=True)
class Tally:
    """What the buyers have done so far."""

    arrived: int = 0
    left: int = 0
    """They held tickets, and did nothing."""
    paid: int = 0
    cancelled: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Crowd:
    """What all buyers share."""

    service: HttpClient
    shop: HttpClient
    provider: HttpClient
    habits: Habits
    tally: Tally = field(default_factory=Tally)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ACTIVE_MAX))
    """One for each buyer who is on the way; those who wait for an offer have none."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Once it is set, no payment begins any more, and those who wait go."""
    promoted: dict[tuple[int, str], asyncio.Event] = field(default_factory=dict)
    """By event and user: whether a buyer who waits has an offer."""


class Gone(Exception):
    """A buyer can or will not go on."""


class Buyer:
    """One buyer of one event."""

    def __init__(self, crowd: Crowd, event_id: int, user_id: str, token: str, chance: random.Random) -> None:
        self._crowd, self._event_id, self._user_id = crowd, event_id, user_id
        self._token, self._chance = token, chance
        self._order = {"event_id": event_id}
        self._has_place = True

    async def play(self) -> None:
        """Books, waits if need be, and pays or leaves. Gives back the place, which is taken already."""
        self._crowd.tally.arrived += 1
        offer = self._crowd.promoted.setdefault((self._event_id, self._user_id), asyncio.Event())
        try:
            booked = await self._call("/book", self._order | {"quantity": self._chance.randrange(1, 3)})
            if booked.status == 202:
                await self._until_offered(offer)
            elif booked.status not in (201, 409):
                return
            await self._decide()
        except Gone:
            pass
        finally:
            self._give_place_back()

    def _give_place_back(self) -> None:
        if self._has_place:
            self._has_place = False
            self._crowd.places.release()

    async def _until_offered(self, offer: asyncio.Event) -> None:
        self._give_place_back()
        waits = [asyncio.create_task(event.wait()) for event in (offer, self._crowd.closing)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not offer.is_set():
            raise Gone

    async def _decide(self) -> None:
        habits, tally = self._crowd.habits, self._crowd.tally
        dice, late_seconds = self._chance.random(), self._chance.uniform(*habits.quick_seconds)
        if self._chance.random() < habits.late:
            late_seconds = self._chance.uniform(*habits.late_seconds)
        if self._crowd.closing.is_set():
            return
        if dice < habits.leave:
            tally.left += 1
            return
        dice -= habits.leave
        cancels = dice < habits.cancel
        declined = 0 <= dice - habits.cancel < habits.decline
        reduces = 0 <= dice - habits.cancel - habits.decline < habits.part
        await self._pay(late_seconds, declined=declined, reduces=reduces)
        if cancels:
            await self._call("/cancel", self._order)
            tally.cancelled += 1

    async def _pay(self, late_seconds: float, *, declined: bool, reduces: bool) -> None:
        begun = await self._call("/checkout", self._order)
        if begun.status != 200 or begun.data["status"] != "held":
            raise Gone  # the hold has ended meanwhile
        link = path_of(begun.data["payment_url"])
        shown = await self._browse(self._crowd.shop, "GET", link)
        if shown.status == 410:
            raise Gone
        self._check("the shop shows the order", shown, 200)
        led = await self._browse(self._crowd.shop, "POST", link)
        if led.status == 410:
            raise Gone
        self._check("the shop leads to the provider", led, 303)
        if not led.headers["location"].startswith(self._crowd.provider.urls[0]):
            raise Gone  # the hold has ended meanwhile
        charge = path_of(led.headers["location"])
        if reduces and begun.data["quantity"] == 2:
            await self._call("/cancel", self._order | {"quantity": 1})
        forms: list[Mapping[str, object]] = [{"declined": 1}] * declined + [{"late": late_seconds}]
        for form in forms:
            answer = await self._browse(self._crowd.provider, "POST", charge, urlencode(form))
            self._check("the provider leads back", answer, 303)
        self._crowd.tally.paid += 1

    def _check(self, promise: str, reply: Reply, status: int) -> None:
        if reply.status != status:
            self._crowd.tally.faults.append(f"{promise} to {self._user_id}: {reply.status} {reply.body}")
            raise Gone

    async def _call(self, path: str, fields: Mapping[str, object]) -> Reply:
        """A call to the service, under one key until its outcome is known."""
        return await self._browse(self._crowd.service, "POST", path, dict(fields), self._token, path.strip("/"))

    async def _browse(
        self,
        client: HttpClient,
        method: str,
        path: str,
        body: Any = None,
        token: str | None = None,
        key: str | None = None,
    ) -> Reply:
        for _ in range(TRIES_MAX):
            reply = await client.call(method, path, token, body, key)
            if reply is not None and reply is not NOT_SENT and reply.status not in NOT_NOW:
                return reply
            await asyncio.sleep(self._chance.uniform(*PAUSE_SECONDS))
        self._crowd.tally.faults.append(f"{method} {path}: no answer for {self._user_id} in {TRIES_MAX} attempts")
        raise Gone


def path_of(url: str) -> str:
    """The path and the query of an address."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
