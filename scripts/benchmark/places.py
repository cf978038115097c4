"""What it costs to tell people their place in a long waiting list: over HTTP, and the script by itself."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from booking.domain.outcomes import Status
from scripts.benchmark.contenders import load_faults
from scripts.benchmark.figures import Load, ratio
from scripts.benchmark.filling import Filler, buyer, wait_until_saved
from scripts.benchmark.report import Contest, Mark
from scripts.benchmark.sales import Sale
from scripts.benchmark.service import Service
from scripts.benchmark.session import Found, Session
from scripts.benchmark.tokens import TOKEN_LIFE_S, sign

ASKING = 1_000
"""People who ask, evenly spread over each list: as many at the long one, so that tokens come again equally often."""

SHORT = 1_000
"""How many wait in the list that the long one is held against."""

SLOWER_MOST = 1.5


@dataclass(frozen=True, slots=True)
class Place:
    """Buyers who wait for one event and ask where they stand."""

    service: Service
    event_id: int
    lookers: Path
    servers: int = 1

    def open_sale(self) -> Sale:
        return Sale(f"{self.service.url}/events/{self.event_id}/booking", "", self.event_id, lookers=self.lookers)

    def parts(self) -> Mapping[str, list[int]]:
        return self.service.parts()

    def faults(self, sale: Sale, load: Load) -> list[str]:  # noqa: ARG002 - nothing was sold
        return load_faults(load)


def place_row(session: Session, service: Service, fill: Filler, long_id: int, users: Sequence[str]) -> Found:
    """The event's own list, in which `users` wait evenly spread, against a short list of its own making."""
    short = service.open_sale(1).event_id
    fill.book(short, 1, "seated", Status.BOOKED, session.say)
    fill.book(short, SHORT, "wait", Status.JOINED, session.say)
    wait_until_saved(service, session.say)
    lists = {short: spread_over([("wait", SHORT)]), long_id: users}
    names = {event_id: f"{service.event(event_id)['waiting_list_count']:,} waiting" for event_id in lists}
    files = {event_id: _tokens(session, event_id, lists[event_id]) for event_id in lists}
    contests = session.contests({names[one]: Place(service, one, files[one]) for one in lists})
    alone: dict[int, list[float]] = {event_id: [] for event_id in lists}
    for _ in range(session.extent.rounds):
        for event_id, times in alone.items():
            times.append(fill.look_us(event_id, lists[event_id]))
    marks = [
        time_mark(f"one's place, over HTTP: {names[long_id]}", contests[names[long_id]], contests[names[short]]),
        Mark(
            "  the script alone, in the server",
            median(alone[long_id]),
            "µs",
            most=SLOWER_MOST,
            against=names[short],
            theirs=median(alone[short]),
            ratio=ratio(alone[long_id], alone[short]).median,
        ),
    ]
    return Found(marks, {"Asking for one's place": list(contests.values())})


def time_mark(what: str, ours: Contest, theirs: Contest) -> Mark:
    """Microseconds an answer, where answers follow on one another without a pause, against the other side's."""
    times = [[1e6 / rate for rate in contest.rates] for contest in (ours, theirs)]
    return Mark(
        what,
        median(times[0]),
        "µs",
        most=SLOWER_MOST,
        against=theirs.name,
        theirs=median(times[1]),
        ratio=ratio(times[0], times[1]).median,
    )


def spread_over(lists: Sequence[tuple[str, int]]) -> list[str]:
    """`ASKING` users, or all, evenly spread over several fillings' buyers, given by name and number in their order."""
    total = sum(number for _, number in lists)
    places = range(0, total, max(1, total // ASKING))
    return [_at(lists, place) for place in places]


def _at(lists: Sequence[tuple[str, int]], place: int) -> str:
    for name, number in lists:
        if place < number:
            return buyer(name, place)
        place -= number
    raise IndexError(place)


def _tokens(session: Session, event_id: int, users: Sequence[str]) -> Path:
    expires_at_s = int(time.time()) + TOKEN_LIFE_S
    path = session.folder / f"lookers-{event_id}.txt"
    path.write_text("".join(f"{sign(session.secret, user, expires_at_s)}\n" for user in users), encoding="ascii")
    return path
