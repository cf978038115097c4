"""Ten thousand events: a sale beside them all, and buyers who spread over them all."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from scripts.benchmark.contenders import book_faults, load_faults
from scripts.benchmark.figures import Load
from scripts.benchmark.filling import Filler, filler, wait_until_saved
from scripts.benchmark.report import ratio_mark
from scripts.benchmark.sales import Sale
from scripts.benchmark.service import Service, serve
from scripts.benchmark.session import Found, Session

EVENTS = 10_000

ALONE = "a fresh event, none beside it"


@dataclass(slots=True)
class Spread:
    """Buyers who come to all of many events in turn: no two neighbours want the same."""

    service: Service
    books: Filler
    first: int
    events: int
    servers: int = 1
    _before: int = field(default=0, init=False)

    def open_sale(self) -> Sale:
        self._before = self.books.bookings(self.first, self.events)
        return Sale(f"{self.service.url}/book", "each of them", self.first, events=self.events)

    def parts(self) -> Mapping[str, list[int]]:
        return self.service.parts()

    def faults(self, sale: Sale, load: Load) -> list[str]:  # noqa: ARG002 - the events are its own
        if not self.service.wait_until_drained():
            return ["SQL was not level with Redis in time after the round"]
        return load_faults(load) or book_faults(self.books.bookings(self.first, self.events) - self._before, load)


def many(session: Session) -> Found:
    """Two services in turn: one with a single event, one with ten thousand."""
    number = session.extent.sized(EVENTS)
    beside, spread = f"a fresh event beside {number:,} others", f"buyers at all of {number:,} events"
    with (
        serve(session.folder / "service-few", session.secret) as few,
        serve(session.folder / "service-many", session.secret) as lots,
        filler(lots) as fill,
    ):
        session.say(f"opening {number:,} events")
        first = fill.events(number)
        wait_until_saved(lots, session.say)
        contests = session.contests({ALONE: few, beside: lots, spread: Spread(lots, fill, first, number)})
    marks = [ratio_mark(f"bookings, {name}", contests[name], contests[ALONE], 0.9) for name in (beside, spread)]
    return Found(marks, {"Bookings with many events": list(contests.values())})
