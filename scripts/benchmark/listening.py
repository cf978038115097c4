"""The row of the listeners: bookings while thousands listen to the event, against bookings while none do."""

import json
import resource
import subprocess
import sys
from contextlib import suppress
from statistics import median
from urllib.parse import urlsplit

from scripts.benchmark.audience import CONNECT_S, Heard
from scripts.benchmark.load import Target
from scripts.benchmark.processes import PartError
from scripts.benchmark.report import Mark, ratio_mark
from scripts.benchmark.rounds import Contender, Parts
from scripts.benchmark.service import Service, serve
from scripts.benchmark.session import Session

LISTENERS = 5_000

SPARE_FILES = 500
"""Files that a process has open besides one for each listener: the load's connections, the database, libraries."""

END_S = 30.0
"""How long the listeners may take to tell what they heard."""


class Listened:
    """The service while so many listen to the event that is sold; new ones come for every sale."""

    def __init__(self, service: Service, listeners: int) -> None:
        self.heard: list[Heard] = []
        self._service = service
        self._listeners = listeners
        self._audience: subprocess.Popen[str] | None = None

    def open(self) -> Target:
        """A fresh event, once all listen to it."""
        self.close()
        sale = self._service.sale()
        self._audience = gathered(self._service.url, sale.event_id, self._listeners)
        return sale

    def parts(self) -> Parts:
        """The service's, and the listeners' process."""
        assert self._audience is not None
        return {**self._service.parts(), "listeners": [self._audience.pid]}

    def settle(self) -> list[str]:
        """Asks the listeners what they heard."""
        assert self._audience is not None
        told, _ = self._audience.communicate(timeout=END_S)
        heard = Heard(**json.loads(told))
        self.heard.append(heard)
        lost = [f"{heard.lost} listeners were cut off"] * bool(heard.lost)
        return [*lost, *["the listeners heard of no change"] * (not heard.updates), *self._service.settle()]

    def close(self) -> None:
        """Ends the listeners, whatever they are doing."""
        if self._audience is not None:
            self._audience.kill()
            with suppress(ValueError):  # its pipes were closed when it told what it heard
                self._audience.communicate()
            self._audience = None


def gathered(url: str, event_id: int, number: int) -> "subprocess.Popen[str]":
    """The process of so many listeners, once each has heard of the event. Raises PartError."""
    address = urlsplit(url)
    audience = subprocess.Popen(
        [sys.executable, "-P", "-m", "scripts.benchmark.audience", address.hostname or "", str(address.port),
         str(event_id), str(number)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert audience.stdout is not None
    if audience.stdout.readline().strip() != "ready":  # it gives up by itself
        _, why = audience.communicate(timeout=CONNECT_S)
        raise PartError(why.strip()[-500:] or "the listeners ended without a word")
    return audience


def too_few_files(session: Session) -> str | None:
    """None if a process may open a file for each listener, once its soft limit is raised; else what to do."""
    needed = session.sized(LISTENERS) + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        return (
            f"the listeners need {needed:,} open files a process, and the limit is {hard:,}: raise it (as root: "
            f"ulimit -n {needed}), listen with fewer (--scale 0.1), or leave the row out (--only)"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))  # what is started from here on has it, too
    return None


def listeners(session: Session) -> None:
    """One service, listened to in every other round."""
    number = session.sized(LISTENERS)
    alone, name = "no listeners", f"{number:,} listen"
    with serve(session.folder / "service-live", session.secret) as service:
        listened = Listened(service, number)
        try:
            contests = session.contest(
                "Bookings and listeners",
                {
                    alone: service.contender(),
                    name: Contender(listened.open, listened.parts, service.stored, listened.settle),
                },
            )
        finally:
            listened.close()
    heard = listened.heard[1:]  # the first was the warm-up
    each = median(one.updates / one.listeners / one.seconds for one in heard)
    cores = median(one.cpu_s / one.seconds for one in heard)
    session.mark(
        ratio_mark(f"bookings while {name} to the event", contests[name], contests[alone], 0.8),
        Mark(f"  updates each of them got; their own process took {cores:.2f} cores", each, "/s"),
    )
