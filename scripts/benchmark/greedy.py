"""`scripts/overload --greedy`: one greedy client on each kind of endpoint, beside buyers who each come once.

Each greedy client has a token (or a password) and calls its endpoint over several connections as fast as it is
answered, whatever the answer. Its calls are made to cost as much as possible: new idempotency keys, new event ids.
"""

import asyncio
import base64
import json
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType

import httpx
from rich.console import Console

from booking.auth.tokens import sign_token
from scripts.benchmark.load import TOKEN_S, Load, Plan, new_buyers, offer
from scripts.benchmark.service import Service, serve

RATIO_MAX = 2.0
"""The mark: the buyers' p99 with greedy clients, against their p99 without."""

REDIS_GROWTH_BYTES_MAX = 64_000_000
WORKER_GROWTH_BYTES_MAX = 64_000_000
"""The marks for memory. A minute of some 10,000 new calls a second would be more if each of them left something."""

RATE = 100.0
"""Honest buyers a second, unless another rate is asked for: what they get matters here, and not how many they are."""

CONNECTIONS = 4
"""Connections of each greedy client. There are over 20 of them, and their process has a core or half of one."""

ROUNDS = 3
"""With and without are measured in turn, because the machine changes meanwhile."""

WARMING_SECONDS = 2.0

EMAIL, PASSWORD = "greedy@example.com", "correct horse battery"
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
UNKNOWN_EVENT = 1_000_000

MakeRequest = Callable[[int], tuple[str, str, str, object]]
"""From a number that is never used twice: method, path, credentials, and the body (None: none)."""


@dataclass(slots=True)
class Sizes:
    """What the service takes up, in bytes."""

    redis: int
    worker: int
    files: int

    @classmethod
    def of(cls, service: Service) -> "Sizes":
        """Measures a running service; the worker's memory is that of all web workers."""
        page = os.sysconf("SC_PAGE_SIZE")
        resident = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in service.parts()["server"]]
        found = re.search(r"^booking_redis_memory_bytes (\S+)$", httpx.get(f"{service.url}/metrics").text, re.MULTILINE)
        files = [path.stat().st_size for path in service.data_dir.rglob("*") if path.is_file()]
        return cls(int(float(found[1])) if found else 0, sum(resident), sum(files))


@dataclass(slots=True)
class Outcome:
    """One run."""

    rate: float
    seconds: float
    without: Load = field(default_factory=Load)
    beside: Load = field(default_factory=Load)
    answers: dict[str, Counter[int]] = field(default_factory=dict)
    """By kind of endpoint: the greedy client's answers by status; 0 counts lost connections."""
    before: Sizes | None = None
    after: Sizes | None = None

    @property
    def ratio(self) -> float:
        """The buyers' p99 with greedy clients against without."""
        return self.beside.ms(0.99) / self.without.ms(0.99) if self.without.answered else 0.0

    def growth(self, name: str) -> int:
        """By how many bytes something has grown."""
        return int(getattr(self.after, name) - getattr(self.before, name))

    @property
    def misses(self) -> list[str]:
        """The marks that were missed."""
        found = [f"honest buyers: {fault}" for fault in (*self.without.faults, *self.beside.faults)]
        if self.ratio > RATIO_MAX:
            found.append(f"the buyers' p99 is {self.ratio:.1f} times what it was, at most {RATIO_MAX:g}")
        for name, most in (("redis", REDIS_GROWTH_BYTES_MAX), ("worker", WORKER_GROWTH_BYTES_MAX)):
            if self.growth(name) > most:
                found.append(f"{name} has grown by {self.growth(name) / 1e6:.0f} MB, at most {most / 1e6:.0f}")
        return found

    def to_json(self) -> dict[str, object]:
        """Every figure."""
        return {
            "rate": self.rate, "seconds": self.seconds, "ratio": self.ratio, "greedy": self.answers,
            "p99_ms": {"without": self.without.ms(0.99), "beside": self.beside.ms(0.99)},
            "answers": {"without": self.without.statuses, "beside": self.beside.statuses},
            "bytes": {name: asdict(sizes) for name in ("before", "after") if (sizes := getattr(self, name))},
            "misses": self.misses,
        }  # fmt: skip


def kinds(secret: str, event_id: int) -> dict[str, MakeRequest]:
    """Each kind of endpoint, and how its greedy client calls it. Every client is a user of its own."""

    def token(user: str, role: str | None = None) -> str:
        return f"Bearer {sign_token(secret.encode(), f'greedy {user}', role, TOKEN_S)}"

    def get(path: str, role: str | None = None) -> MakeRequest:
        credentials = token(f"{path} {role}", role)
        return lambda _: ("GET", path, credentials, None)

    def post(path: str, many_events: bool = False) -> MakeRequest:
        credentials = token(f"{path} {many_events}")
        return lambda n: ("POST", path, credentials, {"event_id": UNKNOWN_EVENT + n if many_events else event_id})

    login = {"email": EMAIL, "password": PASSWORD}
    basic = "Basic " + base64.b64encode(f"{EMAIL}:{PASSWORD}".encode()).decode()
    wrong = lambda n: "Basic " + base64.b64encode(f"{EMAIL}:wrong {n}".encode()).decode()  # noqa: E731 - beside `basic`
    event, organizer = f"/events/{event_id}", "organizer"
    changing = token("changes", organizer)
    return {
        "book": post("/book"), "cancel": post("/cancel"), "confirm": post("/confirm"),
        "book unknown events": post("/book", many_events=True),
        "own bookings": get("/bookings"), "own booking": get(f"{event}/booking"),
        "events": get("/events?limit=100"), "event": get(event), "status": get(f"/status/{event_id}"),
        "bookings": get(f"{event}/bookings?limit=100", organizer),
        "export": get(f"{event}/bookings?format=csv", organizer),
        "report": get(f"{event}/report", organizer), "audit": get(f"{event}/audit", organizer),
        "change": lambda n: ("PATCH", event, changing, {"event_name": f"event {n}"}),
        "initialize": lambda n: ("POST", "/initialize", changing, {"event_name": f"{n}", "available_tickets": 1}),
        "login": lambda _: ("POST", "/auth/login", "", login),
        "password": lambda _: ("GET", "/bookings", basic, None),
        "wrong password": lambda n: ("GET", "/bookings", wrong(n), None),
        "readiness": get("/readyz"), "metrics": get("/metrics"), "page": get(f"/sale/{event_id}"),
        "live": get(f"{event}/live"),
    }  # fmt: skip


def storm(
    url: str, secret: str, event_id: int, seconds: float, connections: int, only: Collection[str] = ()
) -> dict[str, Counter[int]]:
    """Runs the greedy clients of all kinds, or of these, for some seconds. Returns their answers by kind and status."""
    asked = {kind: make for kind, make in kinds(secret, event_id).items() if not only or kind in only}
    return asyncio.run(_storm(url, asked, seconds, connections))


async def _storm(url: str, asked: dict[str, MakeRequest], seconds: float, connections: int) -> dict[str, Counter[int]]:
    host, _, port = url.partition("://")[2].rpartition(":")
    answers: dict[str, Counter[int]] = {kind: Counter() for kind in asked}
    numbers = count(time.time_ns() % 1_000_000_000)
    clients = [
        asyncio.create_task(_client(host, int(port), make, numbers, answers[kind]))
        for kind, make in asked.items()
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return answers


async def _client(host: str, port: int, make: MakeRequest, numbers: Iterator[int], answers: Counter[int]) -> None:
    """One connection, which is opened again whenever the service closes it. Runs until it is cancelled."""
    while True:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(host, port)
            while True:
                writer.write(_request(host, port, make, next(numbers)))
                head = await reader.readuntil(b"\r\n\r\n")
                answers[int(head[9:12])] += 1
                length = LENGTH.search(head)
                if length:
                    await reader.readexactly(int(length[1]))
                else:  # a file or a stream, in chunks: the last one is empty
                    await _read_chunks(reader)
        except (OSError, asyncio.IncompleteReadError):
            answers[0] += 1
            await asyncio.sleep(0.01)
        finally:
            if writer is not None:
                writer.close()


async def _read_chunks(reader: asyncio.StreamReader) -> None:
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()


def _request(host: str, port: int, make: MakeRequest, number: int) -> bytes:
    method, path, credentials, body = make(number)
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nIdempotency-Key: {number:0200}\r\n"
    if credentials:
        head += f"Authorization: {credentials}\r\n"
    if content:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return f"{head}\r\n".encode() + content


def run(
    there: Path,
    seconds: float,
    rate: float,
    cores: set[int] | None = None,
    *,
    only: Collection[str] = (),
    connections: int = CONNECTIONS,
    rounds: int = ROUNDS,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Outcome:
    """Measures buyers without and with greedy clients in turn, `seconds` of each altogether.

    There is a client of each kind, or of the kinds in `only`. Raises PartError.
    """
    secret = secrets.token_urlsafe(48)
    outcome = Outcome(rate, seconds)
    with serve(there / "data", secret, settings=settings) as service, _one_process(cores) as pool:
        sale = service.sale()
        httpx.post(f"{service.url}/auth/register", json={"email": EMAIL, "password": PASSWORD}).raise_for_status()

        def buyers(load: Load, lasting: float) -> None:
            plan = Plan(sale, lasting, rate, connections=32, first_buyer=new_buyers())
            for measured in offer([plan], cores):
                load.add(measured.to_json())

        # What a worker does once, it has done then: two checks of passwords alone keep 38 MiB.
        buyers(Load(), min(WARMING_SECONDS, seconds / rounds))
        pool.submit(storm, service.url, secret, sale.event_id, WARMING_SECONDS, connections, only).result()
        outcome.before = Sizes.of(service)
        for _ in range(rounds):
            buyers(outcome.without, seconds / rounds)
            greedy = pool.submit(storm, service.url, secret, sale.event_id, seconds / rounds + 1, connections, only)
            buyers(outcome.beside, seconds / rounds)
            for kind, answers in greedy.result().items():
                outcome.answers.setdefault(kind, Counter()).update(answers)
        service.settle()
        outcome.after = Sizes.of(service)
    return outcome


@contextmanager
def _one_process(cores: set[int] | None) -> Iterator[ProcessPoolExecutor]:
    """A process for the greedy clients, on these cores; the buyers' latency is measured in another one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_settle_on, cores).result()
        yield pool


def _settle_on(cores: set[int] | None) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
    os.nice(5)  # the buyers' generator has to keep its times


def show(outcome: Outcome, console: Console) -> None:
    """The figures, and the verdict."""
    console.print(f"buyers at {outcome.rate:g}/s for {outcome.seconds:g} s without and as long beside greedy clients")
    for name, load in (("without", outcome.without), ("beside", outcome.beside)):
        found = ", ".join(f"{status}: {number:,}" for status, number in sorted(load.statuses.items()))
        console.print(f"{name:8} p50 {load.ms(0.5):6.1f} ms, p99 {load.ms(0.99):6.1f} ms; answers {found}")
    console.print(f"p99 beside greedy clients is {outcome.ratio:.2f} times what it is without")
    for kind, answers in outcome.answers.items():
        console.print(
            f"  {kind:20} " + ", ".join(f"{status}: {number:,}" for status, number in sorted(answers.items()))
        )
    for name in ("redis", "worker", "files"):
        size, grown = getattr(outcome.after, name) / 1e6, outcome.growth(name) / 1e6
        console.print(f"{name:8} {size:8.1f} MB at the end, grown by {grown:.1f} MB")
    for miss in outcome.misses:
        console.print(f"missed: {miss}", style="red", markup=False)
    if not outcome.misses:
        console.print("every mark was reached")
