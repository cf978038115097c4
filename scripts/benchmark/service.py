"""This service as it is shipped: `booking serve`, started by its command line and watched from outside."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import httpx

from booking.auth.tokens import sign_token
from scripts.benchmark import processes
from scripts.benchmark.load import TOKEN_S, Target
from scripts.benchmark.rounds import Contender, Parts

CHECKOUT = Path(__file__).resolve().parents[2]

CAPACITY = 10_000_000
"""Tickets of a sale that cannot sell out in a round: the contract's largest event."""

READY_S = 60.0
"""A service that has not answered by then is given up."""

DRAINED_S = 60.0
"""How long the persister may take to write a round's changes into SQL."""

LISTENING = MappingProxyType({"BOOKING_LIVE_LIMIT_PER_ADDRESS": "10000"})
"""All listeners come from this machine's own address."""

POLL_S = 0.05


class Service:
    """A running `booking serve`."""

    def __init__(self, data_dir: Path, secret: str, start_s: float) -> None:
        told = json.loads((data_dir / "service.json").read_text(encoding="utf-8"))
        self.start_s = start_s
        """From the command to the first 200 of /readyz."""
        self.url: str = told["url"].rstrip("/")
        self.data_dir = data_dir
        self._secret = secret
        organizer = sign_token(secret.encode(), "organizer", "organizer", TOKEN_S)
        self._client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {organizer}"}, timeout=10)

    def sale(self, tickets: int = CAPACITY, *, waiting_list: bool = True) -> Target:
        """A fresh event, as a target to which every buyer comes once."""
        event = {"event_name": "bench", "available_tickets": tickets} | ({} if waiting_list else {"waitlist_limit": 0})
        answer = self._client.post("/initialize", json=event)
        if answer.status_code != httpx.codes.CREATED:
            raise processes.PartError(f"/initialize answered {answer.status_code}: {answer.text[:300]}")
        return self.bookings_of(answer.json()["event_id"])

    def bookings_of(self, event_id: int) -> Target:
        """Bookings of an event that is there."""
        return Target(self.url, "/book", json.dumps({"event_id": event_id}), self._secret, event_id=event_id)

    def storm(self) -> Target:
        """Reads of a fresh event, by anyone."""
        sale = self.sale()
        return replace(sale, path=f"/status/{sale.event_id}", body="", secret="")

    def contender(self) -> Contender:
        """This service, which sells a fresh event in every round."""
        return Contender(self.sale, self.parts, self.stored, self.settle)

    def parts(self) -> Parts:
        """Process ids by role."""
        roles: dict[str, list[int]] = {"server": [], "redis": [], "persister": []}
        told = json.loads((self.data_dir / "service.json").read_text(encoding="utf-8"))
        for name, pid in told["parts"].items():
            roles.setdefault("server" if name.startswith("worker") else name, []).append(pid)
        return roles

    def stored(self, target: Target) -> int:
        """Bookings and waiting entries of the target's event."""
        event = self.event(target.event_id)
        return event["bookings_count"] + event["waiting_list_count"]

    def settle(self, seconds_max: float = DRAINED_S) -> list[str]:
        """Waits until SQL is level with Redis; a fault if that takes too long."""
        deadline = time.monotonic() + seconds_max
        while self.lag_entries():
            if time.monotonic() > deadline:
                return [f"SQL was not level with Redis after {seconds_max:.0f} s"]
            time.sleep(POLL_S)
        return []

    def event(self, event_id: int) -> dict[str, int]:
        """The event's counters, as the service tells them."""
        event: dict[str, int] = self._client.get(f"/status/{event_id}").json()["data"]
        return event

    def resize(self, event_id: int, tickets: int) -> None:
        """Changes how many tickets an event has."""
        answer = self._client.patch(f"/events/{event_id}", json={"capacity": tickets})
        if answer.status_code != httpx.codes.OK:
            raise processes.PartError(f"PATCH answered {answer.status_code}: {answer.text[:300]}")

    def lag_entries(self) -> int:
        """Changes that are in Redis and not yet in SQL."""
        lag: int = self._client.get("/readyz").json()["parts"]["persister"]["lag_entries"]
        return lag

    def close(self) -> None:
        """Closes the connection that the bench asks its questions over."""
        self._client.close()


@contextmanager
def serve(
    data_dir: Path,
    secret: str,
    workers: int = 1,
    settings: Mapping[str, str] = MappingProxyType({}),
    *,
    persister: bool = True,
    source: Path = CHECKOUT,
) -> Iterator[Service]:
    """Runs `booking serve` of the code in `source`, with its default settings and those given here."""
    options = ["--port", "0", "--workers", str(workers), *([] if persister else ["--without-persister"])]
    log = data_dir.with_suffix(".log")
    variables = environment(data_dir, secret, settings, source)
    started = time.monotonic()
    with processes.running(booking("serve", *options), log, variables) as process:
        processes.wait_until(lambda: _answers(data_dir, "/readyz" if persister else "/healthz"), process, log, READY_S)
        service = Service(data_dir, secret, time.monotonic() - started)
        try:
            yield service
        finally:
            service.close()


def booking(*arguments: str) -> list[str]:
    """The command line of `booking …`, in the environment that the bench itself runs in."""
    return [sys.executable, "-P", "-m", "booking", *arguments]


def environment(data_dir: Path, secret: str, settings: Mapping[str, str], source: Path = CHECKOUT) -> dict[str, str]:
    """The variables of a service of the code in `source`: none of the caller's own settings slip in."""
    passed_on = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    # The current folder would come before PYTHONPATH in the children, and hide the code of another commit.
    paths = {"PYTHONPATH": str(source), "PYTHONSAFEPATH": "1"}
    ours = {**paths, "BOOKING_DATA_DIR": str(data_dir), "BOOKING_JWT_SECRET": secret, **LISTENING}
    return {**passed_on, **ours, **settings}


def _answers(data_dir: Path, path: str) -> bool:
    try:
        url = json.loads((data_dir / "service.json").read_text(encoding="utf-8"))["url"]
        return httpx.get(url.rstrip("/") + path, timeout=1.0).status_code == httpx.codes.OK
    except (OSError, httpx.HTTPError):
        return False
