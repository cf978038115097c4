"""Bookings while thousands listen to the event: with them and without, in turn."""

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from urllib.parse import urlsplit

from scripts.benchmark.audience import CONNECT_S, Heard
from scripts.benchmark.contenders import CAPACITY
from scripts.benchmark.figures import Load
from scripts.benchmark.processes import PartError
from scripts.benchmark.report import Mark, ratio_mark
from scripts.benchmark.rows import Extent
from scripts.benchmark.sales import Sale
from scripts.benchmark.service import Service, serve
from scripts.benchmark.session import Found, Session

LISTENERS = 5_000

SPARE_FILES = 500
"""Files a process has open besides one for each listener: the load's connections, the database, libraries."""

END_S = 30.0
"""How long the listeners may take to tell what they heard."""

NOBODY = "nobody listens"


@dataclass(slots=True)
class Listened:
    """The service while so many people listen to the event that is sold; they gather anew for every sale."""

    service: Service
    listeners: int
    servers: int = 1
    heard: list[Heard] = field(default_factory=list)
    _audience: "subprocess.Popen[str] | None" = None

    def open_sale(self) -> Sale:
        self.close()
        sale = self.service.open_sale(CAPACITY)
        self._audience = gathered(self.service.url, sale.event_id, self.listeners)
        return sale

    def parts(self) -> Mapping[str, list[int]]:
        assert self._audience is not None
        return {**self.service.parts(), "listeners": [self._audience.pid]}

    def faults(self, sale: Sale, load: Load) -> list[str]:
        assert self._audience is not None
        told, _ = self._audience.communicate(timeout=END_S)
        heard = Heard(**json.loads(told))
        self.heard.append(heard)
        lost = [f"{heard.lost} listeners were cut off"] * bool(heard.lost)
        silent = ["the listeners heard of no change"] * (not heard.updates)
        return [*lost, *silent, *self.service.faults(sale, load)]

    def close(self) -> None:
        """Ends the listeners, wherever they are."""
        if self._audience is not None:
            self._audience.kill()
            with suppress(ValueError):  # its pipes were closed when it told what it heard
                self._audience.communicate()
            self._audience = None


def gathered(url: str, event_id: int, number: int) -> "subprocess.Popen[str]":
    """The process of so many listeners, once each has heard of the event. Raises PartError."""
    address = urlsplit(url)
    command = [sys.executable, "-P", "-m", "scripts.benchmark.audience"]
    audience = subprocess.Popen(
        [*command, address.hostname or "", str(address.port), str(event_id), str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert audience.stdout is not None
    if audience.stdout.readline().strip() != "ready":  # it gives up by itself
        _, why = audience.communicate(timeout=CONNECT_S)
        raise PartError(why.strip()[-500:] or "the listeners ended without a word")
    return audience


def listeners(extent: Extent) -> int:
    """How many listen at this scale."""
    return extent.sized(LISTENERS)


def too_few_files(number: int) -> str | None:
    """None when a process may open a file for each listener, once its soft limit is raised; else what to do."""
    needed = number + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        return (
            f"{number:,} listeners need {needed:,} open files a process, and the limit is {hard:,}: raise it (as root: "
            f"ulimit -n {needed}), listen with fewer (--scale 0.1), or leave the row out (--only)"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))  # what is started from here on has it, too
    return None


def listening(session: Session) -> Found:
    """One service, listened to in every other round."""
    number = listeners(session.extent)
    name = f"{number:,} listen"
    with serve(session.folder / "service-live", session.secret) as service:
        listened = Listened(service, number)
        try:
            contests = session.contests({NOBODY: service, name: listened})
        finally:
            listened.close()
    heard = listened.heard[1:]  # the first was the warm-up
    each = median(one.updates / one.listeners / one.seconds for one in heard)
    cores = median(one.cpu_s / one.seconds for one in heard)
    marks = [
        ratio_mark(f"bookings while {name} to the event", contests[name], contests[NOBODY], 0.8),
        Mark(f"  updates each of them got; their own process took {cores:.2f} cores", each, "/s"),
    ]
    return Found(marks, {"Bookings while people listen": list(contests.values())})
