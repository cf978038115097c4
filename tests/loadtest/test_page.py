"""The page of `--html`: all of the run is on it, and it needs nothing from anywhere."""

import re
from dataclasses import replace
from html.parser import HTMLParser

from booking.loadtest.database import CaughtUp
from booking.loadtest.figures import Figures
from booking.loadtest.page import render_page
from booking.loadtest.records import Fault, Findings
from booking.loadtest.run import Outcome
from tests.loadtest.sale import PLAN, STARTED_AT
from tests.loadtest.test_figures import told

EVENT = {"tickets_sold": 60, "available_tickets": 0, "waiting_list_count": 12}
VOID = {"meta"}


def outcome(**changed: object) -> Outcome:
    figures = Figures()
    figures.add(told(cpu=0.5, late_ms=1))
    plan = replace(PLAN, url="http://127.0.0.1:8000", rate=50.0)
    clean = Outcome(plan, figures, Findings(), dict(EVENT), 290, CaughtUp(True, 0.25, 99, 99), "", STARTED_AT)
    return replace(clean, **changed)  # type: ignore[arg-type] # each caller names a field of Outcome


class Reader(HTMLParser):
    """Reads a page as a person would: its text; and checks that every element is closed in its order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "action", "srcset")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data if data.strip() else " "


def read(page: str) -> Reader:
    return Reader(page)


def test_the_page_needs_nothing_from_anywhere() -> None:
    page = render_page(outcome())
    reader = read(page)
    assert reader.addresses == []
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(reader.tags)
    assert not re.search(r"url\(|@import", page)


def test_everything_that_was_measured_is_on_the_page() -> None:
    page = render_page(outcome())
    text = read(page).text
    for said in (
        *("60 tickets, 290 buyers", "2026-11-23 07:00:00 UTC", "50 calls/s due", "seed 3", "verdict: ✓ clean"),
        "The load generator was not the bottleneck: its busiest process used 50% of a core and waited for one for 0%",
        "SQL had every change within 0.25 s of the end",
        "booking loadtest --url http://127.0.0.1:8000 --tickets 60",
        *map(str, Fault),
    ):
        assert said in text
    assert "<td>book</td><td class=figure>100</td><td class=figure>1.00</td>" in page
    assert "<td>book</td><td>201</td><td class=figure>100</td>" in page
    assert page.count("<polyline") == 2, "the call that was made, and the generator's own lateness"


def test_what_was_found_stands_on_it_as_text() -> None:
    findings = Findings()
    findings.add(Fault.LOST, "buyer-7 was given <b>9</b>, and has none", count=3)
    text = read(render_page(outcome(findings=findings, caught_up=None, database_note="none & nowhere"))).text
    assert "verdict: ✗ not clean" in text
    assert "lost: buyer-7 was given <b>9</b>, and has none" in text
    assert "SQL was not judged: none & nowhere" in text


def test_a_generator_that_measured_itself_is_warned_of() -> None:
    figures = Figures()
    figures.add(told(cpu=0.95))
    page = render_page(outcome(figures=figures))
    assert '<p class="warning">The load generator was the bottleneck, not the service: a load process used 95%' in page


def test_a_run_without_an_answer_has_a_page_too() -> None:
    findings = Findings()
    findings.add(Fault.UNSETTLED, "the event could not be read after the sale")
    text = read(render_page(outcome(figures=Figures(), event={}, findings=findings))).text
    assert "verdict: ✗ incomplete" in text


def test_sql_that_could_not_be_held_against_redis_is_said_to_be_so() -> None:
    text = read(render_page(outcome(caught_up=CaughtUp(False, 0.1, 12, None)))).text
    assert "SQL is at change 12; Redis could not be asked how far it is" in text
