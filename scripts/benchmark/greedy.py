"""`scripts/overload --greedy`: a greedy client on each kind of endpoint in turn, beside buyers who each come once.

A greedy client has a token (or a password) and calls its endpoint over several connections as fast as it is
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
"""Connections of each greedy client."""

TOGETHER = "together"
"""The name of the figures of all kinds at once."""

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
    """The buyers between the turns of the greedy clients."""
    beside: dict[str, Load] = field(default_factory=dict)
    """By kind of endpoint, or TOGETHER: the buyers beside that greedy client."""
    answers: dict[str, Counter[int]] = field(default_factory=dict)
    """By kind of endpoint: the greedy client's answers by status; 0 counts lost connections."""
    before: Sizes | None = None
    after: Sizes | None = None

    def ratio(self, kind: str) -> float:
        """The buyers' p99 beside a greedy client of this kind against without."""
        return self.beside[kind].ms(0.99) / self.without.ms(0.99) if self.without.answered else 0.0

    def growth(self, name: str) -> int:
        """By how many bytes something has grown."""
        return int(getattr(self.after, name) - getattr(self.before, name))

    @property
    def misses(self) -> list[str]:
        """The marks that were missed."""
        loads = (self.without, *self.beside.values())
        found = [f"honest buyers: {fault}" for load in loads for fault in load.faults]
        found += [
            f"{kind}: the buyers' p99 is {self.ratio(kind):.1f} times what it was"
            for kind in self.beside
            if self.ratio(kind) > RATIO_MAX
        ]
        for name, most in (("redis", REDIS_GROWTH_BYTES_MAX), ("worker", WORKER_GROWTH_BYTES_MAX)):
            if self.growth(name) > most:
                found.append(f"{name} has grown by {self.growth(name) / 1e6:.0f} MB, at most {most / 1e6:.0f}")
        return found

    def to_json(self) -> dict[str, object]:
        """Every figure."""
        return {
            "rate": self.rate, "seconds": self.seconds, "greedy": self.answers,
            "p99_ms": {"without": self.without.ms(0.99)} | {kind: load.ms(0.99) for kind, load in self.beside.items()},
            "answers": {"without": self.without.statuses}
            | {kind: load.statuses for kind, load in self.beside.items()},
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
    event, admin = f"/events/{event_id}", "admin"  # an organizer would have to be the event's own
    changing = token("changes", admin)
    return {
        "book": post("/book"), "cancel": post("/cancel"), "confirm": post("/confirm"),
        "book unknown events": post("/book", many_events=True),
        "own bookings": get("/bookings"), "own booking": get(f"{event}/booking"),
        "events": get("/events?limit=100"), "event": get(event), "status": get(f"/status/{event_id}"),
        "bookings": get(f"{event}/bookings?limit=100", admin),
        "export": get(f"{event}/bookings?format=csv", admin),
        "report": get(f"{event}/report", admin), "audit": get(f"{event}/audit", admin),
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
    together: bool = False,
    connections: int = CONNECTIONS,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Outcome:
    """Measures buyers without and with greedy clients in turn, `seconds` of each altogether.

    There is a client of each kind, or of the kinds in `only`: one after another, or all of them `together`.
    Raises PartError.
    """
    secret = secrets.token_urlsafe(48)
    outcome = Outcome(rate, seconds)
    asked = tuple(only) or tuple(kinds("", 0))
    turns = {TOGETHER: asked} if together else {kind: (kind,) for kind in asked}
    with serve(there / "data", secret, settings=settings) as service, _one_process(cores) as pool:
        sale = service.sale()
        httpx.post(f"{service.url}/auth/register", json={"email": EMAIL, "password": PASSWORD}).raise_for_status()

        def buyers(load: Load, lasting: float) -> None:
            plan = Plan(sale, lasting, rate, connections=32, first_buyer=new_buyers())
            for measured in offer([plan], cores):
                load.add(measured.to_json())

        # What a worker does once, it has done then: two checks of passwords alone keep 38 MiB.
        buyers(Load(), min(WARMING_SECONDS, seconds))
        pool.submit(storm, service.url, secret, sale.event_id, WARMING_SECONDS, connections, asked).result()
        outcome.before = Sizes.of(service)
        lasting = seconds / len(turns)
        for name, clients in turns.items():  # without and with in turn, because the machine changes meanwhile
            buyers(outcome.without, lasting)
            greedy = pool.submit(storm, service.url, secret, sale.event_id, lasting + 1, connections, clients)
            buyers(outcome.beside.setdefault(name, Load()), lasting)
            outcome.answers |= greedy.result()
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
    without = outcome.without
    console.print(f"{'without':20} p50 {without.ms(0.5):5.1f} ms, p99 {without.ms(0.99):5.1f} ms")
    for kind, load in outcome.beside.items():
        console.print(
            f"{kind:20} p50 {load.ms(0.5):5.1f} ms, p99 {load.ms(0.99):5.1f} ms: {outcome.ratio(kind):.2f} times"
        )
    for kind, answers in outcome.answers.items():
        found = ", ".join(f"{status}: {number:,}" for status, number in sorted(answers.items()))
        console.print(f"  {kind:20} {found}")
    for name in ("redis", "worker", "files"):
        size, grown = getattr(outcome.after, name) / 1e6, outcome.growth(name) / 1e6
        console.print(f"{name:8} {size:8.1f} MB at the end, grown by {grown:.1f} MB")
    for miss in outcome.misses:
        console.print(f"missed: {miss}", style="red", markup=False)
    if not outcome.misses:
        console.print("every mark was reached")
