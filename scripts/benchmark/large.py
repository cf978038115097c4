"""One very large event: its export, bookings at it, joining its waiting list, and one's place in that list."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from booking.domain.outcomes import Status
from scripts.benchmark.contenders import CAPACITY, book_faults, load_faults
from scripts.benchmark.export import export_marks
from scripts.benchmark.figures import Load
from scripts.benchmark.filling import Filler, filler, wait_until_saved
from scripts.benchmark.places import place_row, spread_over
from scripts.benchmark.report import ratio_mark
from scripts.benchmark.rows import Row
from scripts.benchmark.sales import Sale
from scripts.benchmark.service import Service, serve
from scripts.benchmark.session import Found, Session

LIVE, WAITING, LATER = 1_000_000, 100_000, 900_000
"""Bookings of the large event; how many wait when its list is joined; and how many more before places are asked."""

SMALL_SHARE = 100
"""The event that is exported first, as a warm-up, has so many times fewer bookings."""


@dataclass(slots=True)
class Crowded:
    """The same event in every round, with all that it holds already."""

    service: Service
    event_id: int
    servers: int = 1
    _before: int = field(default=0, init=False)

    def open_sale(self) -> Sale:
        self._before = self._stored()
        return Sale(f"{self.service.url}/book", f'{{"event_id": {self.event_id}}}', self.event_id)

    def parts(self) -> Mapping[str, list[int]]:
        return self.service.parts()

    def faults(self, sale: Sale, load: Load) -> list[str]:  # noqa: ARG002 - the event is its own
        if not self.service.wait_until_drained():
            return ["SQL was not level with Redis in time after the round"]
        return load_faults(load) or book_faults(self._stored() - self._before, load)

    def _stored(self) -> int:
        event = self.service.event(self.event_id)
        return event["bookings_count"] + event["waiting_list_count"]


@dataclass(frozen=True, slots=True)
class FreshList:
    """A sale of one ticket: everybody after the first joins a list that was empty."""

    service: Service
    servers: int = 1

    def open_sale(self) -> Sale:
        return self.service.open_sale(1)

    def parts(self) -> Mapping[str, list[int]]:
        return self.service.parts()

    def faults(self, sale: Sale, load: Load) -> list[str]:
        return self.service.faults(sale, load)


def large(session: Session) -> Found:
    """The rows of the large event that were asked for, on one service."""
    found = Found()
    live = session.extent.sized(LIVE)
    with serve(session.folder / "service-large", session.secret) as service, filler(service) as fill:
        session.say(f"filling an event with {live:,} bookings")
        event_id = service.open_sale(CAPACITY).event_id
        fill.book(event_id, live, "live", Status.BOOKED, session.say)
        wait_until_saved(service, session.say)
        if session.wants(Row.EXPORT):
            small = service.open_sale(CAPACITY).event_id
            fill.book(small, max(1, live // SMALL_SHARE), "live", Status.BOOKED, session.say)
            wait_until_saved(service, session.say)
            found.marks += export_marks(service, event_id, small, session.say)
        if session.wants(Row.LARGE):
            found.add(_bookings(session, service, event_id, live))
        if session.wants(Row.LARGE, Row.POSITION):
            waiting = session.extent.sized(WAITING)
            _sell_out(session, service, fill, event_id, waiting)
            if session.wants(Row.LARGE):
                found.add(_joining(session, service, event_id, live, waiting))
        if session.wants(Row.POSITION):
            longer = session.extent.sized(LATER)
            session.say(f"{longer:,} more wait")
            fill.book(event_id, longer, "later", Status.JOINED, session.say)
            # Those who joined over HTTP meanwhile are among them, and ask for nothing.
            asking = spread_over([("wait", waiting), ("later", longer)])
            found.add(place_row(session, service, fill, event_id, asking))
    return found


def _bookings(session: Session, service: Service, event_id: int, live: int) -> Found:
    name = f"an event with {live:,} live bookings"
    contests = session.contests({"a fresh event": service, name: Crowded(service, event_id)})
    mark = ratio_mark(f"bookings, {name} and free tickets", contests[name], contests["a fresh event"], 0.9)
    return Found([mark], {"Bookings at a large event": list(contests.values())})


def _sell_out(session: Session, service: Service, fill: Filler, event_id: int, waiting: int) -> None:
    session.say(f"the event is sold out, and {waiting:,} wait")
    service.resize(event_id, service.event(event_id)["tickets_sold"])
    fill.book(event_id, waiting, "wait", Status.JOINED, session.say)
    wait_until_saved(service, session.say)


def _joining(session: Session, service: Service, event_id: int, live: int, waiting: int) -> Found:
    name = f"{waiting:,} waiting behind {live:,} live bookings"
    contests = session.contests({"a fresh waiting list": FreshList(service), name: Crowded(service, event_id)})
    mark = ratio_mark(f"joining a list: {name}", contests[name], contests["a fresh waiting list"], 0.9)
    return Found([mark], {"Joining a long waiting list": list(contests.values())})
