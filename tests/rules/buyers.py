"""Buyers who buy from a running service at the same time, each with a plan and a connection of their own."""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from urllib.parse import urlsplit

POLL_SECONDS = 0.25
"""How often the first of the waiting list polls. Users further back poll less often."""


class Plan(Enum):
    """What a buyer does with the tickets."""

    CONFIRMS = auto()
    CANCELS = auto()
    LETS_EXPIRE = auto()
    GIVES_UP = auto()
    """Cancels at once, whether it was a hold or a place on the waiting list."""


@dataclass(slots=True)
class Sale:
    """A sale and the counts of its buyers."""

    url: str
    event_id: int
    over: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: int = 0
    """Buyers who have booked or joined, and cancelled if they plan to give up."""
    answers: Counter[str] = field(default_factory=Counter)
    """How often each answer was given, by method, path, status and code."""


@dataclass(slots=True)
class Buyer:
    """One buyer. `run` returns when the booking is final or the sale is over."""

    sale: Sale
    token: str
    quantity: int
    plan: Plan
    rng: random.Random

    async def run(self) -> None:
        """Books, waits if necessary, and carries out the plan."""
        location = urlsplit(self.sale.url)
        reader, writer = await asyncio.open_connection(location.hostname, location.port)
        try:
            await self._shop(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    async def _shop(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sale = self.sale

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
            sale.answers[f"{method} {path} {status} {answer.get('code', '')}".strip()] += 1
            return status, answer

        named = {"event_id": sale.event_id}
        status, answer = await call("POST", "/book", {**named, "quantity": self.quantity})
        assert status in (201, 202), answer
        if self.plan is Plan.GIVES_UP:
            await call("POST", "/cancel", named)
        sale.arrived += 1
        booking = answer["data"]
        while booking["status"] == "waiting" and self.plan is not Plan.GIVES_UP:
            if await self._sale_ends_within(POLL_SECONDS + booking["position"] / 300):
                return
            status, answer = await call("GET", f"/events/{sale.event_id}/booking")
            if status == 404:  # promoted and expired between two polls
                return
            booking = answer["data"]
        await asyncio.sleep(self.rng.uniform(0, 0.2))
        if self.plan is Plan.CONFIRMS:
            await call("POST", "/confirm", named)
        elif self.plan is Plan.CANCELS:
            await call("POST", "/cancel", named)

    async def _sale_ends_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.sale.over.wait()
        except TimeoutError:
            return False
        return True
