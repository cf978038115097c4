"""This service as it is shipped: `booking serve`, started by its command line and watched from outside."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx

from scripts.benchmark import processes
from scripts.benchmark.contenders import CAPACITY, CHECKOUT, READY_S, book_faults, load_faults
from scripts.benchmark.figures import Load
from scripts.benchmark.sales import Sale
from scripts.benchmark.tokens import TOKEN_LIFE_S, sign

DRAINED_S = 60.0
"""How long the persister may take to carry a round's changes into SQL before the next contender's turn."""

POLL_S = 0.05

STREAM_S = 60.0
"""How long the next piece of a long answer may take."""

SOLD_OUT_TICKETS = 1_000
"""Gone within a tenth of a second."""


class Service:
    """A running `booking serve`."""

    def __init__(self, data_dir: Path, secret: bytes, workers: int, start_s: float) -> None:
        told = json.loads((data_dir / "service.json").read_text(encoding="utf-8"))
        organizer = sign(secret, "organizer", int(time.time()) + TOKEN_LIFE_S, role="organizer")
        self.servers = workers
        self.start_s = start_s
        """From the command to the first 200 of /readyz."""
        self.url: str = told["url"].rstrip("/")
        self.data_dir = data_dir
        self._client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {organizer}"}, timeout=10)

    def open_sale(self, tickets: int = CAPACITY, *, waiting_list: bool = True) -> Sale:
        event = {"event_name": "bench", "available_tickets": tickets} | ({} if waiting_list else {"waitlist_limit": 0})
        answer = self._client.post("/initialize", json=event)
        if answer.status_code != httpx.codes.CREATED:
            raise processes.PartError(f"/initialize answered {answer.status_code}: {answer.text[:300]}")
        event_id: int = answer.json()["event_id"]
        return Sale(f"{self.url}/book", json.dumps({"event_id": event_id}), event_id, refuses=not waiting_list)

    def parts(self) -> Mapping[str, list[int]]:
        roles: dict[str, list[int]] = {"server": [], "redis": [], "persister": []}
        told = json.loads((self.data_dir / "service.json").read_text(encoding="utf-8"))
        for name, pid in told["parts"].items():
            roles.setdefault("server" if name.startswith("worker") else name, []).append(pid)
        return roles

    def faults(self, sale: Sale, load: Load) -> list[str]:
        if not self.wait_until_drained():
            return [f"SQL was not level with Redis {DRAINED_S:.0f} s after the round"]
        event = self.event(sale.event_id)
        if sale.refuses:
            missing = event["available_tickets"]
            return [f"{missing} tickets were left, though buyers were refused"] * bool(missing)
        stored = event["bookings_count"] + event["waiting_list_count"]
        return load_faults(load) or book_faults(stored, load)

    def wait_until_drained(self, patience_s: float = DRAINED_S) -> bool:
        """Waits until SQL is level with Redis; False if that took too long."""
        deadline = time.monotonic() + patience_s
        while self.lag_entries():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def event(self, event_id: int) -> dict[str, int]:
        """The event's counters, as the service tells them."""
        event: dict[str, int] = self._client.get(f"/status/{event_id}").json()["data"]
        return event

    def resize(self, event_id: int, tickets: int) -> None:
        """Changes how many tickets an event has."""
        answer = self._client.patch(f"/events/{event_id}", json={"capacity": tickets})
        if answer.status_code != httpx.codes.OK:
            raise processes.PartError(f"PATCH answered {answer.status_code}: {answer.text[:300]}")

    def stream(self, path: str) -> Iterator[bytes]:
        """An answer to its end, piece by piece as it comes."""
        with self._client.stream("GET", path, timeout=STREAM_S) as answer:
            if answer.status_code != httpx.codes.OK:
                raise processes.PartError(f"GET {path} answered {answer.status_code}: {answer.read()[:300]!r}")
            yield from answer.iter_raw()

    def lag_entries(self) -> int:
        """Changes that are in Redis and not yet in SQL."""
        lag: int = self._client.get("/readyz").json()["parts"]["persister"]["lag_entries"]
        return lag

    def close(self) -> None:
        """Closes the connection that the bench asks its questions over."""
        self._client.close()


@dataclass(frozen=True, slots=True)
class SoldOut:
    """The same service in the minutes after: almost everyone comes too late."""

    service: Service
    waiting_list: bool
    """Whether they join the waiting list (202) or are refused (409)."""

    @property
    def servers(self) -> int:
        return self.service.servers

    def open_sale(self) -> Sale:
        return self.service.open_sale(SOLD_OUT_TICKETS, waiting_list=self.waiting_list)

    def parts(self) -> Mapping[str, list[int]]:
        return self.service.parts()

    def faults(self, sale: Sale, load: Load) -> list[str]:
        return self.service.faults(sale, load)


@dataclass(frozen=True, slots=True)
class Storm:
    """The same service while everybody looks at one event and nobody buys."""

    service: Service

    @property
    def servers(self) -> int:
        return self.service.servers

    def open_sale(self) -> Sale:
        sale = self.service.open_sale()
        return Sale(f"{self.service.url}/status/{sale.event_id}", "", sale.event_id)

    def parts(self) -> Mapping[str, list[int]]:
        return self.service.parts()

    def faults(self, sale: Sale, load: Load) -> list[str]:  # noqa: ARG002 - nothing was sold
        return load_faults(load)


@contextmanager
def serve(
    data_dir: Path,
    secret: bytes,
    workers: int = 1,
    settings: Mapping[str, str] = MappingProxyType({}),
    *,
    persister: bool = True,
    source: Path = CHECKOUT,
) -> Iterator[Service]:
    """Runs `booking serve` of the code in `source`, with its default settings and those given here."""
    options = ["--port", "0", "--workers", str(workers), *([] if persister else ["--without-persister"])]
    log = data_dir.with_suffix(".log")
    started = time.monotonic()
    variables = {**environment(data_dir, secret, settings), "PYTHONPATH": str(source)}
    with processes.running(booking("serve", *options), log, variables) as process:
        processes.wait_until(lambda: _answers(data_dir, "/readyz" if persister else "/healthz"), process, log, READY_S)
        service = Service(data_dir, secret, workers, time.monotonic() - started)
        try:
            yield service
        finally:
            service.close()


def booking(*arguments: str) -> list[str]:
    """The command line of `booking …`, in the environment that the bench itself runs in."""
    return [sys.executable, "-P", "-m", "booking", *arguments]


def environment(data_dir: Path, secret: bytes, settings: Mapping[str, str]) -> dict[str, str]:
    """The variables of a service: none of the caller's own settings slip in."""
    passed_on = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return {**passed_on, "BOOKING_DATA_DIR": str(data_dir), "BOOKING_JWT_SECRET": secret.decode(), **settings}


def _answers(data_dir: Path, path: str) -> bool:
    try:
        url = json.loads((data_dir / "service.json").read_text(encoding="utf-8"))["url"]
        return httpx.get(url.rstrip("/") + path, timeout=1.0).status_code == httpx.codes.OK
    except (OSError, httpx.HTTPError):
        return False
