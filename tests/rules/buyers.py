"""Buyers of a crowd, each with a mind and a connection of their own, against a running service."""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from urllib.parse import urlsplit

POLL_SECONDS = 0.25
"""How often whoever is next on the waiting list looks; the others look the less often, the further back they are."""


class Mind(Enum):
    """What a buyer does with the tickets, once there are any."""

    CONFIRMS = auto()
    CANCELS = auto()
    LETS_GO = auto()
    GIVES_UP = auto()
    """At once, whether it was a hold or a place on the waiting list."""


@dataclass(slots=True)
class Crowd:
    """A sale and what its buyers have in common."""

    url: str
    event_id: int
    over: asyncio.Event = field(default_factory=asyncio.Event)
    ashore: int = 0
    """Buyers that have booked or joined, and given up if they are of that mind."""
    told: Counter[str] = field(default_factory=Counter)
    """How often each answer was given, by verb, status and code."""


@dataclass(slots=True)
class Buyer:
    """One buyer. `run` returns when the booking has ended, or when the sale is over."""

    crowd: Crowd
    token: str
    quantity: int
    mind: Mind
    chance: random.Random

    async def run(self) -> None:
        """Books, waits if need be, and does what the buyer is minded to."""
        location = urlsplit(self.crowd.url)
        reader, writer = await asyncio.open_connection(location.hostname, location.port)
        try:
            await self._shop(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    async def _shop(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        crowd = self.crowd

        async def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            content = b"" if body is None else json.dumps(body).encode()
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: sale\r\nAuthorization: Bearer {self.token}\r\n"
                f"Content-Length: {len(content)}\r\n\r\n"
            )
            writer.write(head.encode() + content)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
            status, answer = int(lines[0].split()[1]), json.loads(await reader.readexactly(length))
            crowd.told[f"{method} {path} {status} {answer.get('code', '')}".strip()] += 1
            return status, answer

        named = {"event_id": crowd.event_id}
        status, answer = await call("POST", "/book", {**named, "quantity": self.quantity})
        assert status in (201, 202), answer
        if self.mind is Mind.GIVES_UP:
            await call("POST", "/cancel", named)
        crowd.ashore += 1
        booking = answer["data"]
        while booking["status"] == "waiting" and self.mind is not Mind.GIVES_UP:
            if await self._sale_ends_within(POLL_SECONDS + booking["position"] / 300):
                return
            status, answer = await call("GET", f"/events/{crowd.event_id}/booking")
            if status == 404:  # promoted and expired between two looks
                return
            booking = answer["data"]
        await asyncio.sleep(self.chance.uniform(0, 0.2))
        if self.mind is Mind.CONFIRMS:
            await call("POST", "/confirm", named)
        elif self.mind is Mind.CANCELS:
            await call("POST", "/cancel", named)

    async def _sale_ends_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.crowd.over.wait()
        except TimeoutError:
            return False
        return True
