"""The row of the outbox: bookings that are told to a webhook while another one hangs, against bookings that are not.

python -m scripts.benchmark.outbox        a receiver: its two ports, and then, for each line of input, what it got
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, cast

import httptools
import httpx
import uvloop

from booking.auth.tokens import sign_token
from scripts.benchmark.load import TOKEN_S, Target
from scripts.benchmark.processes import PartError, halves, run_on
from scripts.benchmark.report import TIMES, Mark, ratio_mark
from scripts.benchmark.rounds import Contender, Contest, Parts
from scripts.benchmark.service import Service, serve
from scripts.benchmark.session import Session

SETTINGS = {"BOOKING_WEBHOOK_ALLOW": "127.0.0.0/8"}

EVENTS = 8
"""Sales at the same time. The messages of one event go one after the other (contract), so it has a row of its own."""

BUCKET = re.compile(r'booking_webhook_first_attempt_seconds_bucket\{le="([^"]+)"\} (\d+)')

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"

ALONE, TOLD, OF_ONE = "told to nobody", "told to a webhook, and to a dead one", "the same, of one event"
APART_ALONE, APART = "the sale on half of the cores, told to nobody", "the same, told from the other half"
STEADY_ALONE, STEADY = "a steady rate, told to nobody", "the same, told to a webhook, and to a dead one"

APART_PARTS = frozenset({"outbox", "listeners"})
"""The parts that run on the other half of the cores."""

STEADY_PER_S = 5_000
"""The changes a second of the mark (performance.md)."""

METRICS_SECONDS = 2.0
"""After this time `/metrics` has what the outbox counted before: each process saves its metrics once a second."""

TOLD_SECONDS_MAX = 30.0
"""How long a webhook may take for what is left when the load has ended."""


class Told:
    """The service while a webhook is told of every booking, and another one never answers."""

    def __init__(self, service: Service, secret: str) -> None:
        self._service = service
        token = sign_token(secret.encode(), "organizer", "organizer", TOKEN_S)
        self._client = httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
        self._receiver = subprocess.Popen(
            [sys.executable, "-P", "-m", "scripts.benchmark.outbox"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._ports: list[int] = self._read()
        self._webhooks: list[int] = []
        self._events: list[int] = []
        self._got = 0
        self._attempts: Counter[float] = Counter()
        self.attempts: dict[str, Counter[float]] = defaultdict(Counter)
        """First attempts by the bound of their bucket and below, by contender."""
        self.messages: dict[str, list[int]] = defaultdict(list)
        """What the webhook got while the bookings were made, by contender and round; the first is to warm up."""

    def contender(self, name: str, events: int = EVENTS, rate: float | None = None) -> Contender:
        """Sells so many fresh events in every round, told to the webhooks unless it is alone."""
        is_told, is_apart = name not in (ALONE, APART_ALONE, STEADY_ALONE), name in (APART_ALONE, APART)
        return Contender(
            partial(self._open, events, is_told=is_told, is_apart=is_apart),
            self._parts, self._stored, partial(self._settle, name), rate,
        )  # fmt: skip

    def _open(self, events: int, *, is_told: bool, is_apart: bool) -> Target:
        self.remove()
        cores = os.sched_getaffinity(0)
        ours, others = halves(cores)
        for part, pids in self._parts().items():
            own = others if part in APART_PARTS else ours
            run_on(pids, own if is_apart else cores)
        sales = [self._service.sale() for _ in range(events)]
        self._events = [sale.event_id for sale in sales]
        for port in self._ports if is_told else ():
            answer = self._client.post("/webhooks", json={"url": f"http://127.0.0.1:{port}/", "kinds": ["booked"]})
            if answer.status_code != httpx.codes.CREATED:
                raise PartError(f"/webhooks answered {answer.status_code}: {answer.text[:300]}")
            self._webhooks.append(answer.json()["data"]["id"])
        self._got, self._attempts = self._count(), self._first_attempts()
        return replace(sales[0], more_bodies=[sale.body for sale in sales[1:]])

    def _parts(self) -> Parts:
        return {**self._service.parts(), "listeners": [self._receiver.pid]}

    def _stored(self, _: Target | None) -> int:
        events = [self._service.event(event_id) for event_id in self._events]
        return sum(event["bookings_count"] + event["waiting_list_count"] for event in events)

    def _settle(self, name: str) -> list[str]:
        self.messages[name].append(self._count() - self._got)
        faults = self._service.settle()
        if name == STEADY and not self._is_all_told():
            faults.append(f"the webhook was not told of everything within {TOLD_SECONDS_MAX:g} s")
        time.sleep(METRICS_SECONDS)
        self.attempts[name] += self._first_attempts() - self._attempts
        self.remove()
        return faults

    def _is_all_told(self) -> bool:
        stored, deadline = self._stored(None), time.monotonic() + TOLD_SECONDS_MAX
        while self._count() - self._got < stored:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _count(self) -> int:
        assert self._receiver.stdin is not None
        self._receiver.stdin.write("\n")
        self._receiver.stdin.flush()
        messages: int = self._read()
        return messages

    def _read(self) -> Any:
        assert self._receiver.stdout is not None
        return json.loads(self._receiver.stdout.readline())

    def remove(self) -> None:
        """Removes the webhooks, so that a round without them is told to nobody."""
        for webhook_id in self._webhooks:
            self._client.delete(f"/webhooks/{webhook_id}")
        self._webhooks.clear()

    def _first_attempts(self) -> Counter[float]:
        found = BUCKET.findall(self._client.get("/metrics").text)
        return Counter({float(bound): int(below) for bound, below in found})

    def first_attempt_s(self, name: str) -> float:
        """The bucket below which 99 of 100 first attempts were made after their change; infinite above the last."""
        buckets = sorted(self.attempts[name].items())
        total = buckets[-1][1] if buckets else 0
        return next((bound for bound, below in buckets if below >= 0.99 * total), float("inf"))

    def close(self) -> None:
        """Ends the receiver."""
        self._client.close()
        self._receiver.communicate("")


def outbox(session: Session) -> None:
    """One service, whose bookings are told in some of the turns."""
    with serve(session.folder / "service-outbox", session.secret, settings=SETTINGS) as service:
        told = Told(service, session.secret)
        try:
            contests = session.contest(
                "Bookings and webhooks",
                {
                    **{name: told.contender(name) for name in (ALONE, TOLD)},
                    OF_ONE: told.contender(OF_ONE, 1),
                    **{name: told.contender(name) for name in (APART_ALONE, APART)},
                    **{name: told.contender(name, rate=STEADY_PER_S) for name in (STEADY_ALONE, STEADY)},
                },
            )
            late_s = {name: told.first_attempt_s(name) for name in (STEADY, TOLD, APART)}
        finally:
            told.close()
    session.mark(
        ratio_mark(
            f"{STEADY_PER_S:,} bookings/s while they are {TOLD}", contests[STEADY], contests[STEADY_ALONE], 0.95
        ),
        Mark("  99 % of the first attempts came within", late_s[STEADY], "s", most=1),
        ratio_mark(f"as fast as it goes while they are {TOLD}", contests[TOLD], contests[ALONE], 0.95),
        Mark("  99 % of the first attempts came within", late_s[TOLD], "s", most=1),
        ratio_mark(
            "as fast as it goes on half of the cores, told from the other half",
            contests[APART],
            contests[APART_ALONE],
            0.95,
        ),
        Mark("  99 % of the first attempts came within", late_s[APART], "s", most=1),
        *_where_the_time_goes(contests, {name: told.messages[name][1:] for name in (TOLD, OF_ONE)}),
    )


def _where_the_time_goes(contests: Mapping[str, Contest], messages: Mapping[str, Sequence[int]]) -> list[Mark]:
    """The messages, what each costs, and the ratio of bookings to which that adds up if no core is idle."""
    alone, rounds = contests[ALONE].rounds, contests[TOLD].rounds
    rates = {name: median(got / one.load.seconds for got, one in zip(some, contests[name].rounds, strict=True))
             for name, some in messages.items()}  # fmt: skip
    by_part = {
        part: median(1e6 * one.cores[part] * one.load.seconds / max(1, got)
                     for got, one in zip(messages[TOLD], rounds, strict=True))
        for part in ("outbox", "listeners")
    }  # fmt: skip
    booking_us = median(one.all_us + 1e6 * one.load.cpu_s / max(1, one.load.answered) for one in alone)
    told_share = rates[TOLD] / contests[TOLD].rate
    added_us = told_share * sum(by_part.values())
    return [
        Mark(f"  messages that the webhook got meanwhile, of {EVENTS} events", rates[TOLD], "/s"),
        Mark("  the same, of one event, in order", rates[OF_ONE], "/s"),
        Mark("  processor time a message, of the outbox", by_part["outbox"], "µs"),
        Mark("    of the receiver, which runs elsewhere in earnest", by_part["listeners"], "µs"),
        Mark("  processor time a booking told to nobody, with the generator's", booking_us, "µs"),
        Mark("  bookings to which these times add up, if no core is idle", booking_us / (booking_us + added_us), TIMES),
        Mark("    without the receiver", booking_us / (booking_us + told_share * by_part["outbox"]), TIMES),
    ]


class _Receiver(asyncio.Protocol):
    """Answers each message at once, and counts it."""

    messages = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is none of its subclasses
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        _Receiver.messages += 1
        self._transport.write(NO_CONTENT)


async def main() -> None:
    """Receives until standard input ends."""
    loop = asyncio.get_running_loop()
    alive = await loop.create_server(_Receiver, "127.0.0.1", 0)
    dead = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    with closing(alive), closing(dead):
        print(json.dumps([server.sockets[0].getsockname()[1] for server in (alive, dead)]), flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(_Receiver.messages), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
